//! What an open directory shows: a folder of a bucket, or the buckets themselves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::budget::Charge;
use crate::limits;
use crate::storage::{
    Bucket, ListCursor, ListPage, ListQuery, ObjectStore, StorageError, StorageErrorKind,
};

use super::plan::Folder;
use super::status::{NO_BUCKETS, Refusal};

/// Where the names of a directory come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listed {
    Folder(Folder),
    /// Those that the role shows.
    Buckets,
}

impl Listed {
    /// Returns what every key begins with.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Folder(folder) => &folder.prefix,
            Self::Buckets => "",
        }
    }

    /// Returns the question for one page.
    pub(crate) fn query(&self, after: Option<ListCursor>, max: u16) -> ListQuery {
        ListQuery {
            prefix: self.prefix().to_owned(),
            delimited: true,
            after,
            max,
        }
    }

    /// Fetches one page.
    pub(crate) async fn fetch(
        &self,
        store: &dyn ObjectStore,
        query: &ListQuery,
    ) -> Result<ListPage, StorageError> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Buckets => return buckets(store, query).await,
        };
        store.list(&folder.bucket, query).await
    }
}

/// Asks for a page of buckets; what no path can name is left out.
async fn buckets(store: &dyn ObjectStore, query: &ListQuery) -> Result<ListPage, StorageError> {
    let after = match &query.after {
        Some(ListCursor::Continuation(next)) => Some(next.as_str()),
        Some(ListCursor::StartAfter(_)) | None => None,
    };
    let page = store.list_buckets(after, query.max).await?;
    let names = page.names.into_iter();
    let names = names.filter(|name| Bucket::parse(name).is_ok());
    Ok(ListPage {
        objects: Vec::new(),
        prefixes: names.map(|name| format!("{name}/")).collect(),
        next: page.next,
    })
}

/// Says whether a bucket is there, as far as the role shows it.
pub(super) async fn is_bucket(store: &dyn ObjectStore, folder: &Folder) -> Result<bool, Refusal> {
    let query = ListQuery::first(&folder.prefix);
    match store.list(&folder.bucket, &query).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == StorageErrorKind::NoSuchBucket => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Words the refusal of a listing of buckets.
pub(super) fn no_buckets(error: StorageError) -> Refusal {
    match error.kind {
        StorageErrorKind::Denied => Refusal {
            status: NO_BUCKETS,
            detail: Some(error.to_string().into()),
        },
        StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => error.into(),
    }
}

/// The first page of buckets that a session was shown, for a few seconds: an account's buckets
/// may be listed a few times a second only, by all who use it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BucketsShown(Arc<Mutex<Option<Shown>>>);

#[derive(Debug)]
struct Shown {
    page: ListPage,
    until: Instant,
    /// Of the account of bytes, for as long as the page is kept.
    _charge: Charge,
}

impl BucketsShown {
    /// Keeps a page, if there is memory for it.
    pub(super) fn keep(&self, page: &ListPage, charge: Option<Charge>, now: Instant) {
        let until = now.checked_add(limits::BUCKETS_KNOWN_FOR);
        let shown = charge.zip(until).map(|(charge, until)| Shown {
            page: page.clone(),
            until,
            _charge: charge,
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// Returns the page, if it is not too old.
    pub(super) fn page(&self, now: Instant) -> Option<ListPage> {
        self.forget(now);
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| shown.page.clone())
    }

    /// Says when the page is too old.
    pub(crate) fn until(&self) -> Option<Instant> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| shown.until)
    }

    /// Forgets a page that is too old.
    pub(crate) fn forget(&self, now: Instant) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(shown.take_if(|shown| shown.until <= now));
    }
}
