use aws_sdk_s3::Client;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};
use embedded_s3::EmbeddedS3;

use crate::{BUCKET, code, put, read, refusal, start};

const MIN: usize = 5 << 20;

async fn create(client: &Client, key: &str) -> String {
    let create = client.create_multipart_upload().bucket(BUCKET).key(key);
    let create = create
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .metadata("k", "v");
    create.send().await.unwrap().upload_id.unwrap()
}

async fn upload(client: &Client, key: &str, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id)
        .part_number(number);
    let part = part
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .body(body.into());
    let part = part.send().await.unwrap();
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(part.e_tag)
        .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
        .build()
}

fn complete(
    client: &Client,
    key: &str,
    id: &str,
    parts: &[CompletedPart],
) -> CompleteMultipartUploadFluentBuilder {
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts.to_vec()))
        .build();
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id);
    complete.multipart_upload(parts)
}

fn checksum(server: &EmbeddedS3, key: &str) -> (String, String) {
    server.object(BUCKET, key).unwrap().checksum.unwrap()
}

#[tokio::test]
async fn parts_in_any_order_become_one_object() {
    let (server, client) = start().await;
    let id = create(&client, "m").await;
    let tail = upload(&client, "m", &id, 9, b"tail".to_vec()).await;
    let two = upload(&client, "m", &id, 2, vec![2; MIN]).await;
    let one = upload(&client, "m", &id, 1, vec![1; MIN + 7]).await;

    let listed = client
        .list_parts()
        .bucket(BUCKET)
        .key("m")
        .upload_id(&id)
        .max_parts(2);
    let listed = listed.send().await.unwrap();
    let numbers: Vec<_> = listed
        .parts()
        .iter()
        .filter_map(|part| part.part_number())
        .collect();
    assert_eq!(
        (numbers, listed.next_part_number_marker()),
        (vec![1, 2], Some("2"))
    );
    let open = server.uploads(BUCKET);
    assert_eq!(
        open[0].parts,
        [(1, MIN as u64 + 7), (2, MIN as u64), (9, 4)]
    );

    let done = complete(&client, "m", &id, &[one, two, tail])
        .send()
        .await
        .unwrap();
    assert!(done.e_tag().unwrap().ends_with("-3\""));
    let body = [vec![1; MIN + 7], vec![2; MIN], b"tail".to_vec()].concat();
    assert!(read(&client, "m").await == body);
    assert!(server.uploads(BUCKET).is_empty());
    assert_eq!(server.object(BUCKET, "m").unwrap().metadata["k"], "v");

    // The checksum combined from the parts is that of the whole, as a plain put computes it.
    let whole = client
        .put_object()
        .bucket(BUCKET)
        .key("whole")
        .body(body.into());
    whole
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .send()
        .await
        .unwrap();
    assert_eq!(checksum(&server, "m"), checksum(&server, "whole"));
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("m")
        .checksum_mode(ChecksumMode::Enabled);
    let head = head.send().await.unwrap();
    assert_eq!(head.checksum_type(), Some(&ChecksumType::FullObject));
}

#[tokio::test]
async fn a_wrong_completion_is_refused_and_the_upload_stays() {
    let (server, client) = start().await;
    let id = create(&client, "m").await;
    let one = upload(&client, "m", &id, 1, b"small".to_vec()).await;
    let two = upload(&client, "m", &id, 2, b"last".to_vec()).await;
    let with = |parts: &[CompletedPart]| complete(&client, "m", &id, parts);

    assert_eq!(
        code(with(&[two.clone(), one.clone()]).send().await),
        "InvalidPartOrder"
    );
    assert_eq!(
        code(with(&[one.clone(), two.clone()]).send().await),
        "EntityTooSmall"
    );
    let never = CompletedPart::builder()
        .part_number(3)
        .e_tag("\"0\"")
        .build();
    assert_eq!(code(with(&[never]).send().await), "InvalidPart");
    let mut other = one.clone();
    other.e_tag.clone_from(&two.e_tag);
    assert_eq!(code(with(&[other]).send().await), "InvalidPart");
    let wrong = with(std::slice::from_ref(&one))
        .checksum_crc64_nvme("AAAAAAAAAAA=")
        .send()
        .await;
    assert_eq!(refusal(wrong), (400, String::from("BadDigest")));
    assert!(server.keys(BUCKET).is_empty());

    let right = one.checksum_crc64_nvme.clone().unwrap();
    with(&[one])
        .checksum_crc64_nvme(right)
        .mpu_object_size(5)
        .send()
        .await
        .unwrap();
    assert_eq!(read(&client, "m").await, b"small");
}

#[tokio::test]
async fn completions_obey_their_conditions() {
    let (server, client) = start().await;
    let old = put(&client, "m", "old").await;
    let id = create(&client, "m").await;
    let part = [upload(&client, "m", &id, 1, b"new".to_vec()).await];
    let refused = complete(&client, "m", &id, &part)
        .if_none_match("*")
        .send()
        .await;
    assert_eq!(refusal(refused), (412, String::from("PreconditionFailed")));
    assert_eq!(
        code(
            complete(&client, "m", &id, &part)
                .if_match("\"0\"")
                .send()
                .await
        ),
        "PreconditionFailed"
    );
    assert_eq!(server.object(BUCKET, "m").unwrap().body, "old");
    complete(&client, "m", &id, &part)
        .if_match(old)
        .send()
        .await
        .unwrap();
    assert_eq!(server.object(BUCKET, "m").unwrap().body, "new");
}

#[tokio::test]
async fn parts_are_copied_from_ranges_of_unchanged_objects() {
    let (server, client) = start().await;
    let source: Vec<u8> = (0..6u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    let etag = server.put(BUCKET, "source", source.clone());
    let id = create(&client, "c").await;
    let copy = |number, range: &str| {
        let copy = client
            .upload_part_copy()
            .bucket(BUCKET)
            .key("c")
            .upload_id(&id);
        let copy = copy
            .copy_source(format!("{BUCKET}/source"))
            .part_number(number);
        copy.copy_source_range(range)
    };
    let mut parts = Vec::new();
    for (number, range) in [(1, "bytes=100-6291455"), (2, "bytes=0-99")] {
        let copied = copy(number, range)
            .copy_source_if_match(&etag)
            .send()
            .await
            .unwrap();
        let etag = copied.copy_part_result.unwrap().e_tag;
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(etag)
                .build(),
        );
    }
    assert_eq!(refusal(copy(3, "bytes=0-6291456").send().await).0, 416);
    let changed = copy(3, "bytes=0-1")
        .copy_source_if_match("\"0\"")
        .send()
        .await;
    assert_eq!(code(changed), "PreconditionFailed");
    complete(&client, "c", &id, &parts).send().await.unwrap();
    let expected = [&source[100..], &source[..100]].concat();
    assert!(read(&client, "c").await == expected);
}

#[tokio::test]
async fn open_uploads_are_listed_and_aborted() {
    let (server, client) = start().await;
    let mut ids = Vec::new();
    for key in ["u/a", "u/a", "u/a/b", "u/b", "v"] {
        ids.push((key, create(&client, key).await));
    }
    for size in [1, 2, 9] {
        let (mut seen, mut key, mut id) = (Vec::new(), None, None);
        loop {
            let list = client
                .list_multipart_uploads()
                .bucket(BUCKET)
                .prefix("u/")
                .max_uploads(size);
            let page = list
                .set_key_marker(key)
                .set_upload_id_marker(id)
                .send()
                .await
                .unwrap();
            seen.extend(
                page.uploads()
                    .iter()
                    .filter_map(|upload| upload.upload_id.clone()),
            );
            (key, id) = (
                page.next_key_marker.clone(),
                page.next_upload_id_marker.clone(),
            );
            if page.is_truncated() != Some(true) {
                break;
            }
        }
        assert_eq!(
            seen,
            ids[..4]
                .iter()
                .map(|(_, id)| id.clone())
                .collect::<Vec<_>>()
        );
    }
    let abort = |key: &str, id: &str| {
        client
            .abort_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .upload_id(id)
            .send()
    };
    for (key, id) in &ids {
        abort(key, id).await.unwrap();
    }
    assert!(server.uploads(BUCKET).is_empty());
    assert_eq!(
        refusal(abort("v", &ids[4].1).await),
        (404, String::from("NoSuchUpload"))
    );
    let late = client
        .upload_part()
        .bucket(BUCKET)
        .key("v")
        .upload_id(&ids[4].1)
        .part_number(1);
    assert_eq!(code(late.send().await), "NoSuchUpload");
}

#[tokio::test]
async fn a_part_with_another_checksum_than_the_upload_is_refused() {
    let (_server, client) = start().await;
    let id = create(&client, "m").await;
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key("m")
        .upload_id(&id)
        .part_number(1);
    let part = part
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .body(b"x".to_vec().into());
    assert_eq!(code(part.send().await), "InvalidRequest");
}
