use aws_sdk_s3::types::EncodingType;

use crate::{BUCKET, code, start};

#[tokio::test]
async fn a_hundred_thousand_keys_page_completely() {
    let (server, client) = start().await;
    for n in 0..100_000 {
        server.put(BUCKET, &format!("big/{n:06}"), "");
    }
    server.put(BUCKET, "after", "");
    let mut pages = client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("big/")
        .into_paginator()
        .send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        for object in page.unwrap().contents() {
            assert_eq!(object.key(), Some(format!("big/{count:06}").as_str()));
            count += 1;
        }
    }
    assert_eq!(count, 100_000);

    let rolled = client
        .list_objects_v2()
        .bucket(BUCKET)
        .delimiter("/")
        .send()
        .await
        .unwrap();
    assert_eq!(rolled.common_prefixes()[0].prefix(), Some("big/"));
    assert_eq!(
        (rolled.key_count(), rolled.is_truncated()),
        (Some(2), Some(false))
    );
}

#[tokio::test]
async fn pages_hold_keys_and_common_prefixes_together() {
    let (server, client) = start().await;
    for key in ["p/a", "p/b/1", "p/b/2", "p/b-", "p/c/", "p/d", "q"] {
        server.put(BUCKET, key, "");
    }
    for size in 1..7 {
        let mut items = Vec::new();
        let list = client
            .list_objects_v2()
            .bucket(BUCKET)
            .prefix("p/")
            .delimiter("/");
        let mut pages = list.max_keys(size).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            let keys = page.contents().iter().filter_map(|object| object.key());
            let prefixes = page
                .common_prefixes()
                .iter()
                .filter_map(|common| common.prefix());
            let both: Vec<_> = keys.chain(prefixes).map(str::to_owned).collect();
            assert!(both.len() <= usize::try_from(size).unwrap());
            items.extend(both);
        }
        items.sort();
        assert_eq!(items, ["p/a", "p/b-", "p/b/", "p/c/", "p/d"]);
    }
}

#[tokio::test]
async fn listing_starts_after_a_key_and_encodes_on_request() {
    let (server, client) = start().await;
    for key in ["a b", "b", "ü"] {
        server.put(BUCKET, key, "");
    }
    let list = || client.list_objects_v2().bucket(BUCKET);
    let after = list().start_after("a b").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), Some("b"));
    let encoded = list()
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = encoded
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(keys, ["a%20b", "b", "%C3%BC"]);
    assert_eq!(
        code(list().continuation_token("nonsense").send().await),
        "InvalidArgument"
    );
    assert_eq!(
        list().max_keys(0).send().await.unwrap().key_count(),
        Some(0)
    );
    let none = client.list_objects_v2().bucket("no-such").send().await;
    assert_eq!(code(none), "NoSuchBucket");
}

#[tokio::test]
async fn the_first_version_pages_by_marker() {
    let (server, client) = start().await;
    for key in ["a", "b/1", "b/2", "c"] {
        server.put(BUCKET, key, "");
    }
    let list = || {
        client
            .list_objects()
            .bucket(BUCKET)
            .delimiter("/")
            .max_keys(2)
    };
    let first = list().send().await.unwrap();
    assert_eq!(first.next_marker(), Some("b/"));
    let second = list().marker("b/").send().await.unwrap();
    assert_eq!(second.contents()[0].key(), Some("c"));
    assert!(second.common_prefixes().is_empty());
}
