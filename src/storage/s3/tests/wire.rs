//! Calls that are sent directly, beside the same sent by the SDK: what leaves the machine is equal
//! but for the number of a call. This is what has to hold after each update of the SDK.

use std::fmt::Debug;
use std::sync::Mutex;

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::error::ConnectorError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use http_body_util::BodyExt as _;

use super::*;
use crate::storage::{ByteRange, Kms, ListCursor, Properties, Retention};

/// A request as it would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    fn is_signed(&self) -> bool {
        self.header("authorization")
            .starts_with("AWS4-HMAC-SHA256 ")
    }
}

/// Keeps what it is given, and answers nothing.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Sent>>>);

impl Recorder {
    fn taken(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl HttpClient for Recorder {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("recorder", None))
    }
}

impl HttpConnector for Recorder {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sent = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let mut headers: Vec<_> = (request.headers().iter())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            headers.sort();
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = body.to_vec();
            sent.lock().unwrap().push(Sent {
                line,
                headers,
                body,
            });
            Err(ConnectorError::user("nothing is sent".into()))
        })
    }
}

/// One store as it is, and one whose calls all go through the SDK's orchestrator.
struct Both {
    recorder: Recorder,
    direct: S3Store,
    by_sdk: S3Store,
}

impl Both {
    async fn new(change: impl Fn(Builder) -> Builder, kept: Settings, bucket: &Bucket) -> Self {
        let recorder = Recorder::default();
        let store = S3Store::connect(kept).await.unwrap();
        let config = store.client.config().to_builder();
        let config = change(config).http_client(recorder.clone()).build();
        let direct = S3Store {
            client: aws_sdk_s3::Client::from_conf(config),
            ..store
        };
        Self::of(recorder, direct, bucket)
    }

    fn of(recorder: Recorder, direct: S3Store, bucket: &Bucket) -> Self {
        let mut by_sdk = direct.clone();
        by_sdk.direct = direct.direct.unshared();
        let checksums = by_sdk.capabilities.checksums;
        let client = &by_sdk.client;
        by_sdk.direct.leave_to_sdk(client, bucket, checksums);
        Self {
            recorder,
            direct,
            by_sdk,
        }
    }

    /// Makes a call both ways within one second, and compares what was sent.
    async fn same(&self, about: impl Debug, call: impl AsyncFn(S3Store)) {
        for _ in 0..20 {
            call(self.direct.clone()).await;
            let direct = self.recorder.taken();
            call(self.by_sdk.clone()).await;
            let by_sdk = self.recorder.taken();
            assert_eq!((direct.len(), by_sdk.len()), (1, 1), "{about:?}");
            let (mut direct, mut by_sdk) = (direct[0].clone(), by_sdk[0].clone());
            if direct.header("x-amz-date") != by_sdk.header("x-amz-date") {
                continue;
            }
            for sent in [&mut direct, &mut by_sdk] {
                let id = sent.header("amz-sdk-invocation-id").to_owned();
                assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
                sent.headers
                    .retain(|(name, _)| *name != *"amz-sdk-invocation-id");
                assert!(sent.is_signed(), "{sent:?}");
            }
            assert_eq!(direct, by_sdk, "{about:?}");
            return;
        }
        unreachable!("no two calls of one second");
    }

    /// Each kind of call on one key.
    async fn every_call(&self, at: &Location, object: &NewObject) {
        let etag = ETag("\"e-1\"".into());
        self.same(("head", at), async |store| {
            drop(store.head(at).await);
        })
        .await;
        self.same(("part size", at), async |store| {
            let version = Version {
                location: at,
                etag: &etag,
            };
            drop(store.part_size(version, PartNumber(2)).await);
        })
        .await;
        let range = |start, end| Some(ByteRange { start, end });
        for (range, etag) in [
            (None, None),
            (range(5, 12), Some(&etag)),
            (range(0, 9), None),
        ] {
            self.same(("get", at, &range), async |store| {
                drop(store.get(at, GetObject { range, etag }).await);
            })
            .await;
        }
        let conditions = [
            Precondition::None,
            Precondition::IfNoneMatch,
            Precondition::IfMatch(etag.clone()),
        ];
        for condition in &conditions {
            for payload in [Bytes::new(), Bytes::from_static(b"payload")] {
                self.same(("put", at, condition), async |store| {
                    let put = PutObject {
                        object,
                        checksum: Checksum::of(&payload),
                        condition,
                    };
                    drop(store.put(at, payload.clone(), put).await);
                })
                .await;
            }
        }
        self.same(("part", at), async |store| {
            let part = UploadPart {
                upload: &UploadId("an upload/+=".into()),
                number: PartNumber(7),
                checksum: Checksum(7),
            };
            drop(store.part(at, Bytes::from_static(b"part"), part).await);
        })
        .await;
        for etag in [None, Some(&etag)] {
            self.same(("delete", at), async |store| {
                drop(store.delete(at, etag).await);
            })
            .await;
        }
    }

    async fn some_calls(&self, at: &Location, object: &NewObject) {
        self.same(("head", at), async |store| {
            drop(store.head(at).await);
        })
        .await;
        self.same(("put", at), async |store| {
            let put = PutObject {
                object,
                checksum: Checksum(3),
                condition: &Precondition::IfNoneMatch,
            };
            drop(store.put(at, Bytes::from_static(b"payload"), put).await);
        })
        .await;
        self.same(("list", at), async |store| {
            let query = ListQuery::first("a b/");
            drop(store.list(&at.bucket, &query).await);
        })
        .await;
    }

    async fn every_list(&self, bucket: &Bucket) {
        let cursors = [
            None,
            Some(ListCursor::StartAfter("a b+ü".to_owned())),
            Some(ListCursor::Continuation("to/ken+=".to_owned())),
        ];
        for after in cursors {
            for (prefix, delimited) in [("", true), ("", false), ("a b/ü+&=\n", true)] {
                let query = ListQuery {
                    prefix: prefix.to_owned(),
                    delimited,
                    after: after.clone(),
                    max: 17,
                };
                self.same(&query, async |store| {
                    drop(store.list(bucket, &query).await);
                })
                .await;
            }
        }
    }

    async fn is_direct(&self, operation: Operation, bucket: &Bucket) -> bool {
        let call = Call {
            operation,
            bucket: Some(bucket),
            key: None,
        };
        let S3Store { direct, client, .. } = &self.direct;
        direct.prepared(client, &call, true).await.is_some()
    }
}

fn bucket() -> Bucket {
    Bucket::parse("bucket").unwrap()
}

fn aws() -> Settings {
    Settings {
        endpoint: None,
        path_style: false,
        ..settings(String::new())
    }
}

fn plain() -> NewObject {
    NewObject::new(Nonce::new().unwrap())
}

#[tokio::test]
async fn names_of_every_kind_are_sent_as_the_sdk_sends_them() {
    let bucket = bucket();
    let settings = settings("http://127.0.0.1:9".to_owned());
    let both = Both::new(|config| config, settings, &bucket).await;
    let object = plain();
    for name in [
        "plain",
        "a b",
        "a+b",
        "ü/ñ",
        "..",
        "./../x",
        "a//b",
        "/lead",
        "trail/",
        "line\nbreak",
        "%2F",
        "%",
        "?",
        "a?b#c",
        "a&b=c",
        "~'()*!",
        ";:@,$",
        "\u{7f}",
        "\\",
        "日本 語",
        " lead",
        "\"<>|`{}[]^",
    ] {
        let key = Key::parse(name).unwrap();
        for key in [key.clone(), key.at_version("v 1/+")] {
            let at = Location {
                bucket: bucket.clone(),
                key,
            };
            both.every_call(&at, &object).await;
        }
    }
    both.every_list(&bucket).await;
    for operation in [
        Operation::Head,
        Operation::Get,
        Operation::List,
        Operation::Put,
        Operation::Part,
        Operation::Delete,
    ] {
        assert!(both.is_direct(operation, &bucket).await, "{operation:?}");
    }
    assert!(!both.is_direct(Operation::Copy, &bucket).await);
}

#[tokio::test]
async fn what_an_object_carries_is_sent_as_the_sdk_sends_it() {
    let bucket = bucket();
    let settings = settings("http://127.0.0.1:9".to_owned());
    let at = Location {
        bucket: bucket.clone(),
        key: Key::parse("key").unwrap(),
    };
    let mut object = plain();
    object.content_type = Some("text/plain; charset=utf-8".into());
    object.metadata = vec![
        ("mtime".into(), "17".into()),
        ("spaces".into(), "a  b   c".into()),
        ("empty".into(), "".into()),
    ];
    object.tags = vec![("a b".into(), "1/2".into()), ("ü".into(), "".into())];
    object.properties = Some(Box::new(Properties {
        cache_control: Some("max-age=5".into()),
        content_disposition: Some("attachment; filename=\"a b\"".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("de".into()),
        expires: Some("whenever".into()),
        storage_class: Some("GLACIER_IR".into()),
        kms: Some(Kms {
            algorithm: "aws:kms:dsse".into(),
            key_id: "arn:aws:kms:eu-central-1:1:key/k".into(),
            bucket_key: true,
        }),
        retention: Some(Retention {
            mode: "GOVERNANCE".into(),
            until: SystemClock.wall() + Duration::from_secs(86_400),
        }),
        legal_hold: true,
    }));
    for (checksums, encryption) in [
        (true, Encryption::None),
        (false, Encryption::S3),
        (true, settings.encryption.clone()),
    ] {
        let mut settings = settings.clone();
        settings.capabilities.checksums = checksums;
        settings.encryption = encryption;
        let both = Both::new(|config| config, settings, &bucket).await;
        both.every_call(&at, &object).await;
    }
}

#[tokio::test]
async fn every_endpoint_and_key_is_that_of_the_sdk() {
    let mut compared = 0;
    let object = plain();
    let changes: [fn(Builder) -> Builder; 5] = [
        |config| config,
        |config| config.use_dual_stack(true),
        |config| config.use_fips(true),
        |config| config.accelerate(true),
        |config| config.endpoint_url("https://proxy.example:8443/a/base/"),
    ];
    for name in ["bucket", "with.dots", "Upper_case", "point-ab12-s3alias"] {
        let bucket = Bucket::parse(name).unwrap();
        let at = Location {
            bucket: bucket.clone(),
            key: Key::parse("a b/ü").unwrap(),
        };
        for change in changes {
            // Some go together in no endpoint.
            let both = Both::new(change, aws(), &bucket).await;
            let key = AccessKey::new(
                "AKIDOTHER",
                &Secret::new("secret".to_owned()),
                Some(&Secret::new("token/+=".to_owned())),
            );
            let provided = aws_credential_types::Credentials::new("A", "b", None, None, "test");
            for store in [
                both.direct.clone(),
                both.direct.by_path(),
                both.direct.with_key(&key),
                both.direct.with_key(&key).by_path(),
                both.direct.with_credentials(provided),
                both.direct.within_region("us-west-2"),
            ] {
                let both = Both::of(both.recorder.clone(), store, &bucket);
                if both.is_direct(Operation::Get, &bucket).await {
                    compared += 1;
                    both.some_calls(&at, &object).await;
                }
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

#[tokio::test]
async fn stores_of_one_endpoint_are_told_apart_where_it_matters() {
    let bucket = bucket();
    let both = Both::new(|config| config, aws(), &bucket).await;
    let at = Location {
        bucket: bucket.clone(),
        key: Key::parse("k").unwrap(),
    };
    let key = |id| AccessKey::new(id, &Secret::new("secret".to_owned()), None);
    let here = &both.direct;
    let mut found = Vec::new();
    for _ in 0..2 {
        for store in [
            here.clone(),
            here.with_key(&key("OTHER")),
            here.by_path(),
            here.within_region("us-west-2"),
        ] {
            drop(store.head(&at).await);
            let sent = both.recorder.taken();
            let [sent] = &*sent else { unreachable!() };
            let scope = sent.header("authorization").split('/').nth(2).unwrap();
            let id = sent.header("authorization").split(['=', '/']).nth(1);
            found.push((id.unwrap().to_owned(), scope.to_owned(), sent.line.clone()));
        }
    }
    let row = |id: &str, region: &str, url: &str| {
        let line = format!("HEAD https://{url}/k");
        (id.to_owned(), region.to_owned(), line)
    };
    let once = [
        row(
            "embedded",
            "eu-central-1",
            "bucket.s3.eu-central-1.amazonaws.com",
        ),
        row(
            "OTHER",
            "eu-central-1",
            "bucket.s3.eu-central-1.amazonaws.com",
        ),
        row(
            "embedded",
            "eu-central-1",
            "s3.eu-central-1.amazonaws.com/bucket",
        ),
        row("embedded", "us-west-2", "bucket.s3.us-west-2.amazonaws.com"),
    ];
    assert_eq!(found, [once.clone(), once].concat());
}

#[tokio::test]
async fn a_directory_bucket_is_left_to_the_sdk_and_its_sessions() {
    let bucket = Bucket::parse("name--euc1-az1--x-s3").unwrap();
    let both = Both::new(|config| config, aws(), &bucket).await;
    assert!(!both.is_direct(Operation::Get, &bucket).await);
    both.recorder.taken();
    let at = Location {
        bucket,
        key: Key::parse("k").unwrap(),
    };
    drop(both.direct.head(&at).await);
    let sent = both.recorder.taken();
    assert!(
        sent.iter().all(|sent| sent.line.contains("session")),
        "{sent:?}"
    );
    assert!(!sent.is_empty());
}

#[tokio::test]
async fn a_name_of_white_space_is_refused_as_the_sdk_refuses_it() {
    let bucket = bucket();
    let both = Both::new(|config| config, aws(), &bucket).await;
    let at = Location {
        bucket,
        key: Key::parse(" ").unwrap(),
    };
    let error = both.direct.head(&at).await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused, "{error}");
    assert!(both.recorder.taken().is_empty());
}

#[tokio::test]
async fn a_replaced_secret_signs_the_next_call() {
    let bucket = bucket();
    let both = Both::new(|config| config, aws(), &bucket).await;
    let at = Location {
        bucket: bucket.clone(),
        key: Key::parse("k").unwrap(),
    };
    let key = AccessKey::new("AKID", &Secret::new("first".to_owned()), None);
    let both = Both::of(both.recorder.clone(), both.direct.with_key(&key), &bucket);
    both.every_call(&at, &plain()).await;
    let token = Secret::new("token".to_owned());
    key.replace(&Secret::new("second".to_owned()), Some(&token));
    both.every_call(&at, &plain()).await;
    drop(both.direct.head(&at).await);
    let sent = both.recorder.taken();
    assert_eq!(sent[0].header("x-amz-security-token"), "token");
}
