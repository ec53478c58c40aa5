//! Whole objects.

use bytes::Bytes;
use portcullis::storage::StorageErrorKind as Kind;
use portcullis::storage::{ByteRange, Digest, Key, Location, NewObject, Precondition, PutObject};

use super::{etag, query};
use crate::common::stores::{Subject, bucket, checksum, collect, new_object};

pub(super) async fn an_object_comes_back_with_what_was_said_of_it(s: &Subject) {
    let (at, payload) = (s.at("a.txt"), Bytes::from_static(b"twelve bytes"));
    let object = NewObject {
        content_type: Some("text/plain".into()),
        metadata: vec![("note".into(), "n-1".into()), ("mtime".into(), "17".into())],
        ..new_object()
    };
    let sum = checksum(&payload);
    let put = PutObject {
        object: &object,
        checksum: sum,
        condition: &Precondition::None,
    };
    let stored = s.store.put(&at, payload.clone(), put).await.unwrap();
    let body = s.get(&at, None, None).await.unwrap();
    for meta in [s.store.head(&at).await.unwrap(), body.meta.clone()] {
        assert_eq!(meta.size, 12);
        assert_eq!(meta.etag, stored.etag);
        assert_eq!(meta.metadata("mtime"), Some("17"));
        if !s.lacks("metadata") {
            assert_eq!(meta.content_type.as_deref(), Some("text/plain"));
            assert_eq!(meta.metadata("note"), Some("n-1"));
            assert_eq!(meta.nonce(), Some(object.nonce));
            assert!(meta.modified.elapsed().is_ok_and(|age| age.as_secs() < 60));
        }
        if s.store.capabilities(&s.bucket).checksums {
            assert_eq!(meta.checksum, Some(Digest::Crc64Nvme(sum)));
        }
    }
    assert_eq!(collect(body).await.unwrap(), payload);
    s.put("empty", "").await;
    assert_eq!(s.read(&s.at("empty")).await, "");
}

pub(super) async fn what_is_not_there_is_not_found(s: &Subject) {
    let at = s.at("nothing");
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    let error = s.get(&at, None, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(error.detail.contains("GetObject"), "{}", error.detail);
    let copied = s
        .copy(
            (&at, &etag("\"0\"")),
            &s.at("x"),
            &new_object(),
            &Precondition::None,
        )
        .await;
    assert_eq!(copied.unwrap_err().kind, Kind::NotFound);
}

pub(super) async fn a_missing_bucket_is_told_from_a_missing_key(s: &Subject) {
    let nowhere = bucket("no-such-bucket-5f0c");
    let at = Location {
        bucket: nowhere.clone(),
        key: Key::parse("k").unwrap(),
    };
    s.store.check_bucket(&s.bucket).await.unwrap();
    let checked = s.store.check_bucket(&nowhere).await.unwrap_err();
    assert_eq!(checked.kind, Kind::NoSuchBucket);
    let got = s.get(&at, None, None).await.unwrap_err();
    assert_eq!(got.kind, Kind::NoSuchBucket);
    let listed = s.store.list(&nowhere, &query("")).await.unwrap_err();
    assert_eq!(listed.kind, Kind::NoSuchBucket);
    let created = s.store.create(&at, &new_object()).await.unwrap_err();
    assert_eq!(created.kind, Kind::NoSuchBucket);
}

pub(super) async fn ranges_are_cut_at_the_end_of_the_object(s: &Subject) {
    let at = s.at("digits");
    s.put("digits", "0123456789").await;
    s.put("empty", "").await;
    for (start, end, expected) in [
        (0, 4, "0123"),
        (3, 7, "3456"),
        (8, 100, "89"),
        (0, 10, "0123456789"),
    ] {
        let range = Some(ByteRange { start, end });
        let body = s.get(&at, range, None).await.unwrap();
        assert_eq!(body.meta.size, 10, "the whole size, whatever the range");
        assert_eq!(collect(body).await.unwrap(), expected);
    }
    let beyond = Some(ByteRange { start: 10, end: 11 });
    let error = s.get(&at, beyond, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::RangeNotSatisfiable);
    let first = Some(ByteRange { start: 0, end: 1 });
    if !s.lacks("empty-range") {
        let error = s.get(&s.at("empty"), first, None).await.unwrap_err();
        assert_eq!(error.kind, Kind::RangeNotSatisfiable);
    }
}

pub(super) async fn a_pinned_read_refuses_another_version(s: &Subject) {
    let at = s.at("pinned");
    let first = s.put("pinned", "first").await;
    let body = s.get(&at, None, Some(&first.etag)).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), "first");
    s.put("pinned", "second").await;
    let range = Some(ByteRange { start: 0, end: 1 });
    for range in [None, range] {
        let error = s.get(&at, range, Some(&first.etag)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Precondition);
    }
}

pub(super) async fn what_is_known_already_is_not_read_again(s: &Subject) {
    let at = s.at("known");
    s.put("known", "one").await;
    let first = s.store.head(&at).await.unwrap().etag;
    assert!(s.store.get_unless(&at, &first).await.unwrap().is_none());
    s.put("known", "another").await;
    let body = s.store.get_unless(&at, &first).await.unwrap().unwrap();
    let second = body.meta.etag.clone();
    assert_ne!(second, first);
    assert_eq!(collect(body).await.unwrap(), "another");
    assert!(s.store.get_unless(&at, &second).await.unwrap().is_none());
    s.store.delete(&at, None).await.unwrap();
    let gone = s.store.get_unless(&at, &second).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

pub(super) async fn a_wrong_checksum_stores_nothing(s: &Subject) {
    if !s.store.capabilities(&s.bucket).checksums {
        return;
    }
    let at = s.at("corrupt");
    let payload = Bytes::from_static(b"what was sent");
    let wrong = checksum(b"what was meant");
    let put = PutObject {
        object: &new_object(),
        checksum: wrong,
        condition: &Precondition::None,
    };
    let outcome = s.store.put(&at, payload, put).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
}

pub(super) async fn conditional_puts_hold(s: &Subject) {
    if !s.store.capabilities(&s.bucket).conditional_put {
        return;
    }
    let at = s.at("conditional");
    let first = s
        .put_if(&at, "1", &Precondition::IfNoneMatch)
        .await
        .unwrap();
    let again = s
        .put_if(&at, "2", &Precondition::IfNoneMatch)
        .await
        .unwrap_err();
    assert_eq!(again.kind, Kind::Precondition);
    let condition = Precondition::IfMatch(first.etag.clone());
    s.put_if(&at, "3", &condition).await.unwrap();
    let stale = s.put_if(&at, "4", &condition).await.unwrap_err();
    assert_eq!(stale.kind, Kind::Precondition);
    assert_eq!(s.read(&at).await, "3");
}

pub(super) async fn one_of_many_exclusive_puts_wins(s: &Subject) {
    if !s.store.capabilities(&s.bucket).conditional_put {
        return;
    }
    let at = s.at("race");
    let writers = (0..8).map(|n| s.put_if(&at, format!("writer {n}"), &Precondition::IfNoneMatch));
    let outcomes = futures_util::future::join_all(writers).await;
    let winners: Vec<_> = outcomes
        .iter()
        .enumerate()
        .filter(|(_, o)| o.is_ok())
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(s.read(&at).await, format!("writer {}", winners[0].0));
    let losers = outcomes.iter().filter_map(|o| o.as_ref().err());
    assert!(
        losers
            .into_iter()
            .all(|error| error.kind == Kind::Precondition)
    );
}

pub(super) async fn copies_replace_metadata_and_cross_buckets(s: &Subject) {
    let (source, target) = (s.at("source"), s.elsewhere("target"));
    let stored = s.put("source", "copied bytes").await;
    let object = NewObject {
        content_type: Some("text/csv".into()),
        metadata: vec![("note".into(), "n-3".into())],
        ..new_object()
    };
    let copied = s
        .copy(
            (&source, &stored.etag),
            &target,
            &object,
            &Precondition::None,
        )
        .await
        .unwrap();
    let meta = s.store.head(&target).await.unwrap();
    assert_eq!(meta.etag, copied.etag);
    if !s.lacks("metadata") {
        assert_eq!(meta.content_type.as_deref(), Some("text/csv"));
        assert_eq!(meta.metadata("note"), Some("n-3"));
        assert_eq!(meta.nonce(), Some(object.nonce));
    }
    assert_eq!(s.read(&target).await, "copied bytes");
}

pub(super) async fn a_copy_onto_itself_changes_what_describes_an_object(s: &Subject) {
    let at = s.at("itself");
    let stored = s.put("itself", "the same bytes").await;
    let object = NewObject {
        content_type: Some("text/csv".into()),
        metadata: vec![("mtime".into(), "1000000000".into())],
        ..new_object()
    };
    let onto = Precondition::IfMatch(stored.etag.clone());
    let copied = s.copy((&at, &stored.etag), &at, &object, &onto).await;
    let meta = s.store.head(&at).await.unwrap();
    assert_eq!(meta.etag, copied.unwrap().etag);
    assert_eq!(meta.metadata("mtime"), Some("1000000000"));
    if !s.lacks("metadata") {
        assert_eq!(meta.content_type.as_deref(), Some("text/csv"));
        assert_eq!(meta.nonce(), Some(object.nonce));
    }
    assert_eq!(s.read(&at).await, "the same bytes");
}

pub(super) async fn a_copy_of_a_changed_source_is_refused(s: &Subject) {
    let (source, target) = (s.at("source"), s.at("target"));
    let old = s.put("source", "old").await;
    s.put("source", "new").await;
    let object = new_object();
    let outcome = s
        .copy((&source, &old.etag), &target, &object, &Precondition::None)
        .await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Precondition);
    assert_eq!(
        s.store.head(&target).await.unwrap_err().kind,
        Kind::NotFound
    );
}

pub(super) async fn conditional_copies_hold(s: &Subject) {
    if !s.store.capabilities(&s.bucket).conditional_copy {
        return;
    }
    let (source, target) = (s.at("source"), s.at("target"));
    let stored = s.put("source", "bytes").await;
    let object = new_object();
    let copy = || {
        s.copy(
            (&source, &stored.etag),
            &target,
            &object,
            &Precondition::IfNoneMatch,
        )
    };
    copy().await.unwrap();
    assert_eq!(copy().await.unwrap_err().kind, Kind::Precondition);
}

pub(super) async fn deletes_are_idempotent_and_conditional_ones_hold(s: &Subject) {
    let at = s.at("doomed");
    let old = s.put("doomed", "old").await;
    let new = s.put("doomed", "new").await;
    if s.store.capabilities(&s.bucket).conditional_delete {
        let stale = s.store.delete(&at, Some(&old.etag)).await.unwrap_err();
        assert_eq!(stale.kind, Kind::Precondition);
        assert_eq!(s.read(&at).await, "new");
    }
    s.store.delete(&at, Some(&new.etag)).await.unwrap();
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    s.store.delete(&at, None).await.unwrap();
}
