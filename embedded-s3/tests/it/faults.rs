use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use embedded_s3::{Action, Fault};

use crate::{BUCKET, code, put, read, refusal, start};

#[tokio::test]
async fn a_scripted_status_refuses_the_chosen_requests_only() {
    let (server, client) = start().await;
    let slow_down = Action::Status(503, String::from("SlowDown"));
    server.script(
        Fault::on("PutObject", slow_down)
            .key_containing("x")
            .skip(1)
            .times(2),
    );
    let send = |key: &str| {
        let body = ByteStream::from(vec![0; 1 << 20]);
        client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(body)
            .send()
    };
    send("y").await.unwrap();
    send("x1").await.unwrap();
    for key in ["x2", "x3"] {
        assert_eq!(refusal(send(key).await), (503, String::from("SlowDown")));
    }
    send("x4").await.unwrap();
    assert_eq!(server.keys(BUCKET), ["x1", "x4", "y"]);
}

#[tokio::test]
async fn a_cut_body_is_announced_in_full_and_ends_early() {
    let (server, client) = start().await;
    server.put(BUCKET, "k", vec![1; 3 << 20]);
    server.script(Fault::on("GetObject", Action::CutBody { after: 1_500_000 }));
    let cut = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(cut.content_length(), Some(3 << 20));
    let mut body = cut.body;
    let mut arrived = 0;
    let failed = loop {
        match body.next().await {
            Some(Ok(bytes)) => arrived += bytes.len(),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(failed);
    assert_eq!(arrived, 1_500_000);
    assert_eq!(read(&client, "k").await.len(), 3 << 20);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_write_done() {
    let (server, client) = start().await;
    server.script(Fault::on("PutObject", Action::LoseAnswer));
    let lost = client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(ByteStream::from_static(b"1"));
    assert!(matches!(
        lost.send().await,
        Err(SdkError::DispatchFailure(_))
    ));
    assert_eq!(server.object(BUCKET, "k").unwrap().body, "1");
    assert_eq!(server.requests()[0].status, None);
}

#[tokio::test]
async fn an_error_in_200_is_an_error_and_changes_nothing() {
    let (server, client) = start().await;
    put(&client, "from", "1").await;
    server.script(Fault::on("CopyObject", Action::ErrorIn200));
    let copy = client
        .copy_object()
        .bucket(BUCKET)
        .key("to")
        .copy_source(format!("{BUCKET}/from"));
    assert_eq!(
        refusal(copy.send().await),
        (200, String::from("InternalError"))
    );

    let create = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("m")
        .send()
        .await
        .unwrap();
    let id = create.upload_id.unwrap();
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key("m")
        .upload_id(&id)
        .part_number(1);
    let etag = part.send().await.unwrap().e_tag;
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(etag)
        .build();
    server.script(Fault::on("CompleteMultipartUpload", Action::ErrorIn200));
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("m")
        .upload_id(&id);
    let complete =
        complete.multipart_upload(CompletedMultipartUpload::builder().parts(part).build());
    assert_eq!(code(complete.clone().send().await), "InternalError");
    assert_eq!(server.keys(BUCKET), ["from"]);
    complete.send().await.unwrap();
    assert_eq!(server.keys(BUCKET), ["from", "m"]);
}

#[tokio::test]
async fn a_hanging_request_goes_on_once_the_faults_are_cleared() {
    let (server, client) = start().await;
    server.script(Fault::any(Action::Hang).times(u32::MAX));
    let mut hanging = Box::pin(client.head_bucket().bucket(BUCKET).send());
    while server.count("HeadBucket") == 0 {
        let pause = tokio::time::timeout(Duration::from_millis(1), &mut hanging).await;
        assert!(pause.is_err(), "the request was answered");
    }
    server.clear_faults();
    hanging.await.unwrap();
}

#[tokio::test]
async fn a_delayed_request_is_answered_as_ever() {
    let (server, client) = start().await;
    server.script(Fault::any(Action::Delay(Duration::from_millis(5))));
    put(&client, "k", "1").await;
    assert_eq!(server.object(BUCKET, "k").unwrap().body, "1");
}

#[tokio::test]
async fn a_server_that_is_down_answers_nobody_until_it_is_up() {
    let (server, client) = start().await;
    put(&client, "k", "1").await;
    server.set_down(true);
    let get = || client.get_object().bucket(BUCKET).key("k").send();
    assert!(matches!(get().await, Err(SdkError::DispatchFailure(_))));
    server.set_down(false);
    assert_eq!(read(&client, "k").await, b"1");
}

#[tokio::test]
async fn requests_are_logged_as_they_were_made() {
    let (server, client) = start().await;
    put(&client, "a b", "12345").await;
    server.clear_requests();
    let get = client
        .get_object()
        .bucket(BUCKET)
        .key("a b")
        .range("bytes=1-2")
        .if_match("\"x\"");
    assert_eq!(refusal(get.send().await).0, 412);
    put(&client, "é", vec![0; 70_000]).await;
    client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("a ")
        .send()
        .await
        .unwrap();

    let requests = server.requests();
    let [get, put, list] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        (get.operation.as_str(), get.key.as_str()),
        ("GetObject", "a b")
    );
    assert_eq!(
        (get.range.as_deref(), get.if_match.as_deref()),
        (Some("bytes=1-2"), Some("\"x\""))
    );
    assert_eq!(get.status, Some(412));
    assert_eq!(
        (put.key.as_str(), put.bytes_in, put.status),
        ("é", 70_000, Some(200))
    );
    assert_eq!(
        (list.bucket.as_str(), list.prefix.as_deref()),
        (BUCKET, Some("a "))
    );
    assert_eq!(server.count("ListObjectsV2"), 1);
}

#[tokio::test]
async fn shutdown_closes_the_port() {
    let (server, client) = start().await;
    put(&client, "k", "1").await;
    let address = server.address();
    server.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
