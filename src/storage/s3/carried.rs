//! What an object carries beside its bytes, on its way to S3 and back.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass,
};

use super::{S3Store, convert};
use crate::storage::{Kms, NewObject, Properties, Retention, Tags};

/// The parameters that make a new object what it is to be: what its mapping says of class and
/// encryption, else what the store's settings say, else what the object says itself.
pub(super) struct Carried {
    pub(super) content_type: Option<String>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) kms_key_id: Option<String>,
    pub(super) bucket_key: Option<bool>,
    pub(super) lock_mode: Option<ObjectLockMode>,
    pub(super) lock_until: Option<DateTime>,
    pub(super) legal_hold: Option<ObjectLockLegalHoldStatus>,
}

impl Carried {
    pub(super) fn of(store: &S3Store, object: &NewObject) -> Self {
        let none = Properties::default();
        let own = object.properties.as_deref().unwrap_or(&none);
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let asked = object.asked.as_deref();
        let asked_class = asked.and_then(|asked| asked.storage_class.as_deref());
        let class = own.storage_class.as_deref().map(StorageClass::from);
        let (encryption, kms_key_id, bucket_key) = encrypted(store, object);
        let retention = own.retention.as_ref();
        // A period that begins now was counted by this machine's clock: by that of the store it
        // must not be too short.
        let begins_now = asked.is_some_and(|asked| asked.retention.is_some());
        let ahead = if begins_now {
            store.signing_times.ahead()
        } else {
            Duration::ZERO
        };
        let until = |lock: &Retention| lock.until.checked_add(ahead).unwrap_or(lock.until);
        Self {
            content_type: text(&object.content_type),
            metadata: convert::metadata_map(object),
            cache_control: text(&own.cache_control),
            content_disposition: text(&own.content_disposition),
            content_encoding: text(&own.content_encoding),
            content_language: text(&own.content_language),
            storage_class: asked_class
                .map(StorageClass::from)
                .or_else(|| store.storage_class.clone())
                .or(class),
            encryption,
            kms_key_id,
            bucket_key,
            lock_mode: retention.map(|lock| ObjectLockMode::from(&*lock.mode)),
            lock_until: retention.map(|lock| DateTime::from(until(lock))),
            legal_hold: own.legal_hold.then_some(ObjectLockLegalHoldStatus::On),
        }
    }
}

/// Returns algorithm, key and whether a bucket key is asked for.
fn encrypted(
    store: &S3Store,
    object: &NewObject,
) -> (Option<ServerSideEncryption>, Option<String>, Option<bool>) {
    let asked = object.asked.as_deref();
    if let Some(sse) = asked.and_then(|asked| asked.encryption.as_ref()) {
        let key = sse.kms_key_id.as_deref().map(str::to_owned);
        let algorithm = ServerSideEncryption::from(&*sse.algorithm);
        return (Some(algorithm), key, sse.bucket_key.then_some(true));
    }
    if store.encryption.is_some() {
        return (store.encryption.clone(), store.kms_key_id.clone(), None);
    }
    let own = object.properties.as_deref();
    match own.and_then(|own| own.kms.as_ref()) {
        Some(kms) => (
            Some(ServerSideEncryption::from(&*kms.algorithm)),
            Some(kms.key_id.to_string()),
            kms.bucket_key.then_some(true),
        ),
        None => (None, None, None),
    }
}

/// Sets the parameters of a call that makes an object: all of these calls name them alike.
macro_rules! carry {
    ($request:expr, $carried:expr) => {{
        let carried = $carried;
        $request
            .set_content_type(carried.content_type)
            .set_metadata(Some(carried.metadata))
            .set_cache_control(carried.cache_control)
            .set_content_disposition(carried.content_disposition)
            .set_content_encoding(carried.content_encoding)
            .set_content_language(carried.content_language)
            .set_storage_class(carried.storage_class)
            .set_server_side_encryption(carried.encryption)
            .set_ssekms_key_id(carried.kms_key_id)
            .set_bucket_key_enabled(carried.bucket_key)
            .set_object_lock_mode(carried.lock_mode)
            .set_object_lock_retain_until_date(carried.lock_until)
            .set_object_lock_legal_hold_status(carried.legal_hold)
    }};
}
pub(super) use carry;

/// Sets `Expires` as it was written: the SDK's parameter takes nothing but dates.
pub(super) fn expires(object: &NewObject) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let properties = object.properties.as_deref();
    let expires = properties.and_then(|own| own.expires.as_deref().map(str::to_owned));
    move |request| {
        if let Some(expires) = &expires {
            // It was a header before.
            let _was = request.headers_mut().try_insert("expires", expires.clone());
        }
    }
}

/// Writes `x-amz-tagging`, which is a query.
pub(super) fn tagging(tags: &Tags) -> Option<String> {
    let mut text = String::new();
    for (name, value) in tags {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    (!text.is_empty()).then_some(text)
}

fn encode(text: &str, onto: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            onto.push(char::from(byte));
        } else {
            write!(onto, "%{byte:02X}").expect("a String takes what is written");
        }
    }
}

/// Reads what a HEAD tells.
pub(super) fn properties_from(answer: &HeadObjectOutput) -> Option<Properties> {
    let kms = |algorithm: &ServerSideEncryption| {
        Some(Kms {
            algorithm: algorithm.as_str().into(),
            // Who names no key means that of the bucket.
            key_id: answer.ssekms_key_id()?.into(),
            bucket_key: answer.bucket_key_enabled() == Some(true),
        })
    };
    let retention = |until: &DateTime| {
        Some(Retention {
            mode: answer.object_lock_mode()?.as_str().into(),
            until: (*until).try_into().ok()?,
        })
    };
    let properties = Properties {
        cache_control: answer.cache_control().map(Into::into),
        content_disposition: answer.content_disposition().map(Into::into),
        content_encoding: answer.content_encoding().map(Into::into),
        content_language: answer.content_language().map(Into::into),
        expires: answer.expires_string().map(Into::into),
        storage_class: answer.storage_class().map(|class| class.as_str().into()),
        kms: answer.server_side_encryption().and_then(kms),
        retention: answer.object_lock_retain_until_date().and_then(retention),
        legal_hold: answer.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On),
    };
    (properties != Properties::default()).then_some(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_query() {
        assert_eq!(tagging(&Vec::new()), None);
        let tags = vec![
            ("a b".into(), "1/2".into()),
            ("ü".into(), "".into()),
            ("c&d=".into(), "e+f".into()),
        ];
        let text = tagging(&tags).unwrap();
        assert_eq!(text, "a%20b=1%2F2&%C3%BC=&c%26d%3D=e%2Bf");
    }
}
