//! What a line of record says of a file.

use std::sync::Arc;

use portcullis::limits::Limits;
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Checksum, Digest};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use serde_json::{Value, json};

use crate::auth_log::logged;
use crate::common::sftp::Talk;

/// Returns the fields of the lines about files, in order.
async fn lines_of(work: impl AsyncFnOnce(&Talk)) -> Vec<Value> {
    let store = Arc::new(MemoryStore::new(&[&Bucket::parse("b").unwrap()]));
    let mapping = Mapping::parse("/in", "/b/ann", EntryType::Directory, Access::ReadWrite);
    let home = HomeDirectory::logical(vec![mapping.unwrap()], VirtualPath::root()).unwrap();
    let ((), log) = logged(async {
        work(&Talk::with(store, home, Limits::default()).await).await;
    })
    .await;
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "portcullis::audit")
        .map(|line| line["fields"].clone())
        .collect()
}

#[track_caller]
fn says(line: &Value, message: &str, fields: &[(&str, Value)]) {
    assert_eq!(line["message"], message, "{line}");
    for (name, value) in fields {
        assert_eq!(line[name], *value, "{name}: {line}");
    }
    assert!(line["duration_ms"].is_u64(), "{line}");
}

#[tokio::test]
async fn uploads_and_downloads_name_bucket_key_and_content() {
    let lines = lines_of(async |talk| {
        talk.put("/in/a", b"hello").await.unwrap();
        talk.get("/in/a").await.unwrap();
        let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let handle = talk.open("/in/new", exclusive).await.unwrap();
        talk.close(&handle).await.unwrap();
        let handle = talk.open("/in/a", OpenFlags::WRITE).await.unwrap();
        talk.write(&handle, 0, b"j").await.unwrap();
        talk.close(&handle).await.unwrap();
    })
    .await;
    let [put, got, new, over] = &*lines else {
        panic!("{lines:?}");
    };
    let checksum = |content| json!(Digest::Crc64Nvme(Checksum::of(content)).to_string());
    let place = [("bucket", json!("b")), ("key", json!("ann/a"))];
    says(put, "uploaded", &place);
    says(put, "uploaded", &[("checksum", checksum(b"hello"))]);
    says(got, "downloaded", &place);
    let content = [
        ("etag", put["etag"].clone()),
        ("checksum", checksum(b"hello")),
    ];
    says(got, "downloaded", &content);
    says(new, "uploaded", &[("replaced", json!(false))]);
    says(over, "uploaded", &[("replaced", json!(true))]);
    says(over, "uploaded", &[("checksum", checksum(b"jello"))]);
}

#[tokio::test]
async fn changes_of_names_name_bucket_and_key() {
    let lines = lines_of(async |talk| {
        talk.put("/in/a", b"hello").await.unwrap();
        let client = &talk.client;
        client
            .mkdir("/in/d", FileAttributes::empty())
            .await
            .unwrap();
        client.rename("/in/a", "/in/d/b").await.unwrap();
        client.remove("/in/d/b").await.unwrap();
        client.rmdir("/in/d").await.unwrap();
    })
    .await;
    let [_, made, moved, gone, left] = &*lines else {
        panic!("{lines:?}");
    };
    let at = |key: &str| [("bucket", json!("b")), ("key", json!(key))];
    says(made, "directory made", &at("ann/d/"));
    says(moved, "renamed", &at("ann/a"));
    let to = [("to_bucket", json!("b")), ("to_key", json!("ann/d/b"))];
    says(moved, "renamed", &to);
    says(gone, "removed", &at("ann/d/b"));
    says(left, "directory removed", &at("ann/d/"));
}
