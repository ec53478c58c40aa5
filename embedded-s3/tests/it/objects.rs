use std::collections::BTreeSet;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, Delete, MetadataDirective, ObjectIdentifier,
    ServerSideEncryption, StorageClass,
};
use tokio::task::JoinSet;

use crate::{BUCKET, client, code, put, read, refusal, start};

#[tokio::test]
async fn keys_are_kept_exactly_and_listed_in_byte_order() {
    let (server, client) = start().await;
    let long = "x".repeat(1024);
    let keys = [
        "a",
        "a-",
        "a/",
        "a//",
        "a//b",
        "/lead",
        "./a",
        "../a",
        "a/../b",
        "a b",
        "a+b",
        "a%20b",
        "é",
        "e\u{301}",
        "\u{e000}",
        "😀",
        "q?x=1&y",
        "h#1",
        "back\\slash",
        "<amp>&\"'",
        &long,
    ];
    for key in keys {
        put(&client, key, key).await;
        assert_eq!(read(&client, key).await, key.as_bytes(), "{key}");
    }
    let sorted: Vec<_> = BTreeSet::from(keys).into_iter().collect();
    let listed = client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let listed: Vec<_> = listed
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(listed, sorted);
    assert_eq!(server.keys(BUCKET), sorted);
}

#[tokio::test]
async fn ranges_are_cut_and_refused_as_by_s3() {
    let (server, client) = start().await;
    let body: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    server.put(BUCKET, "r", body.clone());
    server.put(BUCKET, "empty", "");
    let get = |key: &str, range: &str| {
        client
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .range(range)
            .send()
    };

    for (range, expected) in [
        ("bytes=10-19", 10..20),
        ("bytes=1048570-2097160", 1_048_570..2_097_161),
        ("bytes=2999990-", 2_999_990..3_000_000),
        ("bytes=-7", 2_999_993..3_000_000),
        ("bytes=-9000000", 0..3_000_000),
        ("bytes=2999999-9999999", 2_999_999..3_000_000),
    ] {
        let part = get("r", range).await.unwrap();
        let named = format!("bytes {}-{}/3000000", expected.start, expected.end - 1);
        assert_eq!(part.content_range(), Some(named.as_str()));
        assert!(
            part.body.collect().await.unwrap().into_bytes() == body[expected],
            "{range}"
        );
    }
    for (key, range) in [
        ("r", "bytes=3000000-"),
        ("empty", "bytes=0-"),
        ("empty", "bytes=-1"),
    ] {
        let refused = refusal(get(key, range).await);
        assert_eq!(
            refused,
            (416, String::from("InvalidRange")),
            "{key} {range}"
        );
    }
}

#[tokio::test]
async fn reads_obey_their_conditions() {
    let (_server, client) = start().await;
    let etag = put(&client, "c", "1").await;
    let get = || client.get_object().bucket(BUCKET).key("c");
    get().if_match(&etag).send().await.unwrap();
    get().if_none_match("\"other\"").send().await.unwrap();
    assert_eq!(refusal(get().if_match("\"other\"").send().await).0, 412);
    assert_eq!(refusal(get().if_none_match(&etag).send().await).0, 304);
    let past = DateTime::from_secs(1_000_000_000);
    assert_eq!(refusal(get().if_unmodified_since(past).send().await).0, 412);
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("c")
        .if_match("\"other\"");
    assert_eq!(refusal(head.send().await).0, 412);
}

#[tokio::test]
async fn writes_and_deletes_obey_their_conditions() {
    let (server, client) = start().await;
    let first = put(&client, "w", "1").await;
    let write = || {
        client
            .put_object()
            .bucket(BUCKET)
            .key("w")
            .body(ByteStream::from_static(b"2"))
    };
    assert_eq!(refusal(write().if_none_match("*").send().await).0, 412);
    let second = write()
        .if_match(&first)
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    assert_eq!(
        code(write().if_match(&first).send().await),
        "PreconditionFailed"
    );
    let missing = client
        .put_object()
        .bucket(BUCKET)
        .key("none")
        .if_match(&first)
        .send()
        .await;
    assert_eq!(refusal(missing), (404, String::from("NoSuchKey")));

    let delete = || client.delete_object().bucket(BUCKET).key("w");
    assert_eq!(
        code(delete().if_match(&first).send().await),
        "PreconditionFailed"
    );
    assert_eq!(server.object(BUCKET, "w").unwrap().body, "2");
    delete().if_match(&second).send().await.unwrap();
    delete().send().await.unwrap();
    assert!(server.object(BUCKET, "w").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_exclusive_puts_exactly_one_wins() {
    let (server, client) = start().await;
    for round in 0..8 {
        let key = format!("race/{round}");
        let mut puts = JoinSet::new();
        for writer in 0..16u8 {
            let put = client
                .put_object()
                .bucket(BUCKET)
                .key(&key)
                .if_none_match("*");
            let put = put.body(vec![writer; 100].into()).send();
            #[expect(clippy::disallowed_methods, reason = "a test owns what it begins")]
            puts.spawn(async move {
                match put.await {
                    Ok(_) => Some(writer),
                    Err(error) => {
                        assert_eq!(code::<(), _>(Err(error)), "PreconditionFailed");
                        None
                    }
                }
            });
        }
        let winners: Vec<_> = puts.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(
            server.object(BUCKET, &key).unwrap().body,
            vec![winners[0]; 100]
        );
    }
}

#[tokio::test]
async fn properties_come_back_with_the_object() {
    let (server, client) = start().await;
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("p")
        .body(ByteStream::from_static(b"x"));
    put.content_type("text/plain")
        .cache_control("no-cache")
        .metadata("mtime", "1700000000")
        .storage_class(StorageClass::StandardIa)
        .server_side_encryption(ServerSideEncryption::AwsKms)
        .ssekms_key_id("alias/one")
        .send()
        .await
        .unwrap();
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("p")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.cache_control(), Some("no-cache"));
    assert_eq!(head.metadata().unwrap()["mtime"], "1700000000");
    assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(
        head.server_side_encryption(),
        Some(&ServerSideEncryption::AwsKms)
    );
    assert_eq!(head.ssekms_key_id(), Some("alias/one"));
    let stored = server.object(BUCKET, "p").unwrap();
    assert_eq!(stored.metadata["mtime"], "1700000000");
    assert_eq!(stored.server_side_encryption.as_deref(), Some("aws:kms"));

    let big = client
        .put_object()
        .bucket(BUCKET)
        .key("big")
        .metadata("k", "v".repeat(2048));
    assert_eq!(code(big.send().await), "MetadataTooLarge");
}

#[tokio::test]
async fn copies_keep_or_replace_metadata_and_obey_conditions() {
    let (server, client) = start().await;
    let body = vec![1u8; 100_000];
    let source = client
        .put_object()
        .bucket(BUCKET)
        .key("dir/a b+é")
        .body(body.clone().into());
    let etag = source
        .metadata("k", "v")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let copy = |to: &str| {
        let from = format!("{BUCKET}/dir/a%20b%2B%C3%A9");
        client
            .copy_object()
            .bucket(BUCKET)
            .key(to)
            .copy_source(from)
    };
    copy("kept")
        .copy_source_if_match(&etag)
        .send()
        .await
        .unwrap();
    let kept = server.object(BUCKET, "kept").unwrap();
    assert!(kept.body == body && kept.metadata["k"] == "v");

    let replaced = copy("new")
        .metadata_directive(MetadataDirective::Replace)
        .metadata("n", "w");
    replaced.send().await.unwrap();
    let replaced = server.object(BUCKET, "new").unwrap().metadata;
    assert!(replaced.len() == 1 && replaced["n"] == "w");

    assert_eq!(
        code(copy("x").copy_source_if_match("\"0\"").send().await),
        "PreconditionFailed"
    );
    assert_eq!(code(copy("dir/a b+é").send().await), "InvalidRequest");
    let none = client
        .copy_object()
        .bucket(BUCKET)
        .key("x")
        .copy_source(format!("{BUCKET}/none"));
    assert_eq!(code(none.send().await), "NoSuchKey");

    let exclusive = copy("kept").if_none_match("*").send().await;
    assert_eq!(code(exclusive), "PreconditionFailed");
    copy("fresh").if_none_match("*").send().await.unwrap();
    assert_eq!(
        code(copy("kept").if_match("\"0\"").send().await),
        "PreconditionFailed"
    );
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_a_right_one_returned() {
    let (server, client) = start().await;
    let put = |key: &str| {
        client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(ByteStream::from_static(b"123456789"))
    };
    put("nvme")
        .checksum_crc64_nvme("rosUhgp5mIg=")
        .send()
        .await
        .unwrap();
    put("c").checksum_crc32_c("4waSgw==").send().await.unwrap();
    put("md5")
        .content_md5("JfnnlDI7RTiF9RgfG2JNCw==")
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(put("x").checksum_crc64_nvme("AAAAAAAAAAA=").send().await),
        "BadDigest"
    );
    assert_eq!(
        code(put("x").checksum_crc32("AAAAAA==").send().await),
        "BadDigest"
    );
    assert_eq!(
        code(
            put("x")
                .content_md5("AAAAAAAAAAAAAAAAAAAAAA==")
                .send()
                .await
        ),
        "BadDigest"
    );
    assert!(server.object(BUCKET, "x").is_none());

    let get = client.get_object().bucket(BUCKET).key("nvme");
    let got = get
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(got.checksum_crc64_nvme(), Some("rosUhgp5mIg="));
    let stored = server.object(BUCKET, "c").unwrap().checksum;
    assert_eq!(
        stored,
        Some((String::from("CRC32C"), String::from("4waSgw==")))
    );
}

/// The client sends a body it can only stream in signed chunks, with the checksum at the end.
#[tokio::test]
async fn a_streamed_body_is_checked_by_its_trailer() {
    let (server, client) = start().await;
    let file = std::env::temp_dir().join(format!("embedded-s3-{}", std::process::id()));
    let body: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &body).unwrap();
    let stream = ByteStream::from_path(&file).await.unwrap();
    let put = client.put_object().bucket(BUCKET).key("s").body(stream);
    put.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .send()
        .await
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let stored = server.object(BUCKET, "s").unwrap();
    assert!(stored.body == body);
    assert_eq!(stored.checksum.unwrap().0, "CRC64NVME");
}

#[tokio::test]
async fn many_keys_are_deleted_at_once() {
    let (server, client) = start().await;
    let keys: Vec<_> = (0..1000).map(|n| format!("d/{n}")).collect();
    let mut list = Delete::builder();
    for key in &keys {
        server.put(BUCKET, key, "x");
        list = list.objects(ObjectIdentifier::builder().key(key).build().unwrap());
    }
    list = list.objects(ObjectIdentifier::builder().key("d/never").build().unwrap());
    let delete = |list| client.delete_objects().bucket(BUCKET).delete(list).send();
    let too_many = delete(list.clone().build().unwrap()).await;
    assert_eq!(code(too_many), "MalformedXML");

    let objects = list.get_objects().clone().unwrap()[1..].to_vec();
    let done = delete(
        Delete::builder()
            .set_objects(Some(objects))
            .build()
            .unwrap(),
    )
    .await
    .unwrap();
    assert_eq!((done.deleted().len(), done.errors().len()), (1000, 0));
    assert_eq!(server.keys(BUCKET), ["d/0"]);
}

#[tokio::test]
async fn missing_buckets_and_keys_are_told_apart() {
    let (_server, client) = start().await;
    let get = |bucket: &str| client.get_object().bucket(bucket).key("none").send();
    assert_eq!(refusal(get(BUCKET).await), (404, String::from("NoSuchKey")));
    assert_eq!(
        refusal(get("no-such").await),
        (404, String::from("NoSuchBucket"))
    );
    let put = client
        .put_object()
        .bucket("no-such")
        .key("k")
        .body(ByteStream::from_static(b"1"));
    assert_eq!(code(put.send().await), "NoSuchBucket");
    assert_eq!(
        refusal(client.head_bucket().bucket("no-such").send().await).0,
        404
    );

    client
        .create_bucket()
        .bucket("second")
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(client.create_bucket().bucket("second").send().await),
        "BucketAlreadyOwnedByYou"
    );
    client
        .put_object()
        .bucket("second")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(client.delete_bucket().bucket("second").send().await),
        "BucketNotEmpty"
    );
    client
        .delete_object()
        .bucket("second")
        .key("k")
        .send()
        .await
        .unwrap();
    client
        .delete_bucket()
        .bucket("second")
        .send()
        .await
        .unwrap();
    assert_eq!(
        client.list_buckets().send().await.unwrap().buckets().len(),
        1
    );
}

#[tokio::test]
async fn only_the_right_keys_are_let_in() {
    let (server, _) = start().await;
    let list = |access: &str, secret: &str| {
        client(&server, access, secret)
            .list_objects_v2()
            .bucket(BUCKET)
            .send()
    };
    let wrong = list(server.access_key(), "wrong").await;
    assert_eq!(refusal(wrong), (403, String::from("SignatureDoesNotMatch")));
    let unknown = list("unknown", server.secret_key()).await;
    assert_eq!(refusal(unknown), (403, String::from("InvalidAccessKeyId")));
    let signed = list(server.access_key(), server.secret_key()).await;
    assert!(!matches!(signed, Err(SdkError::ServiceError(_))));
}
