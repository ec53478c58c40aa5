//! Answers that are not whole, or not about what was asked.

use super::*;
use crate::storage::{ByteRange, ListCursor};

/// Changes every answer to an operation from now on.
fn alter<const N: usize>(server: &EmbeddedS3, operation: &str, alterations: [Alteration; N]) {
    server.clear_faults();
    let action = Action::Alter(alterations.into());
    server.script(Fault::on(operation, action).times(u32::MAX));
}

fn without(from: &str) -> Alteration {
    Alteration::Replace {
        from: from.to_owned(),
        to: String::new(),
    }
}

fn header(name: &'static str, value: Option<&str>) -> Alteration {
    Alteration::Header {
        name,
        value: value.map(ToOwned::to_owned),
    }
}

/// Makes a call whose answer ends behind each of the places of a text in turn, the last one being
/// its end, and none at all. Returns what it was told each time.
async fn cut_everywhere<T, F>(
    server: &EmbeddedS3,
    operation: &str,
    call: impl Fn() -> F,
) -> Vec<Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut outcomes = Vec::new();
    alter(server, operation, [Alteration::Empty]);
    outcomes.push(call().await);
    for text in ["<", "/", "e"] {
        for nth in 1.. {
            let text = text.to_owned();
            alter(server, operation, [Alteration::EndAfter { text, nth }]);
            let outcome = call().await;
            let is_whole = outcome.is_ok();
            outcomes.push(outcome);
            if is_whole {
                break;
            }
        }
    }
    for nth in 1.. {
        let text = ">".to_owned();
        alter(server, operation, [Alteration::EndAfter { text, nth }]);
        match call().await {
            Ok(_) => break,
            error => outcomes.push(error),
        }
    }
    server.clear_faults();
    outcomes
}

/// Every cut was noticed: only what was not cut at all came through, and it was right.
#[track_caller]
fn only_whole_ones<T: PartialEq + std::fmt::Debug>(
    outcomes: Vec<Result<T>>,
    whole: &T,
    cut: Kind,
    least: usize,
) {
    assert!(outcomes.len() >= least, "{} answers", outcomes.len());
    for outcome in outcomes {
        match outcome {
            Ok(found) => assert_eq!(found, *whole),
            Err(error) => assert_eq!(error.kind, cut, "{error}"),
        }
    }
}

fn names(max: u16) -> ListQuery {
    ListQuery {
        prefix: String::new(),
        delimited: true,
        after: None,
        max,
    }
}

#[tokio::test]
async fn a_listing_that_is_cut_anywhere_is_an_error() {
    let (server, store) = served().await;
    for key in ["a", "b", "c/d", "e/f", "g"] {
        server.put("bucket", key, "x");
    }
    let bucket = place().bucket;
    for max in [2, 1_000] {
        let query = names(max);
        let whole = store.list(&bucket, &query).await.unwrap();
        let list = || store.list(&bucket, &query);
        let outcomes = cut_everywhere(&server, "ListObjectsV2", list).await;
        only_whole_ones(outcomes, &whole, Kind::Unavailable, 60);
    }
}

#[tokio::test]
async fn a_list_of_parts_that_is_cut_anywhere_is_an_error() {
    let (server, store) = served().await;
    let (id, _) = upload(&store).await;
    let at = place();
    let whole = store.parts(&at, &id).await.unwrap();
    let outcomes = cut_everywhere(&server, "ListParts", || store.parts(&at, &id)).await;
    only_whole_ones(outcomes, &whole, Kind::Unavailable, 40);
    for field in [
        "<IsTruncated>false</IsTruncated>",
        "<PartNumber>1</PartNumber>",
    ] {
        alter(&server, "ListParts", [without(field)]);
        let error = store.parts(&at, &id).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_cut_has_an_unknown_outcome() {
    let (server, store) = served().await;
    let stored = put(&store, &Bytes::from_static(b"source")).await.unwrap();
    let (from, object) = (place(), NewObject::new(Nonce::new().unwrap()));
    let to = Location {
        key: Key::parse("copy").unwrap(),
        ..place()
    };
    let source = Version {
        location: &from,
        etag: &stored.etag,
    };
    let copy = CopyObject {
        source,
        object: &object,
        condition: &Precondition::None,
    };
    let whole = store.copy(&to, copy).await.unwrap();
    let outcomes = cut_everywhere(&server, "CopyObject", || store.copy(&to, copy)).await;
    let etags = |outcomes: Vec<Result<Stored>>| {
        let checksums = outcomes.into_iter();
        checksums
            .map(|outcome| outcome.map(|stored| stored.checksum))
            .collect::<Vec<_>>()
    };
    only_whole_ones(etags(outcomes), &whole.checksum, Kind::OutcomeUnknown, 20);

    let complete = || async {
        let (id, parts) = upload(&store).await;
        let complete = CompleteUpload {
            upload: &id,
            parts: &parts,
            checksum: None,
            condition: &Precondition::None,
        };
        store.complete(&from, complete).await
    };
    let whole = complete().await.unwrap();
    let outcomes = cut_everywhere(&server, "CompleteMultipartUpload", complete).await;
    only_whole_ones(etags(outcomes), &whole.checksum, Kind::OutcomeUnknown, 20);
    alter(&server, "PutObject", [header("etag", None)]);
    let error = put(&store, &Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind, Kind::OutcomeUnknown, "{error}");
}

#[tokio::test]
async fn an_upload_whose_answers_are_cut_is_an_error() {
    let (server, store) = served().await;
    let (at, object) = (place(), NewObject::new(Nonce::new().unwrap()));
    let create = || async { store.create(&at, &object).await.map(drop) };
    let outcomes = cut_everywhere(&server, "CreateMultipartUpload", create).await;
    only_whole_ones(outcomes, &(), Kind::Unavailable, 20);

    let (id, _) = upload(&store).await;
    let source = Location {
        key: Key::parse("source").unwrap(),
        ..place()
    };
    let etag = ETag(server.put("bucket", "source", "0123456789").into());
    let part = UploadPartCopy {
        upload: &id,
        number: PartNumber(1),
        source: Version {
            location: &source,
            etag: &etag,
        },
        range: ByteRange { start: 2, end: 5 },
    };
    let copy = || async { store.part_copy(&at, part).await.map(|part| part.size) };
    let outcomes = cut_everywhere(&server, "UploadPartCopy", copy).await;
    only_whole_ones(outcomes, &3, Kind::Unavailable, 15);

    alter(&server, "UploadPart", [header("etag", None)]);
    let payload = Bytes::from_static(b"part");
    let part = UploadPart {
        upload: &id,
        number: PartNumber(2),
        checksum: Checksum::of(&payload),
    };
    let error = store.part(&at, payload, part).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_page_that_does_not_say_what_follows_is_an_error() {
    let (server, store) = served().await;
    for number in 0..10 {
        server.put("bucket", &format!("k{number}"), "x");
    }
    let bucket = place().bucket;
    let whole = store.list(&bucket, &names(4)).await.unwrap();
    let token = whole.next.clone().unwrap();
    let token = format!("<NextContinuationToken>{token}</NextContinuationToken>");
    let one = "<Key>k1</Key>";
    for field in [
        "<IsTruncated>true</IsTruncated>",
        &token,
        one,
        "<Size>1</Size>",
    ] {
        alter(&server, "ListObjectsV2", [without(field)]);
        let error = store.list(&bucket, &names(4)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{field}: {error}");
    }
    let more = Alteration::Replace {
        from: "<KeyCount>4</KeyCount>".to_owned(),
        to: "<KeyCount>5</KeyCount>".to_owned(),
    };
    alter(&server, "ListObjectsV2", [more]);
    let error = store.list(&bucket, &names(4)).await.unwrap_err();
    assert!(error.detail.contains("fewer names"), "{error}");
}

#[tokio::test]
async fn a_store_may_leave_is_truncated_out_where_it_is_known_to() {
    let (server, store) = served().await;
    for number in 0..10 {
        server.put("bucket", &format!("k{number}"), "x");
    }
    let lenient = store.with_capabilities(Capabilities {
        is_truncated: false,
        ..Capabilities::all()
    });
    alter(
        &server,
        "ListObjectsV2",
        [without("<IsTruncated>false</IsTruncated>")],
    );
    let bucket = place().bucket;
    let (mut keys, mut query) = (Vec::new(), names(4));
    loop {
        let page = lenient.list(&bucket, &query).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(next) => query.after = Some(ListCursor::Continuation(next)),
            None => break,
        }
    }
    assert_eq!(keys.len(), 10);
    let error = store.list(&bucket, &names(1_000)).await.unwrap_err();
    assert!(error.detail.contains("is_truncated = false"), "{error}");
}

#[tokio::test]
async fn what_a_head_leaves_out_is_not_guessed() {
    let (server, store) = served().await;
    put(&store, &Bytes::from_static(b"x")).await.unwrap();
    for name in ["etag", "content-length"] {
        alter(&server, "HeadObject", [header(name, None)]);
        let error = store.head(&place()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_deletion_that_somebody_else_confirms_is_an_error() {
    let (server, store) = served().await;
    put(&store, &Bytes::from_static(b"x")).await.unwrap();
    let portal = |operation: &str| {
        server.clear_faults();
        server.script(Fault::on(operation, Action::ErrorIn200).times(u32::MAX));
    };
    portal("DeleteObject");
    let error = store.delete(&place(), None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    let (id, _) = upload(&store).await;
    portal("AbortMultipartUpload");
    let error = store.abort(&place(), &id).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_range_that_is_not_the_one_that_was_asked_for_is_an_error() {
    let (server, store) = served().await;
    let payload: Bytes = (0..=255).collect::<Vec<u8>>().into();
    put(&store, &payload).await.unwrap();
    let at = place();
    let get = |range: Option<(u64, u64)>| {
        let (store, at) = (&store, &at);
        let range = range.map(|(start, end)| ByteRange { start, end });
        async move { store.get(at, GetObject { range, etag: None }).await }
    };
    let lying = |value| [header("content-range", value)];
    for value in [
        None,
        Some("bytes 11-20/256"),
        Some("bytes 10-20/256"),
        Some("bytes 10-18/256"),
        Some("bytes 10-19/*"),
        Some("bytes */256"),
        Some("10-19"),
    ] {
        alter(&server, "GetObject", lying(value));
        let error = get(Some((10, 20))).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{value:?}: {error}");
    }
    // What a range would have been cut to is not known without it.
    alter(&server, "GetObject", lying(None));
    let error = get(Some((0, 100))).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    // A store, or what stands before it, that knows no ranges.
    let ignoring = [header("content-range", None), Alteration::Status(200)];
    alter(&server, "GetObject", ignoring);
    for range in [(10, 20), (10, 1_000)] {
        // It brings the ten bytes as if they were the object.
        let error = get(Some(range)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused, "{error}");
    }
    // A small one that was sent as a whole is what was asked for.
    let body = get(Some((0, 1_000))).await.unwrap();
    assert_eq!(collected(body).await.unwrap(), payload);
    alter(&server, "GetObject", lying(Some("bytes 0-255/256")));
    let error = get(None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    server.clear_faults();
    let body = get(Some((10, 1_000))).await.unwrap();
    assert_eq!(
        (body.meta.size, collected(body).await.unwrap()),
        (256, payload.slice(10..))
    );
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error_however_it_was_announced() {
    let (server, store) = served().await;
    put(&store, &vec![7; 1_000].into()).await.unwrap();
    let at = place();
    for range in [None, Some(ByteRange { start: 0, end: 900 })] {
        let text = "\u{7}".to_owned();
        let cut = Alteration::EndAfter { text, nth: 500 };
        alter(&server, "GetObject", [cut]);
        let got = store.get(&at, GetObject { range, etag: None }).await;
        match (range, got) {
            // Nothing but its length tells how long an object is.
            (None, got) => assert_eq!(got.unwrap().meta.size, 500),
            (Some(_), got) => assert_eq!(got.unwrap_err().kind, Kind::Unavailable),
        }
    }
}

async fn collected(body: ObjectBody) -> Result<Bytes> {
    let frames: Vec<Bytes> = body.frames.try_collect().await?;
    Ok(frames.concat().into())
}
