//! Names, and the listings that show them.

use std::collections::BTreeSet;

use portcullis::storage::StorageErrorKind as Kind;
use portcullis::storage::{ListCursor, ListPage, ListQuery, Precondition};

use super::query;
use crate::common::stores::{Subject, new_object};

pub(super) async fn listings_group_at_the_slash(s: &Subject) {
    for name in ["d/1", "d/2", "d/e/3", "d-x", "d.txt", "z"] {
        s.put(name, name.to_owned()).await;
    }
    let page = s.store.list(&s.bucket, &query(&s.prefix)).await.unwrap();
    assert_eq!(names(s, &page), ["d-x", "d.txt", "z"]);
    assert_eq!(page.prefixes, [format!("{}d/", s.prefix)]);
    assert_eq!(page.next, None);
    let shown = page
        .objects
        .iter()
        .find(|object| object.key.ends_with("d-x"));
    assert_eq!(shown.unwrap().size, 3);
    assert_eq!(
        shown.unwrap().etag,
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

pub(super) async fn buckets_are_listed_to_the_last_one(s: &Subject) {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = match s.store.list_buckets(after.as_deref(), 1).await {
            Ok(page) => page,
            Err(error) if error.kind == Kind::Denied => {
                println!("skipped: the buckets may not be listed");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        found.extend(page.names);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let distinct: BTreeSet<_> = found.iter().map(String::as_str).collect();
    assert_eq!(distinct.len(), found.len(), "{found:?}");
    for bucket in [&s.bucket, &s.other_bucket] {
        assert!(distinct.contains(bucket.as_str()), "{found:?}");
    }
}

pub(super) async fn listings_go_on_where_the_page_ended(s: &Subject) {
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
        let keys = page.objects.into_iter().map(|object| object.key);
        found.extend(keys.filter(|key| *key != s.prefix));
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

pub(super) async fn listings_start_after_a_key(s: &Subject) {
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

pub(super) async fn odd_keys_survive(s: &Subject) {
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

pub(super) async fn slash_keys_survive(s: &Subject) {
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
        let object = new_object();
        s.copy((&at, &source), &copy, &object, &Precondition::None)
            .await
            .unwrap();
        assert_eq!(s.read(&copy).await, *name);
        s.store.delete(&at, None).await.unwrap();
        assert_eq!(s.store.head(&at).await.unwrap_err().kind, Kind::NotFound);
    }
}

fn names(s: &Subject, page: &ListPage) -> Vec<String> {
    let keys = page.objects.iter().map(|object| &object.key);
    // Where directories are seen they are keys of their own.
    let keys = keys.filter(|key| !s.lacks("hidden-directories") || !key.ends_with('/'));
    keys.map(|key| key.strip_prefix(&s.prefix).unwrap().to_owned())
        .collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}
