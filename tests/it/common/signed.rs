//! Requests to AWS's API, signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use portcullis::clock::{Clock as _, SystemClock, written};
use sha2::{Digest as _, Sha256};

/// Signs as AWS's tools do; returns `X-Amz-Date` and `Authorization`.
pub(crate) fn signed(
    (id, secret): (&str, &str),
    host: &str,
    target: &str,
    body: &str,
    seconds_ago: u64,
) -> (String, String) {
    let now: SystemTime = SystemClock.wall();
    let sent = now.duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds_ago;
    let sent = UNIX_EPOCH + Duration::from_secs(sent);
    let time: String = written(sent)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let date = time.get(..8).unwrap();
    let names = "content-type;host;x-amz-date;x-amz-target";
    let payload = hex::encode(Sha256::digest(body.as_bytes()));
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:{host}\nx-amz-date:{time}\n\
         x-amz-target:{target}\n\n{names}\n{payload}"
    );
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    let scope = format!("{date}/eu-west-1/transfer/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let keyed = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let mut key = keyed(format!("AWS4{secret}").as_bytes(), date);
    for part in ["eu-west-1", "transfer", "aws4_request"] {
        key = keyed(&key, part);
    }
    let signature = hex::encode(keyed(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    (time, authorization)
}
