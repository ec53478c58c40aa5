//! Damage on the way of objects that have checksums of their parts alone.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;

const MIB: usize = 1 << 20;

impl Stage {
    /// Puts an object of such parts, and returns its bytes.
    fn put_in_parts(&self, key: &str, sizes: &[usize], kind: &str) -> Vec<u8> {
        let content = bytes(sizes.iter().sum());
        let mut rest = Bytes::from(content.clone());
        let parts: Vec<_> = sizes.iter().map(|size| rest.split_to(*size)).collect();
        self.s3.put_in_parts(BUCKET, key, &parts, kind);
        content
    }

    /// Returns which parts of an object were asked for, however often.
    fn asked(&self, key: &str) -> Vec<u16> {
        let requests = self.s3.requests().into_iter();
        let heads = requests.filter(|one| one.operation == "HeadObject" && one.key == key);
        let parts: BTreeSet<_> = heads.filter_map(|one| one.part_number).collect();
        parts.into_iter().collect()
    }
}

#[tokio::test]
async fn one_flipped_bit_is_found_in_an_object_with_checksums_of_its_parts() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let damaged = Refused::failure("The bytes were damaged on the way to or from the storage");
    for kind in ["CRC32", "CRC32C", "SHA1", "SHA256"] {
        let key = format!("in/{kind}");
        let content = stage.put_in_parts(&key, &[5 * MIB, 5 * MIB, 1000], kind);
        let path = format!("/{key}");
        assert!(client.download(&path).await.unwrap() == content, "{path}");
        assert_eq!(stage.asked(&key), [1]);
        let flip = Action::Alter(vec![Alteration::Flip { at: 7 }]);
        // In each answer but the first: of one that is sent again any may count.
        let flip = Fault::on("GetObject", flip).skip(2).times(u32::MAX);
        stage.s3.script(flip);
        assert_eq!(client.download(&path).await, Err(damaged.clone()), "{path}");
        // The part between the first and the last one is as long as the first one.
        assert_eq!(stage.asked(&key), [1, 2]);
        stage.s3.clear_faults();
    }
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all("operation failed").len(), 4);
}

#[tokio::test]
async fn parts_of_many_sizes_are_never_taken_for_damage() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    // As many as there would be if all were like the first one, and not.
    for (name, sizes, parts) in [
        ("like", vec![6 * MIB, 5 * MIB, 2 * MIB], vec![1, 2]),
        ("other", vec![5 * MIB, 6 * MIB, 5 * MIB], vec![1]),
        ("one", vec![5 * MIB + 1], vec![1]),
    ] {
        let key = format!("in/{name}");
        let content = stage.put_in_parts(&key, &sizes, "CRC32");
        let path = format!("/{key}");
        assert!(client.download(&path).await.unwrap() == content, "{path}");
        assert_eq!(stage.asked(&key), parts);
    }
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn where_parts_are_denied_objects_are_read_as_they_come_and_that_is_asked_once() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let denied = Action::Status(403, "AccessDenied".to_owned());
    let denied = Fault::on("HeadObject", denied).of_parts();
    stage.s3.script(denied.times(u32::MAX));
    for (key, asked) in [("in/a", vec![1]), ("in/b", vec![])] {
        let content = stage.put_in_parts(key, &[5 * MIB, 1000], "SHA256");
        assert!(client.download(&format!("/{key}")).await.unwrap() == content);
        assert_eq!(stage.asked(key), asked);
    }
    drop(client);
    let log = stage.end().await;
    let line = log.one(
        "composite checksums of downloads are not verified: S3 does not return the sizes of parts",
    );
    assert_eq!(line.level(), "INFO");
}
