//! What goes over the wire, and what becomes of answers that are late, wrong or lost.

use std::time::SystemTime;

use embedded_s3::{Action, Alteration, EmbeddedS3, Fault};
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::secret::Secret;
use crate::storage::{
    Checksum, Nonce, PartNumber, Precondition, Version, WrittenRetention, WrittenSettings,
};
use StorageErrorKind as Kind;

mod answers;
mod wire;

const SECRET: &str = "embedded-secret";

fn settings(endpoint: String) -> Settings {
    Settings {
        region: "eu-central-1".to_owned(),
        endpoint: Some(endpoint),
        follow_regions: false,
        path_style: true,
        storage_class: Some("STANDARD_IA".to_owned()),
        encryption: Encryption::Kms {
            key_id: "key-1".to_owned(),
        },
        capabilities: Capabilities::all(),
        credentials: Credentials::Static(AccessKey::new(
            "embedded",
            &Secret::new(SECRET.to_owned()),
            None,
        )),
        ca_pem: None,
        timeouts: Timeouts::default(),
    }
}

async fn served() -> (EmbeddedS3, S3Store) {
    let server = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["bucket".to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    })
    .await
    .unwrap();
    let store = S3Store::connect(settings(server.endpoint())).await.unwrap();
    (server, store)
}

fn place() -> Location {
    Location {
        bucket: Bucket::parse("bucket").unwrap(),
        key: Key::parse("dir/a key+ü").unwrap(),
    }
}

async fn put(store: &S3Store, payload: &Bytes) -> Result<Stored> {
    let put = PutObject {
        object: &NewObject::new(Nonce::new().unwrap()),
        checksum: Checksum::of(payload),
        condition: &Precondition::None,
    };
    store.put(&place(), payload.clone(), put).await
}

async fn upload(store: &S3Store) -> (UploadId, Vec<CompletedPart>) {
    let at = place();
    let id = store
        .create(&at, &NewObject::new(Nonce::new().unwrap()))
        .await
        .unwrap();
    let payload = Bytes::from_static(b"part");
    let part = UploadPart {
        upload: &id,
        number: PartNumber(1),
        checksum: Checksum::of(&payload),
    };
    let parts = vec![store.part(&at, payload, part).await.unwrap()];
    (id, parts)
}

/// Reads one request, answers 200 and returns its head in lower case and the bytes of its body.
async fn captured(listener: TcpListener) -> (String, Vec<u8>) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let (head, body_start) = loop {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            break (head.to_ascii_lowercase(), end + 4);
        }
    };
    let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
    while bytes.len() < body_start + length {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let answer = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(answer).await.unwrap();
    (head, bytes.split_off(body_start))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .into_iter()
        .find_map(|(n, value)| (n == name).then_some(value))
}

#[tokio::test]
async fn a_part_goes_out_plain_unsigned_and_with_our_checksum() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let store = S3Store::connect(settings(endpoint)).await.unwrap();
    let payload: Bytes = vec![7; 8 * 1024 * 1024].into();
    let checksum = Checksum(crc_fast::crc64_nvme(&payload));
    let (at, id) = (place(), UploadId("up".into()));
    let part = UploadPart {
        upload: &id,
        number: PartNumber(3),
        checksum,
    };
    let part = store.part(&at, payload.clone(), part);
    let (sent, (head, body)) = tokio::join!(part, captured(listener));
    sent.unwrap();
    assert!(
        head.starts_with("put /bucket/dir/a%20key%2b%c3%bc?"),
        "{head}"
    );
    assert!(head.contains("partnumber=3"));
    assert_eq!(header(&head, "content-length"), Some("8388608"));
    assert_eq!(
        header(&head, "x-amz-content-sha256"),
        Some("unsigned-payload")
    );
    let expected = convert::checksum_text(checksum).to_ascii_lowercase();
    assert_eq!(header(&head, "x-amz-checksum-crc64nvme"), Some(&*expected));
    for absent in [
        "content-encoding",
        "transfer-encoding",
        "x-amz-trailer",
        "x-amz-checksum-crc32",
    ] {
        assert_eq!(header(&head, absent), None);
    }
    assert!(body == payload);
}

#[tokio::test]
async fn a_put_carries_class_and_encryption_and_no_checksum_where_stores_have_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(format!("http://{}", listener.local_addr().unwrap()));
    settings.capabilities.checksums = false;
    settings.capabilities.conditional_put = false;
    let store = S3Store::connect(settings).await.unwrap();
    let at = place();
    let object = NewObject::new(Nonce::new().unwrap());
    let put = PutObject {
        object: &object,
        checksum: Checksum(0),
        condition: &Precondition::IfNoneMatch,
    };
    let put = store.put(&at, Bytes::from_static(b"x"), put);
    let (sent, (head, body)) = tokio::join!(put, captured(listener));
    assert_eq!(sent.unwrap().checksum, None);
    assert_eq!(body, b"x");
    assert_eq!(header(&head, "x-amz-storage-class"), Some("standard_ia"));
    assert_eq!(
        header(&head, "x-amz-server-side-encryption"),
        Some("aws:kms")
    );
    let key = header(&head, "x-amz-server-side-encryption-aws-kms-key-id");
    assert_eq!(key, Some("key-1"));
    assert!(!head.contains("x-amz-checksum") && !head.contains("if-none-match"));
    assert!(!head.contains("x-amz-sdk-checksum-algorithm"), "{head}");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_sent_once_and_its_outcome_unknown() {
    let (server, store) = served().await;
    let payload = Bytes::from_static(b"landed");
    server.script(Fault::on("PutObject", Action::LoseAnswer));
    let error = put(&store, &payload).await.unwrap_err();
    assert_eq!(error.kind, Kind::OutcomeUnknown, "{error}");
    assert_eq!(server.count("PutObject"), 1);
    let held = server.object("bucket", place().key.as_str()).unwrap();
    assert_eq!(held.body, payload);
    assert!(!error.detail.contains(SECRET));

    let (at, (id, parts)) = (place(), upload(&store).await);
    let complete = || {
        let complete = CompleteUpload {
            upload: &id,
            parts: &parts,
            checksum: None,
            condition: &Precondition::None,
        };
        store.complete(&at, complete)
    };
    for action in [
        Action::ErrorIn200,
        Action::Status(500, "InternalError".to_owned()),
    ] {
        server.script(Fault::on("CompleteMultipartUpload", action));
        let error = complete().await.unwrap_err();
        assert_eq!(error.kind, Kind::OutcomeUnknown, "{error}");
    }
    assert_eq!(server.count("CompleteMultipartUpload"), 2);
    complete().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_fails_in_a_200_is_an_error() {
    let (server, store) = served().await;
    let stored = put(&store, &Bytes::from_static(b"source")).await.unwrap();
    server.script(Fault::on("CopyObject", Action::ErrorIn200));
    let (from, object) = (place(), NewObject::new(Nonce::new().unwrap()));
    let copy = CopyObject {
        source: Version {
            location: &from,
            etag: &stored.etag,
        },
        object: &object,
        condition: &Precondition::None,
    };
    let copied = store.copy(&from, copy).await;
    assert_eq!(copied.unwrap_err().kind, Kind::OutcomeUnknown);
}

#[tokio::test]
async fn a_call_is_sent_once_and_says_when_the_store_wants_the_next() {
    let (server, store) = served().await;
    put(&store, &Bytes::from_static(b"x")).await.unwrap();
    for (operation, status, code, kind) in [
        ("PutObject", 503, "SlowDown", Kind::Throttled),
        ("PutObject", 500, "InternalError", Kind::OutcomeUnknown),
        ("HeadObject", 500, "InternalError", Kind::Unavailable),
    ] {
        let asked = server.count(operation);
        server.script(Fault::on(
            operation,
            Action::Status(status, code.to_owned()),
        ));
        let error = match operation {
            "PutObject" => put(&store, &Bytes::from_static(b"x")).await.unwrap_err(),
            _ => store.head(&place()).await.unwrap_err(),
        };
        assert_eq!(server.count(operation), asked + 1);
        assert_eq!((error.kind, error.retry_after), (kind, None), "{error}");
    }
    let action = Action::RetryAfter(7);
    server.script(Fault::on("PutObject", action));
    let error = put(&store, &Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_refusal_for_the_clock_is_told_and_the_next_request_goes_by_the_clock_of_the_store() {
    let (server, store) = served().await;
    let payload = Bytes::from_static(b"x");
    for operation in ["PutObject", "HeadObject"] {
        put(&store, &payload).await.unwrap();
        server.script(Fault::on(operation, Action::ClockAhead(1_200)));
        let error = match operation {
            "PutObject" => put(&store, &payload).await.unwrap_err(),
            _ => store.head(&place()).await.unwrap_err(),
        };
        assert_eq!(error.kind, Kind::ClockSkew, "{error}");
        assert!(error.detail.contains("the store's clock is 1"), "{error}");
        // Its clock was not ahead in truth: now it is the request that is.
        let error = put(&store, &payload).await.unwrap_err();
        assert!(error.detail.contains("403 RequestTimeTooSkewed"), "{error}");
        assert_eq!(error.kind, Kind::ClockSkew);
    }
    put(&store, &payload).await.unwrap();
    server.script(Fault::on("HeadObject", Action::ClockAhead(60)));
    let error = store.head(&place()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Denied, "{error}");
}

#[tokio::test]
async fn a_lock_is_counted_by_a_clock_of_the_store_that_is_far_ahead() {
    let (server, store) = served().await;
    let now = SystemClock.wall();
    let day = Duration::from_secs(24 * 60 * 60);
    let mut object = NewObject::new(Nonce::new().unwrap());
    let written = WrittenSettings {
        retention: Some(WrittenRetention {
            mode: Some("GOVERNANCE".to_owned()),
            days: Some(1),
            years: None,
        }),
        ..WrittenSettings::default()
    };
    object.ask(Arc::new(written.checked().unwrap()), &place(), now);
    let until = || {
        let carried = carried::Carried::of(&store, &object);
        SystemTime::try_from(carried.lock_until.unwrap()).unwrap()
    };
    assert_eq!(until(), now + day);
    server.script(Fault::on("HeadObject", Action::ClockAhead(3_600)));
    store.head(&place()).await.unwrap_err();
    let later = until().duration_since(now + day).unwrap();
    assert!((3_500..3_700).contains(&later.as_secs()), "{later:?}");
}

#[tokio::test]
async fn a_denied_head_is_a_denial_once_it_is_signed_by_the_clock_of_the_store() {
    let (server, store) = served().await;
    for _ in 0..3 {
        server.script(Fault::on("HeadObject", Action::ClockAhead(1_200)));
    }
    for kind in [Kind::ClockSkew, Kind::Denied, Kind::Denied] {
        let error = store.head(&place()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_has_done_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = S3Store::connect(settings(format!("http://{address}")));
    let error = put(&store.await.unwrap(), &Bytes::from_static(b"x")).await;
    assert_eq!(error.unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test]
async fn a_commit_that_is_not_answered_in_time_has_an_unknown_outcome() {
    let (server, _) = served().await;
    let mut settings = settings(server.endpoint());
    settings.timeouts.payload = Duration::from_millis(50);
    settings.timeouts.body_idle = Duration::from_millis(50);
    let store = S3Store::connect(settings).await.unwrap();
    server.script(Fault::on("PutObject", Action::Hang));
    let error = put(&store, &Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind, Kind::OutcomeUnknown, "{error}");
}

#[tokio::test]
async fn a_cut_body_ends_with_an_error() {
    let (server, store) = served().await;
    let payload: Bytes = vec![1; 300_000].into();
    put(&store, &payload).await.unwrap();
    server.script(Fault::on("GetObject", Action::CutBody { after: 100_000 }));
    let mut frames = store
        .get(&place(), GetObject::default())
        .await
        .unwrap()
        .frames;
    let mut received = 0;
    let error = loop {
        match frames.try_next().await {
            Ok(Some(frame)) => received += frame.len(),
            Ok(None) => unreachable!("the body was announced longer than it was"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    assert!(received <= 100_000);
    assert!(frames.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn refusals_say_what_the_caller_can_do() {
    let (server, store) = served().await;
    let rows = [
        (403, "AccessDenied", Kind::Denied),
        (400, "ExpiredToken", Kind::Expired),
        (501, "NotImplemented", Kind::Refused),
    ];
    for (status, code, expected) in rows {
        server.script(Fault::on(
            "ListObjectsV2",
            Action::Status(status, code.to_owned()),
        ));
        let query = ListQuery {
            prefix: String::new(),
            delimited: true,
            after: None,
            max: 1,
        };
        let error = store.list(&place().bucket, &query).await.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
        assert!(error.detail.contains(code) && error.detail.contains("s3://bucket"));
    }
    let wrong = aws_credential_types::Credentials::new("embedded", "wrong", None, None, "test");
    let error = store.with_credentials(wrong).head(&place()).await;
    assert_eq!(error.unwrap_err().kind, Kind::Denied);
}

#[tokio::test]
async fn authorities_that_are_not_pem_are_refused_at_once() {
    let mut settings = settings("https://127.0.0.1:1".to_owned());
    settings.ca_pem = Some(b"not a certificate".to_vec());
    let error = S3Store::connect(settings).await.unwrap_err();
    assert!(matches!(error, ConnectError::CaEmpty));
}
