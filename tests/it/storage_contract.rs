//! What every [`ObjectStore`](portcullis::storage::ObjectStore) keeps: one suite over the memory
//! store, the S3 client on the embedded server, and the S3 client on the server that the
//! environment names.

use std::collections::BTreeSet;

use bytes::Bytes;
use portcullis::limits::PART_BYTES_MIN;
use portcullis::storage::StorageErrorKind as Kind;
use portcullis::storage::{
    ByteRange, CompletedPart, ETag, Key, ListCursor, ListPage, ListQuery, Location, NewObject,
    PartNumber, Precondition, UploadId,
};

use crate::common::stores::{Subject, bucket, checksum, collect};

macro_rules! contract {
    ($($check:ident),* $(,)?) => {
        mod memory {
            use super::Subject;
            $(#[tokio::test]
            async fn $check() {
                super::$check(&Subject::memory()).await;
            })*
        }
        mod s3_on_embedded {
            use super::Subject;
            $(#[tokio::test]
            async fn $check() {
                super::$check(&Subject::embedded().await).await;
            })*
        }
        mod s3_on_external {
            use super::Subject;
            $(#[tokio::test]
            async fn $check() {
                match Subject::external().await {
                    Some(subject) => super::$check(&subject).await,
                    None => println!("skipped: TEST_S3_ENDPOINT is not set"),
                }
            })*
        }
    };
}

contract!(
    an_object_comes_back_with_what_was_said_of_it,
    what_is_not_there_is_not_found,
    a_missing_bucket_is_told_from_a_missing_key,
    ranges_are_cut_at_the_end_of_the_object,
    a_pinned_read_refuses_another_version,
    a_wrong_checksum_stores_nothing,
    conditional_puts_hold,
    one_of_many_exclusive_puts_wins,
    listings_group_at_the_slash,
    listings_go_on_where_the_page_ended,
    listings_start_after_a_key,
    odd_keys_survive,
    slash_keys_survive,
    parts_in_any_order_make_the_object,
    a_part_with_a_wrong_checksum_is_refused,
    a_complete_with_a_gap_or_a_small_part_is_refused,
    an_unknown_upload_is_told,
    an_abort_can_be_repeated,
    conditional_completes_hold,
    copies_replace_metadata_and_cross_buckets,
    a_copy_of_a_changed_source_is_refused,
    conditional_copies_hold,
    parts_can_be_copied,
    deletes_are_idempotent_and_conditional_ones_hold,
);

async fn an_object_comes_back_with_what_was_said_of_it(s: &Subject) {
    let (at, payload) = (s.at("a.txt"), Bytes::from_static(b"twelve bytes"));
    let object = NewObject {
        content_type: Some("text/plain".into()),
        metadata: vec![
            ("nonce".into(), "n-1".into()),
            ("mtime".into(), "17".into()),
        ],
    };
    let sum = checksum(&payload);
    let stored = s
        .store
        .put(&at, payload.clone(), sum, &object, &Precondition::None)
        .await
        .unwrap();
    let body = s.store.get(&at, None, None).await.unwrap();
    for meta in [s.store.head(&at).await.unwrap(), body.meta.clone()] {
        assert_eq!(meta.size, 12);
        assert_eq!(meta.etag, stored.etag);
        assert_eq!(meta.content_type.as_deref(), Some("text/plain"));
        assert_eq!(meta.metadata("nonce"), Some("n-1"));
        assert_eq!(meta.metadata("mtime"), Some("17"));
        assert!(meta.modified.elapsed().is_ok_and(|age| age.as_secs() < 60));
        if s.store.capabilities().checksums {
            assert_eq!(meta.checksum, Some(sum));
        }
    }
    assert_eq!(collect(body).await.unwrap(), payload);
    s.put("empty", "").await;
    assert_eq!(s.read(&s.at("empty")).await, "");
}

async fn what_is_not_there_is_not_found(s: &Subject) {
    let at = s.at("nothing");
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    let error = s.store.get(&at, None, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(error.detail.contains("GetObject"), "{}", error.detail);
    let copied = s
        .store
        .copy(
            &at,
            &etag("\"0\""),
            &s.at("x"),
            &NewObject::default(),
            &Precondition::None,
        )
        .await;
    assert_eq!(copied.unwrap_err().kind, Kind::NotFound);
}

async fn a_missing_bucket_is_told_from_a_missing_key(s: &Subject) {
    let nowhere = bucket("no-such-bucket-5f0c");
    let at = Location {
        bucket: nowhere.clone(),
        key: Key::parse("k").unwrap(),
    };
    s.store.check_bucket(&s.bucket).await.unwrap();
    let checked = s.store.check_bucket(&nowhere).await.unwrap_err();
    assert_eq!(checked.kind, Kind::NoSuchBucket);
    let got = s.store.get(&at, None, None).await.unwrap_err();
    assert_eq!(got.kind, Kind::NoSuchBucket);
    let listed = s.store.list(&nowhere, &query("")).await.unwrap_err();
    assert_eq!(listed.kind, Kind::NoSuchBucket);
    let created = s
        .store
        .create(&at, &NewObject::default())
        .await
        .unwrap_err();
    assert_eq!(created.kind, Kind::NoSuchBucket);
}

async fn ranges_are_cut_at_the_end_of_the_object(s: &Subject) {
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
        let body = s.store.get(&at, range, None).await.unwrap();
        assert_eq!(body.meta.size, 10, "the whole size, whatever the range");
        assert_eq!(collect(body).await.unwrap(), expected);
    }
    let beyond = Some(ByteRange { start: 10, end: 11 });
    let error = s.store.get(&at, beyond, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::RangeNotSatisfiable);
    let first = Some(ByteRange { start: 0, end: 1 });
    if !s.lacks("empty-range") {
        let error = s.store.get(&s.at("empty"), first, None).await.unwrap_err();
        assert_eq!(error.kind, Kind::RangeNotSatisfiable);
    }
}

async fn a_pinned_read_refuses_another_version(s: &Subject) {
    let at = s.at("pinned");
    let first = s.put("pinned", "first").await;
    let body = s.store.get(&at, None, Some(&first.etag)).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), "first");
    s.put("pinned", "second").await;
    let range = Some(ByteRange { start: 0, end: 1 });
    for range in [None, range] {
        let error = s
            .store
            .get(&at, range, Some(&first.etag))
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Precondition);
    }
}

async fn a_wrong_checksum_stores_nothing(s: &Subject) {
    if !s.store.capabilities().checksums {
        return;
    }
    let at = s.at("corrupt");
    let payload = Bytes::from_static(b"what was sent");
    let wrong = checksum(b"what was meant");
    let object = NewObject::default();
    let outcome = s
        .store
        .put(&at, payload, wrong, &object, &Precondition::None)
        .await;
    assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
}

async fn conditional_puts_hold(s: &Subject) {
    if !s.store.capabilities().conditional_put {
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

async fn one_of_many_exclusive_puts_wins(s: &Subject) {
    if !s.store.capabilities().conditional_put {
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

async fn listings_group_at_the_slash(s: &Subject) {
    for name in ["d/1", "d/2", "d/e/3", "d-x", "d.txt", "z"] {
        s.put(name, name.to_owned()).await;
    }
    let page = s.store.list(&s.bucket, &query(&s.prefix)).await.unwrap();
    assert_eq!(names(s, &page), ["d-x", "d.txt", "z"]);
    assert_eq!(page.prefixes, [format!("{}d/", s.prefix)]);
    assert_eq!(page.next, None);
    assert_eq!(page.objects[0].size, 3);
    assert_eq!(
        page.objects[0].etag,
        s.store.head(&s.at("d-x")).await.unwrap().etag
    );

    let below = query(&format!("{}d/", s.prefix));
    let page = s.store.list(&s.bucket, &below).await.unwrap();
    assert_eq!(names(s, &page), ["d/1", "d/2"]);
    assert_eq!(page.prefixes, [format!("{}d/e/", s.prefix)]);

    let flat = ListQuery {
        delimited: false,
        ..query(&s.prefix)
    };
    let page = s.store.list(&s.bucket, &flat).await.unwrap();
    let expected = ["d-x", "d.txt", "d/1", "d/2", "d/e/3", "z"];
    if s.lacks("byte-order") {
        assert_eq!(
            sorted(names(s, &page)),
            sorted(expected.map(str::to_owned).to_vec())
        );
    } else {
        assert_eq!(names(s, &page), expected);
    }
    let nothing = query(&format!("{}nothing/", s.prefix));
    assert_eq!(
        s.store.list(&s.bucket, &nothing).await.unwrap(),
        ListPage::default()
    );
}

async fn listings_go_on_where_the_page_ended(s: &Subject) {
    let mut expected = BTreeSet::new();
    for n in 0..7 {
        s.put(&format!("f{n}"), "f").await;
        s.put(&format!("g{n}/one"), "1").await;
        s.put(&format!("g{n}/two"), "2").await;
        expected.insert(format!("{}f{n}", s.prefix));
        expected.insert(format!("{}g{n}/", s.prefix));
    }
    let mut found = Vec::new();
    let mut after = None;
    for _ in 0..20 {
        let asked = ListQuery {
            max: 3,
            after,
            ..query(&s.prefix)
        };
        let page = s.store.list(&s.bucket, &asked).await.unwrap();
        assert!(page.objects.len() + page.prefixes.len() <= 3);
        found.extend(page.objects.into_iter().map(|object| object.key));
        found.extend(page.prefixes);
        after = page.next.map(ListCursor::Continuation);
        if after.is_none() {
            break;
        }
    }
    assert!(after.is_none(), "the listing ends");
    assert_eq!(found.len(), expected.len(), "nothing twice: {found:?}");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

async fn listings_start_after_a_key(s: &Subject) {
    for name in ["a", "b", "c", "d"] {
        s.put(name, name.to_owned()).await;
    }
    for (after, expected) in [("b", vec!["c", "d"]), ("bb", vec!["c", "d"]), ("d", vec![])] {
        let asked = ListQuery {
            after: Some(ListCursor::StartAfter(format!("{}{after}", s.prefix))),
            ..query(&s.prefix)
        };
        let page = s.store.list(&s.bucket, &asked).await.unwrap();
        assert_eq!(names(s, &page), expected, "after {after}");
    }
}

async fn odd_keys_survive(s: &Subject) {
    round_trip(
        s,
        &[
            "with space",
            "plus+plus",
            "per%cent",
            "per%20cent",
            "ümläut-日本-🦀",
            "q?x=1&y=2#z",
            "quote'\"<tag>&amp;",
            "semi;colon,comma=eq:at@",
            "(par)[br]{cu}*!$",
            " lead",
            "trail ",
            "~tilde|pipe^caret`tick",
            "dot.",
            "..name",
            "name..",
        ],
    )
    .await;
}

async fn slash_keys_survive(s: &Subject) {
    s.put("marker/", "").await;
    assert_eq!(s.store.head(&s.at("marker/")).await.unwrap().size, 0);
    if s.lacks("slash-keys") {
        return;
    }
    round_trip(
        s,
        &[
            "a//b",
            "/lead",
            "dots/./x",
            "dots/../x",
            "back\\slash",
            "line\nbreak\t\u{1}",
        ],
    )
    .await;
}

async fn round_trip(s: &Subject, odd: &[&str]) {
    for name in odd {
        s.put(name, (*name).to_owned()).await;
    }
    let flat = ListQuery {
        delimited: false,
        ..query(&s.prefix)
    };
    let page = s.store.list(&s.bucket, &flat).await.unwrap();
    let listed: BTreeSet<String> = names(s, &page).into_iter().collect();
    for name in odd {
        let at = s.at(name);
        assert_eq!(s.read(&at).await, *name);
        assert!(listed.contains(*name), "{name:?} is not in {listed:?}");
        let source = s.store.head(&at).await.unwrap().etag;
        let copy = s.at("copied");
        let object = NewObject::default();
        s.store
            .copy(&at, &source, &copy, &object, &Precondition::None)
            .await
            .unwrap();
        assert_eq!(s.read(&copy).await, *name);
        s.store.delete(&at, None).await.unwrap();
        assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    }
}

async fn parts_in_any_order_make_the_object(s: &Subject) {
    let at = s.at("parts");
    let (first, second) = (big(1), big(2));
    let third = Bytes::from_static(b"the end");
    let object = NewObject {
        content_type: Some("application/x-parts".into()),
        metadata: vec![("nonce".into(), "n-2".into())],
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
        .store
        .complete(&at, &upload, &parts, Some(sum), &Precondition::None)
        .await
        .unwrap();
    let meta = s.store.head(&at).await.unwrap();
    assert_eq!(
        (meta.size, &meta.etag),
        (2 * PART_BYTES_MIN + 7, &stored.etag)
    );
    assert_eq!(meta.metadata("nonce"), Some("n-2"));
    assert_eq!(meta.content_type.as_deref(), Some("application/x-parts"));
    if s.store.capabilities().checksums && !s.lacks("whole-checksum") {
        assert_eq!(meta.checksum, Some(sum));
    }
    assert!(s.read(&at).await == whole, "the parts stand in their order");
    let range = ByteRange {
        start: PART_BYTES_MIN - 1,
        end: PART_BYTES_MIN + 1,
    };
    let seam = s
        .store
        .get(&at, Some(range), Some(&stored.etag))
        .await
        .unwrap();
    assert_eq!(collect(seam).await.unwrap(), [1, 2][..]);
}

async fn a_part_with_a_wrong_checksum_is_refused(s: &Subject) {
    if !s.store.capabilities().checksums {
        return;
    }
    let at = s.at("bad-part");
    let upload = s.store.create(&at, &NewObject::default()).await.unwrap();
    let payload = Bytes::from_static(b"what was sent");
    let wrong = checksum(b"what was meant");
    let outcome = s
        .store
        .part(&at, &upload, PartNumber(1), 0, payload, wrong)
        .await;
    assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
    assert_eq!(s.store.parts(&at, &upload).await.unwrap(), []);
    s.store.abort(&at, &upload).await.unwrap();
}

async fn a_complete_with_a_gap_or_a_small_part_is_refused(s: &Subject) {
    let at = s.at("gap");
    let upload = s.store.create(&at, &NewObject::default()).await.unwrap();
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
    if s.store.capabilities().checksums && !s.lacks("gap-check") {
        wrong.push(vec![one.clone(), three]);
    }
    for parts in wrong {
        let numbers: Vec<_> = parts.iter().map(|part| part.number.0).collect();
        let outcome = s
            .store
            .complete(&at, &upload, &parts, None, &Precondition::None)
            .await;
        let error = outcome.expect_err(&format!("parts {numbers:?}"));
        assert!(
            matches!(error.kind, Kind::Refused | Kind::ChecksumMismatch),
            "{numbers:?} {error}"
        );
    }
    let parts = [one, two];
    s.store
        .complete(&at, &upload, &parts, None, &Precondition::None)
        .await
        .unwrap();
}

async fn an_unknown_upload_is_told(s: &Subject) {
    let (at, payload) = (s.at("unknown"), Bytes::from_static(b"x"));
    let upload = s.store.create(&at, &NewObject::default()).await.unwrap();
    let part = s.part(&at, &upload, 1, &payload).await.unwrap();
    s.store.abort(&at, &upload).await.unwrap();
    let no_such = |kind| assert_eq!(kind, Kind::NoSuchUpload);
    no_such(s.part(&at, &upload, 1, &payload).await.unwrap_err().kind);
    no_such(s.store.parts(&at, &upload).await.unwrap_err().kind);
    let completed = s
        .store
        .complete(&at, &upload, &[part], None, &Precondition::None)
        .await;
    no_such(completed.unwrap_err().kind);
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
}

async fn an_abort_can_be_repeated(s: &Subject) {
    let at = s.at("aborted");
    let upload = s.store.create(&at, &NewObject::default()).await.unwrap();
    s.part(&at, &upload, 1, &Bytes::from_static(b"x"))
        .await
        .unwrap();
    s.store.abort(&at, &upload).await.unwrap();
    s.store.abort(&at, &upload).await.unwrap();
}

async fn conditional_completes_hold(s: &Subject) {
    if !s.store.capabilities().conditional_complete {
        return;
    }
    let at = s.at("raced");
    let (upload, parts) = begun(s, &at, b"uploaded").await;
    let base = s.put("raced", "was here first").await;
    let exclusive = s
        .store
        .complete(&at, &upload, &parts, None, &Precondition::IfNoneMatch)
        .await;
    assert_eq!(exclusive.unwrap_err().kind, Kind::Precondition);
    let stale = Precondition::IfMatch(etag("\"00000000000000000000000000000000\""));
    let outcome = s.store.complete(&at, &upload, &parts, None, &stale).await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Precondition);
    assert_eq!(s.read(&at).await, "was here first");
    let condition = Precondition::IfMatch(base.etag);
    s.store
        .complete(&at, &upload, &parts, None, &condition)
        .await
        .unwrap();
    assert_eq!(s.read(&at).await, "uploaded");
}

async fn copies_replace_metadata_and_cross_buckets(s: &Subject) {
    let (source, target) = (s.at("source"), s.elsewhere("target"));
    let stored = s.put("source", "copied bytes").await;
    let object = NewObject {
        content_type: Some("text/csv".into()),
        metadata: vec![("nonce".into(), "n-3".into())],
    };
    let copied = s
        .store
        .copy(&source, &stored.etag, &target, &object, &Precondition::None)
        .await
        .unwrap();
    let meta = s.store.head(&target).await.unwrap();
    assert_eq!(meta.etag, copied.etag);
    assert_eq!(meta.content_type.as_deref(), Some("text/csv"));
    assert_eq!(meta.metadata("nonce"), Some("n-3"));
    assert_eq!(s.read(&target).await, "copied bytes");
}

async fn a_copy_of_a_changed_source_is_refused(s: &Subject) {
    let (source, target) = (s.at("source"), s.at("target"));
    let old = s.put("source", "old").await;
    s.put("source", "new").await;
    let object = NewObject::default();
    let outcome = s
        .store
        .copy(&source, &old.etag, &target, &object, &Precondition::None)
        .await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Precondition);
    assert_eq!(
        s.store.head(&target).await.unwrap_err().kind,
        Kind::NotFound
    );
}

async fn conditional_copies_hold(s: &Subject) {
    if !s.store.capabilities().conditional_copy {
        return;
    }
    let (source, target) = (s.at("source"), s.at("target"));
    let stored = s.put("source", "bytes").await;
    let object = NewObject::default();
    let copy = || {
        s.store.copy(
            &source,
            &stored.etag,
            &target,
            &object,
            &Precondition::IfNoneMatch,
        )
    };
    copy().await.unwrap();
    assert_eq!(copy().await.unwrap_err().kind, Kind::Precondition);
}

async fn parts_can_be_copied(s: &Subject) {
    let (source, at) = (s.at("a source+ü"), s.at("spliced"));
    let bytes: Bytes = [big(3), Bytes::from_static(b"tail")].concat().into();
    let stored = s.put("a source+ü", bytes.clone()).await;
    let upload = s.store.create(&at, &NewObject::default()).await.unwrap();
    let range = ByteRange {
        start: 4,
        end: PART_BYTES_MIN + 4,
    };
    let one = s
        .store
        .part_copy(&at, &upload, PartNumber(1), &source, &stored.etag, range)
        .await
        .unwrap();
    assert_eq!(one.size, PART_BYTES_MIN);
    let stale = etag("\"00000000000000000000000000000000\"");
    let refused = s
        .store
        .part_copy(&at, &upload, PartNumber(2), &source, &stale, range)
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::Precondition);
    let two = s
        .part(&at, &upload, 2, &Bytes::from_static(b"!"))
        .await
        .unwrap();
    s.store
        .complete(&at, &upload, &[one, two], None, &Precondition::None)
        .await
        .unwrap();
    let expected: Bytes = [&bytes[4..], b"!"].concat().into();
    assert!(s.read(&at).await == expected);
}

async fn deletes_are_idempotent_and_conditional_ones_hold(s: &Subject) {
    let at = s.at("doomed");
    let old = s.put("doomed", "old").await;
    let new = s.put("doomed", "new").await;
    if s.store.capabilities().conditional_delete {
        let stale = s.store.delete(&at, Some(&old.etag)).await.unwrap_err();
        assert_eq!(stale.kind, Kind::Precondition);
        assert_eq!(s.read(&at).await, "new");
    }
    s.store.delete(&at, Some(&new.etag)).await.unwrap();
    assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    s.store.delete(&at, None).await.unwrap();
}

/// Begins an upload of one part.
async fn begun(s: &Subject, at: &Location, text: &'static [u8]) -> (UploadId, Vec<CompletedPart>) {
    let upload = s.store.create(at, &NewObject::default()).await.unwrap();
    let part = s
        .part(at, &upload, 1, &Bytes::from_static(text))
        .await
        .unwrap();
    (upload, vec![part])
}

fn query(prefix: &str) -> ListQuery {
    ListQuery {
        prefix: prefix.to_owned(),
        delimited: true,
        after: None,
        max: 1000,
    }
}

fn names(s: &Subject, page: &ListPage) -> Vec<String> {
    let keys = page.objects.iter().map(|object| &object.key);
    keys.map(|key| key.strip_prefix(&s.prefix).unwrap().to_owned())
        .collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

fn big(fill: u8) -> Bytes {
    vec![fill; usize::try_from(PART_BYTES_MIN).unwrap()].into()
}

fn etag(text: &str) -> ETag {
    ETag(text.into())
}
