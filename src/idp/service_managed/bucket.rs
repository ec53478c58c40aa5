//! Documents of users as objects under a prefix of a bucket, which replicas share.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::documents::{Document, Documents, Failure, Names, Since, Version};
use super::file_name::{encoded, of_user, user_of};
use crate::clock::Clock;
use crate::limits::USER_DOCUMENT_BYTES_MAX;
use crate::storage::{
    Bucket, ETag, Key, ListCursor, ListQuery, Location, NameError, Precondition, SharedStore,
    StorageError, StorageErrorKind, document,
};

/// Keeps each user in an object.
#[derive(Debug)]
pub struct InBucket {
    bucket: Bucket,
    /// Ends with a slash.
    prefix: Box<str>,
    /// Comes once credentials are there.
    store: OnceLock<SharedStore>,
    clock: Arc<dyn Clock>,
}

impl InBucket {
    /// Keeps the users of one server below a prefix.
    #[must_use]
    pub fn of(bucket: Bucket, prefix: &str, server_id: &str, clock: Arc<dyn Clock>) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self {
            bucket,
            prefix: format!("{prefix}{slash}{}/", encoded(server_id)).into(),
            store: OnceLock::new(),
            clock,
        }
    }

    /// Reads `s3://bucket/prefix`; `None`: the text is something else.
    ///
    /// # Errors
    /// The bucket's name cannot be one.
    pub fn place(text: &str) -> Option<Result<(Bucket, &str), NameError>> {
        let rest = text.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Bucket::parse(bucket).map(|bucket| (bucket, prefix)))
    }

    /// Uses these credentials; the first ones stay.
    pub fn connect(&self, store: SharedStore) {
        drop(self.store.set(store));
    }

    fn store(&self) -> Result<&SharedStore, Failure> {
        let unconnected = || Failure::Away("there is no connection to S3 yet".to_owned());
        self.store.get().ok_or_else(unconnected)
    }

    fn location(&self, name: &str) -> Result<Location, Failure> {
        let key = Key::parse(&format!("{}{}", self.prefix, of_user(name)));
        Ok(Location {
            bucket: self.bucket.clone(),
            key: key.map_err(|error| Failure::Away(error.to_string()))?,
        })
    }

    async fn put(
        &self,
        name: &str,
        text: &Bytes,
        condition: Precondition,
    ) -> Result<Version, Failure> {
        let (store, location) = (&**self.store()?, self.location(name)?);
        let written = document::write(store, &location, text, &condition, &*self.clock).await;
        written
            .map(|etag| Version((*etag.0).into()))
            .map_err(|error| changed(&error))
    }
}

/// Under a condition, what is not there is another version.
fn changed(error: &StorageError) -> Failure {
    match error.kind {
        StorageErrorKind::Precondition | StorageErrorKind::NotFound => Failure::Changed,
        StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => away(error),
    }
}

fn away(error: &StorageError) -> Failure {
    Failure::Away(error.to_string())
}

/// Of a read nothing but its size is refused.
fn unread(error: &StorageError) -> Failure {
    if error.kind == StorageErrorKind::Refused {
        return Failure::TooLarge;
    }
    away(error)
}

fn of_object(text: Bytes, etag: &ETag) -> Document {
    Document {
        text,
        version: Version((*etag.0).into()),
    }
}

#[async_trait]
impl Documents for InBucket {
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        let (store, location) = (self.store()?, self.location(name)?);
        let read = document::read(&**store, &location, USER_DOCUMENT_BYTES_MAX).await;
        let found = read.map_err(|error| unread(&error))?;
        Ok(found.map(|(text, etag)| of_object(text, &etag)))
    }

    async fn read_since(&self, name: &str, known: &Version) -> Result<Since, Failure> {
        let (store, location) = (self.store()?, self.location(name)?);
        let known = ETag((*known.0).into());
        let read = document::read_since(&**store, &location, USER_DOCUMENT_BYTES_MAX, &known);
        Ok(match read.await.map_err(|error| unread(&error))? {
            document::Since::Same => Since::Same,
            document::Since::Other(text, etag) => Since::Other(of_object(text, &etag)),
            document::Since::Gone => Since::Gone,
        })
    }

    async fn version(&self, name: &str) -> Result<Option<Version>, Failure> {
        match self.store()?.head(&self.location(name)?).await {
            Ok(meta) => Ok(Some(Version((*meta.etag.0).into()))),
            Err(error) if error.kind == StorageErrorKind::NotFound => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }

    async fn create(&self, name: &str, text: Bytes) -> Result<Version, Failure> {
        self.put(name, &text, Precondition::IfNoneMatch).await
    }

    async fn replace(&self, name: &str, text: Bytes, base: &Version) -> Result<Version, Failure> {
        let base = ETag((*base.0).into());
        self.put(name, &text, Precondition::IfMatch(base)).await
    }

    async fn remove(&self, name: &str, base: &Version) -> Result<(), Failure> {
        let base = ETag((*base.0).into());
        let location = self.location(name)?;
        let removed = self.store()?.delete(&location, Some(&base)).await;
        removed.map(drop).map_err(|error| changed(&error))
    }

    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        let after = after.map(|after| format!("{}{}", self.prefix, of_user(after)));
        let mut query = ListQuery {
            prefix: self.prefix.to_string(),
            delimited: true,
            after: after.map(ListCursor::StartAfter),
            max,
        };
        let name = |key: &str| user_of(key.strip_prefix(&*self.prefix)?);
        loop {
            let page = self.store()?.list(&self.bucket, &query).await;
            let page = page.map_err(|error| away(&error))?;
            let keys = page.objects.iter();
            let names: Vec<_> = keys.filter_map(|object| name(&object.key)).collect();
            match page.next {
                // A page of other files says nothing of where the next one begins.
                Some(next) if names.is_empty() => {
                    query.after = Some(ListCursor::Continuation(next));
                }
                next => {
                    let more = next.is_some();
                    return Ok(Names { names, more });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::memory::MemoryStore;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_place_in_a_bucket_is_told_from_a_directory() {
        assert!(InBucket::place("/var/lib/users").is_none());
        let (bucket, prefix) = InBucket::place("s3://b/users/x").unwrap().unwrap();
        assert_eq!((bucket.as_str(), prefix), ("b", "users/x"));
        assert!(InBucket::place("s3://").unwrap().is_err());
    }

    #[tokio::test]
    async fn only_the_version_that_was_read_is_replaced() {
        let bucket = Bucket::parse("b").unwrap();
        let store = Arc::new(MemoryStore::new(&[&bucket]));
        let users = InBucket::of(bucket.clone(), "/users/", "s-1", Arc::new(SystemClock));
        assert!(matches!(users.read("ann").await, Err(Failure::Away(_))));
        users.connect(store.clone());
        assert_eq!(users.read("ann").await.unwrap(), None);
        let first = users.create("ann", text("one")).await.unwrap();
        assert_eq!(store.keys(&bucket), ["users/s-1/ann.json"]);
        assert_eq!(
            users.create("ann", text("two")).await,
            Err(Failure::Changed)
        );
        let second = users.replace("ann", text("two"), &first).await.unwrap();
        let late = users.replace("ann", text("three"), &first).await;
        assert_eq!(late, Err(Failure::Changed));
        assert_eq!(users.version("ann").await.unwrap(), Some(second.clone()));
        users.create("bob", text("{}")).await.unwrap();
        let page = users.list(None, 1).await.unwrap();
        assert_eq!((&*page.names, page.more), (&["ann".to_owned()][..], true));
        let page = users.list(Some("ann"), 1).await.unwrap();
        assert_eq!((&*page.names, page.more), (&["bob".to_owned()][..], false));
        assert_eq!(users.remove("ann", &first).await, Err(Failure::Changed));
        users.remove("ann", &second).await.unwrap();
        let gone = users.replace("ann", text("x"), &second).await;
        assert_eq!(gone, Err(Failure::Changed));
    }
}
