//! Buckets that keep versions.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use crate::{BUCKET, code, put, read, start};

async fn keep_versions(client: &Client) {
    let enabled = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let set = client.put_bucket_versioning().bucket(BUCKET);
    set.versioning_configuration(enabled).send().await.unwrap();
}

/// What a listing shows: key, size (a deletion has none) and id, the newest first.
async fn versions(client: &Client, prefix: &str, max: i32) -> Vec<(String, Option<i64>, String)> {
    let (mut all, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let page = client
            .list_object_versions()
            .bucket(BUCKET)
            .prefix(prefix)
            .max_keys(max)
            .set_key_marker(key.take())
            .set_version_id_marker(id.take());
        let page = page.send().await.unwrap();
        let of = |key: Option<&str>| key.unwrap().to_owned();
        let found = page.versions().iter();
        all.extend(found.map(|one| (of(one.key()), one.size(), of(one.version_id()))));
        let deleted = page.delete_markers().iter();
        all.extend(deleted.map(|one| (of(one.key()), None, of(one.version_id()))));
        if page.is_truncated() != Some(true) {
            return all;
        }
        key = page.next_key_marker().map(str::to_owned);
        id = page.next_version_id_marker().map(str::to_owned);
    }
}

#[tokio::test]
async fn what_is_replaced_or_deleted_is_kept() {
    let (server, client) = start().await;
    put(&client, "f", "before").await;
    keep_versions(&client).await;
    put(&client, "f", "one").await;
    put(&client, "f", "two!").await;
    let delete = client.delete_object().bucket(BUCKET).key("f");
    let deleted = delete.clone().send().await.unwrap();
    assert_eq!(deleted.delete_marker(), Some(true));
    assert!(server.object(BUCKET, "f").is_none());
    for max in [1, 2, 1000] {
        let mut found = versions(&client, "", max).await;
        assert_eq!(found.len(), 4, "{max}");
        found.sort_by_key(|(_, size, _)| *size);
        let sizes: Vec<_> = found.iter().map(|(_, size, _)| *size).collect();
        assert_eq!(sizes, [None, Some(3), Some(4), Some(6)]);
        assert_eq!(found[3].2, "null");
    }
    let found = versions(&client, "", 1000).await;
    let of = |size| found.iter().find(|one| one.1 == size).unwrap().2.clone();
    let get = |id: String| client.get_object().bucket(BUCKET).key("f").version_id(id);
    for (size, body) in [(6, "before"), (3, "one"), (4, "two!")] {
        let object = get(of(Some(size))).send().await.unwrap();
        assert_eq!(object.body.collect().await.unwrap().into_bytes(), body);
    }
    assert_eq!(code(get(of(None)).send().await), "MethodNotAllowed");
    assert_eq!(code(get("none".to_owned()).send().await), "NoSuchVersion");
    let copy = client.copy_object().bucket(BUCKET).key("g");
    let copy = copy.copy_source(format!("{BUCKET}/f?versionId={}", of(Some(3))));
    assert!(copy.send().await.unwrap().version_id().is_some());
    assert_eq!(read(&client, "g").await, b"one");
    // Without its marker the object is there again; without its last version the one before is.
    delete.clone().version_id(of(None)).send().await.unwrap();
    assert_eq!(read(&client, "f").await, b"two!");
    delete.version_id(of(Some(4))).send().await.unwrap();
    assert_eq!(read(&client, "f").await, b"one");
}

#[tokio::test]
async fn a_bucket_that_never_kept_versions_shows_one_of_each() {
    let (_server, client) = start().await;
    for key in ["a", "d/b", "d/c", "e"] {
        put(&client, key, "x").await;
    }
    let found = versions(&client, "", 2).await;
    let keys: Vec<_> = found.iter().map(|(key, ..)| &**key).collect();
    assert_eq!(keys, ["a", "d/b", "d/c", "e"]);
    assert!(found.iter().all(|(.., id)| id == "null"));
    let page = client.list_object_versions().bucket(BUCKET).delimiter("/");
    let page = page.max_keys(2).send().await.unwrap();
    assert_eq!(page.versions().len(), 1);
    assert_eq!(page.common_prefixes()[0].prefix(), Some("d/"));
    assert_eq!(page.next_key_marker(), Some("d/"));
    let rest = client.list_object_versions().bucket(BUCKET).delimiter("/");
    let rest = rest.key_marker("d/").send().await.unwrap();
    assert_eq!(rest.versions()[0].key(), Some("e"));
    assert!(rest.common_prefixes().is_empty());
}
