//! Whose turn it is at a directory: calls, each of which takes a thread, and uploads, each of which
//! holds a file open.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::limits::{DIRECTORY_CALLS_MAX, DIRECTORY_UPLOADS_MAX};

/// The turns of one user of a directory, or of the gateway itself.
pub trait Turns: Debug + Send + Sync + 'static {
    /// Waits for the turn of one call.
    fn call(&self) -> BoxFuture<'_, Turn>;

    /// Takes the place of one upload; `None`: too many are under way.
    fn upload(&self) -> Option<Turn>;
}

/// A turn or a place, free again when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _held: Box<dyn Any + Send + Sync>,
}

impl Turn {
    /// Makes a turn of what gives it back when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

/// Those of a directory that one alone uses.
#[derive(Debug)]
pub(super) struct Alone {
    calls: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Default for Alone {
    fn default() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(DIRECTORY_CALLS_MAX)),
            uploads: Arc::new(Semaphore::new(DIRECTORY_UPLOADS_MAX)),
        }
    }
}

impl Turns for Alone {
    fn call(&self) -> BoxFuture<'_, Turn> {
        // Nobody closes it.
        let calls = Arc::clone(&self.calls).acquire_owned();
        calls.map(Turn::new).boxed()
    }

    fn upload(&self) -> Option<Turn> {
        let place = Arc::clone(&self.uploads).try_acquire_owned().ok()?;
        Some(Turn::new(place))
    }
}
