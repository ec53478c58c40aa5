//! Drives the server by real HTTP with Amazon's own client.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a step that fails fails its test"
)]

mod faults;
mod listing;
mod multipart;
mod objects;
mod versions;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use embedded_s3::{EmbeddedS3, Settings};

const BUCKET: &str = "bucket";

async fn start() -> (EmbeddedS3, Client) {
    let settings = Settings {
        buckets: vec![BUCKET.to_owned()],
        log_requests: true,
        ..Settings::default()
    };
    let server = EmbeddedS3::start(settings).await.unwrap();
    let client = client(&server, server.access_key(), server.secret_key());
    (server, client)
}

fn client(server: &EmbeddedS3, access_key: &str, secret_key: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn put(client: &Client, key: &str, body: impl Into<Vec<u8>>) -> String {
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .body(body.into().into());
    put.send().await.unwrap().e_tag.unwrap()
}

async fn read(client: &Client, key: &str) -> Vec<u8> {
    let object = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    object.body.collect().await.unwrap().to_vec()
}

/// Returns the status and the error code of a refusal.
fn refusal<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> (u16, String) {
    let Err(error) = result else {
        panic!("the request was not refused")
    };
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    (status, code.unwrap_or_default().to_owned())
}

fn code<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> String {
    refusal(result).1
}
