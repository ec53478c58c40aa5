//! Multipart uploads.

use bytes::Bytes;
use portcullis::limits::PART_BYTES_MIN;
use portcullis::storage::StorageErrorKind as Kind;
use portcullis::storage::{
    ByteRange, CompletedPart, Digest, Location, NewObject, PartNumber, Precondition, Properties,
    UploadId, UploadPart, UploadPartCopy, Version,
};

use super::etag;
use crate::common::stores::{Subject, checksum, collect, new_object};

pub(super) async fn parts_in_any_order_make_the_object(s: &Subject) {
    let at = s.at("parts");
    let (first, second) = (big(1), big(2));
    let third = Bytes::from_static(b"the end");
    let object = NewObject {
        content_type: Some("application/x-parts".into()),
        metadata: vec![("note".into(), "n-2".into())],
        ..new_object()
    };
    let upload = s.store.create(&at, &object).await.unwrap();
    let three = s.part(&at, &upload, 3, &third).await.unwrap();
    s.part(&at, &upload, 1, &second).await.unwrap();
    let two = s.part(&at, &upload, 2, &second).await.unwrap();
    let one = s.part(&at, &upload, 1, &first).await.unwrap();
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);

    let held = s.store.parts(&at, &upload).await.unwrap();
    for part in [&one, &two, &three] {
        let same =
            |other: &&CompletedPart| (other.number, &other.etag) == (part.number, &part.etag);
        assert_eq!(
            held.iter().find(same).map(|part| part.size),
            Some(part.size)
        );
    }
    if !s.lacks("part-replacing") {
        let seen: Vec<_> = held.iter().map(|part| (part.number.0, part.size)).collect();
        assert_eq!(seen, [(1, PART_BYTES_MIN), (2, PART_BYTES_MIN), (3, 7)]);
    }

    let whole: Bytes = [first, second, third].concat().into();
    let sum = checksum(&whole);
    let parts = [one, two, three];
    let stored = s
        .complete(&at, &upload, &parts, Some(sum), &Precondition::None)
        .await
        .unwrap();
    let meta = s.store.head(&at).await.unwrap();
    assert_eq!(
        (meta.size, &meta.etag),
        (2 * PART_BYTES_MIN + 7, &stored.etag)
    );
    if !s.lacks("metadata") {
        assert_eq!(meta.metadata("note"), Some("n-2"));
        assert_eq!(meta.nonce(), Some(object.nonce));
        assert_eq!(meta.content_type.as_deref(), Some("application/x-parts"));
    }
    if s.store.capabilities(&s.bucket).checksums && !s.lacks("whole-checksum") {
        assert_eq!(meta.checksum, Some(Digest::Crc64Nvme(sum)));
    }
    assert!(s.read(&at).await == whole, "the parts stand in their order");
    let range = ByteRange {
        start: PART_BYTES_MIN - 1,
        end: PART_BYTES_MIN + 1,
    };
    let seam = s.get(&at, Some(range), Some(&stored.etag)).await.unwrap();
    assert_eq!(collect(seam).await.unwrap(), [1, 2][..]);
}

pub(super) async fn a_part_with_a_wrong_checksum_is_refused(s: &Subject) {
    if !s.store.capabilities(&s.bucket).checksums {
        return;
    }
    let at = s.at("bad-part");
    let upload = s.store.create(&at, &new_object()).await.unwrap();
    let payload = Bytes::from_static(b"what was sent");
    let wrong = checksum(b"what was meant");
    let part = UploadPart {
        upload: &upload,
        number: PartNumber(1),
        checksum: wrong,
    };
    let outcome = s.store.part(&at, payload, part).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
    assert_eq!(s.store.parts(&at, &upload).await.unwrap(), []);
    s.store.abort(&at, &upload).await.unwrap();
}

pub(super) async fn a_complete_with_a_gap_or_a_small_part_is_refused(s: &Subject) {
    let at = s.at("gap");
    let upload = s.store.create(&at, &new_object()).await.unwrap();
    let one = s.part(&at, &upload, 1, &big(1)).await.unwrap();
    let two = s
        .part(&at, &upload, 2, &Bytes::from_static(b"small"))
        .await
        .unwrap();
    let three = s
        .part(&at, &upload, 3, &Bytes::from_static(b"last"))
        .await
        .unwrap();
    let never_sent = CompletedPart {
        number: PartNumber(2),
        ..one.clone()
    };
    let other_etag = CompletedPart {
        etag: three.etag.clone(),
        ..two.clone()
    };
    let mut wrong = vec![
        vec![one.clone(), two.clone(), three.clone()],
        vec![one.clone(), never_sent],
        vec![one.clone(), other_etag],
        vec![two.clone(), one.clone()],
    ];
    if s.store.capabilities(&s.bucket).checksums && !s.lacks("gap-check") {
        wrong.push(vec![one.clone(), three]);
    }
    for parts in wrong {
        let numbers: Vec<_> = parts.iter().map(|part| part.number.0).collect();
        let outcome = s
            .complete(&at, &upload, &parts, None, &Precondition::None)
            .await;
        let error = outcome.expect_err(&format!("parts {numbers:?}"));
        assert!(
            matches!(error.kind, Kind::Refused | Kind::ChecksumMismatch),
            "{numbers:?} {error}"
        );
    }
    let parts = [one, two];
    s.complete(&at, &upload, &parts, None, &Precondition::None)
        .await
        .unwrap();
}

pub(super) async fn an_unknown_upload_is_told(s: &Subject) {
    let (at, payload) = (s.at("unknown"), Bytes::from_static(b"x"));
    let upload = s.store.create(&at, &new_object()).await.unwrap();
    let part = s.part(&at, &upload, 1, &payload).await.unwrap();
    s.store.abort(&at, &upload).await.unwrap();
    let no_such = |kind| assert_eq!(kind, Kind::NoSuchUpload);
    no_such(s.part(&at, &upload, 1, &payload).await.unwrap_err().kind);
    no_such(s.store.parts(&at, &upload).await.unwrap_err().kind);
    let completed = s
        .complete(&at, &upload, &[part], None, &Precondition::None)
        .await;
    no_such(completed.unwrap_err().kind);
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
}

pub(super) async fn an_abort_can_be_repeated(s: &Subject) {
    let at = s.at("aborted");
    let upload = s.store.create(&at, &new_object()).await.unwrap();
    s.part(&at, &upload, 1, &Bytes::from_static(b"x"))
        .await
        .unwrap();
    s.store.abort(&at, &upload).await.unwrap();
    s.store.abort(&at, &upload).await.unwrap();
}

pub(super) async fn conditional_completes_hold(s: &Subject) {
    if !s.store.capabilities(&s.bucket).conditional_complete {
        return;
    }
    let at = s.at("raced");
    let (upload, parts) = begun(s, &at, b"uploaded").await;
    let base = s.put("raced", "was here first").await;
    let exclusive = s
        .complete(&at, &upload, &parts, None, &Precondition::IfNoneMatch)
        .await;
    assert_eq!(exclusive.unwrap_err().kind, Kind::Precondition);
    let stale = Precondition::IfMatch(etag("\"00000000000000000000000000000000\""));
    let outcome = s.complete(&at, &upload, &parts, None, &stale).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Precondition);
    assert_eq!(s.read(&at).await, "was here first");
    let condition = Precondition::IfMatch(base.etag);
    s.complete(&at, &upload, &parts, None, &condition)
        .await
        .unwrap();
    assert_eq!(s.read(&at).await, "uploaded");
}

pub(super) async fn parts_can_be_copied(s: &Subject) {
    let (source, at) = (s.at("a source+ü"), s.at("spliced"));
    let bytes: Bytes = [big(3), Bytes::from_static(b"tail")].concat().into();
    let stored = s.put("a source+ü", bytes.clone()).await;
    let upload = s.store.create(&at, &new_object()).await.unwrap();
    let range = ByteRange {
        start: 4,
        end: PART_BYTES_MIN + 4,
    };
    let copy = async |number, etag| {
        let part = UploadPartCopy {
            upload: &upload,
            number: PartNumber(number),
            source: Version {
                location: &source,
                etag,
            },
            range,
        };
        s.store.part_copy(&at, part).await
    };
    let one = copy(1, &stored.etag).await.unwrap();
    assert_eq!(one.size, PART_BYTES_MIN);
    let stale = etag("\"00000000000000000000000000000000\"");
    assert_eq!(copy(2, &stale).await.unwrap_err().kind, Kind::Precondition);
    let two = s
        .part(&at, &upload, 2, &Bytes::from_static(b"!"))
        .await
        .unwrap();
    s.complete(&at, &upload, &[one, two], None, &Precondition::None)
        .await
        .unwrap();
    let expected: Bytes = [&bytes[4..], b"!"].concat().into();
    assert!(s.read(&at).await == expected);
}

pub(super) async fn what_an_object_carries_is_told_and_goes_along_with_a_copy(s: &Subject) {
    if s.lacks("metadata") {
        return;
    }
    let (source, target) = (s.at("described"), s.at("described-copy"));
    let told = |text: &str| Some(text.into());
    let described = Properties {
        cache_control: told("no-store"),
        content_disposition: told("attachment; filename=\"a b\""),
        content_encoding: told("gzip"),
        content_language: told("de"),
        expires: told("Thu, 01 Dec 2044 16:00:00 GMT"),
        ..Properties::default()
    };
    let mut tags = vec![("a/b".into(), "ü & 1=2".into()), ("kind".into(), "".into())];
    let object = NewObject {
        properties: Some(described.clone().into()),
        tags: tags.clone(),
        ..new_object()
    };
    let upload = s.store.create(&source, &object).await.unwrap();
    let bytes = Bytes::from_static(b"bytes");
    let parts = [s.part(&source, &upload, 1, &bytes).await.unwrap()];
    s.complete(&source, &upload, &parts, None, &Precondition::None)
        .await
        .unwrap();
    let found = s.store.head(&source).await.unwrap();
    let copy = NewObject::like(&found, new_object().nonce, found.modified);
    let version = (&source, &found.etag);
    s.copy(version, &target, &copy, &Precondition::None)
        .await
        .unwrap();
    tags.sort_unstable();
    for at in [&source, &target] {
        let carried = s.store.head(at).await.unwrap().properties;
        let carried = Properties {
            // Some stores name the usual one.
            storage_class: None,
            ..*carried.unwrap()
        };
        assert_eq!(carried, described, "{at}");
        let mut found = s.store.tags(at).await.unwrap();
        found.sort_unstable();
        assert_eq!(found, tags, "{at}");
    }
}

/// Begins an upload of one part.
async fn begun(s: &Subject, at: &Location, text: &'static [u8]) -> (UploadId, Vec<CompletedPart>) {
    let upload = s.store.create(at, &new_object()).await.unwrap();
    let part = s
        .part(at, &upload, 1, &Bytes::from_static(text))
        .await
        .unwrap();
    (upload, vec![part])
}

fn big(fill: u8) -> Bytes {
    vec![fill; usize::try_from(PART_BYTES_MIN).unwrap()].into()
}
