//! What an open directory shows: a folder of a bucket, or the buckets themselves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::budget::Charge;
use crate::limits;
use crate::storage::{
    Bucket, ListCursor, ListPage, ListQuery, ObjectStore, StorageError, StorageErrorKind,
};

use super::plan::Folder;
use super::status::{NO_BUCKETS, Refusal};

/// Where the names of a directory come from.
#[derive(Debug, Clone)]
pub(crate) enum Listed {
    Folder(Folder),
    /// Those that the role shows.
    Buckets(Turns),
}

impl Listed {
    /// Returns what every key begins with.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Folder(folder) => &folder.prefix,
            Self::Buckets(_) => "",
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
            Self::Buckets(turns) => {
                let _turn = turns.take().await;
                return buckets(store, query).await;
            }
        };
        store.list(&folder.bucket, query).await
    }
}

/// Asks for a page of buckets; what no path can name is left out.
pub(super) async fn buckets(
    store: &dyn ObjectStore,
    query: &ListQuery,
) -> Result<ListPage, StorageError> {
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
    if error.kind != StorageErrorKind::Denied {
        return error.into();
    }
    Refusal {
        status: NO_BUCKETS,
        detail: Some(error.to_string().into()),
    }
}

/// What a session was told of its buckets, for a few seconds: an account's buckets may be listed a
/// few times a second only, by all who use it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BucketsShown(Arc<Mutex<Option<Shown>>>, Turns);

#[derive(Debug)]
struct Shown {
    told: Told,
    until: Instant,
    /// Of the account of bytes, for as long as the page is kept.
    _charge: Option<Charge>,
}

/// What the store said.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// The first page.
    Page(Arc<ListPage>),
    Denied,
}

impl Told {
    /// Returns the page, if the store showed one.
    pub(super) fn page(&self) -> Option<&ListPage> {
        match self {
            Self::Page(page) => Some(page),
            Self::Denied => None,
        }
    }
}

/// A session lists its buckets once at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<tokio::sync::Mutex<()>>);

impl Turns {
    async fn take(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

impl BucketsShown {
    /// Waits until the session asks for no buckets.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.1.take().await
    }

    /// Returns the buckets as a directory.
    pub(super) fn listed(&self) -> Listed {
        Listed::Buckets(self.1.clone())
    }

    /// Keeps a page, if there is memory for it.
    pub(super) fn keep(&self, page: &Arc<ListPage>, charge: Option<Charge>, now: Instant) {
        match charge {
            Some(charge) => self.set(Told::Page(Arc::clone(page)), Some(charge), now),
            None => drop(self.held().take()),
        }
    }

    /// Keeps that the buckets may not be listed.
    pub(super) fn keep_denial(&self, now: Instant) {
        self.set(Told::Denied, None, now);
    }

    fn set(&self, told: Told, charge: Option<Charge>, now: Instant) {
        let until = now.checked_add(limits::BUCKETS_KNOWN_FOR);
        *self.held() = until.map(|until| Shown {
            told,
            until,
            _charge: charge,
        });
    }

    /// Returns what the store said, if that is not too old.
    pub(super) fn told(&self, now: Instant) -> Option<Told> {
        self.forget(now);
        self.held().as_ref().map(|shown| shown.told.clone())
    }

    /// Says when what the store said is too old.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.held().as_ref().map(|shown| shown.until)
    }

    /// Forgets what is too old.
    pub(crate) fn forget(&self, now: Instant) {
        drop(self.held().take_if(|shown| shown.until <= now));
    }

    fn held(&self) -> MutexGuard<'_, Option<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
