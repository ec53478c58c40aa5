//! The store of a user whose mappings say what objects below them carry: class, encryption, tags,
//! lock.
//!
//! They are added here, by the object's place and to every call that makes one visible or begins
//! to, so that no way of storing it goes past them: an upload, an edit, a copy, a move, a time that
//! is set.

use std::sync::Arc;

use super::layer::{About, Layer};
use super::object_settings::SettingsAt;
use super::retry::Tries;
use super::{
    Bucket, Capabilities, Location, NewObject, Operation, Result, SharedStore, StorageErrorKind,
    Tags,
};
use crate::clock::Clock;

/// A store whose new objects carry what their place asks for.
#[derive(Debug, Clone)]
pub struct WithSettings {
    inner: SharedStore,
    settings: Arc<dyn SettingsAt>,
    clock: Arc<dyn Clock>,
}

impl WithSettings {
    #[must_use]
    pub fn new(inner: SharedStore, settings: Arc<dyn SettingsAt>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            settings,
            clock,
        }
    }

    /// Reads the tags that a copy takes over: S3 copies them by itself only where none are added.
    async fn tags_of(&self, source: &Location) -> Result<Tags> {
        match self.inner.tags(source).await {
            Ok(tags) => Ok(tags),
            // The store has no tags, or the object has none; one that is gone fails to be copied.
            Err(error)
                if matches!(
                    error.kind,
                    StorageErrorKind::Refused
                        | StorageErrorKind::RefusedBare
                        | StorageErrorKind::NotFound
                ) =>
            {
                Ok(Tags::new())
            }
            Err(error) => Err(error),
        }
    }
}

impl Layer for WithSettings {
    async fn around<T, F, R>(&self, _: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        run(Arc::clone(&self.inner)).await
    }

    async fn described(
        &self,
        at: &Location,
        object: &NewObject,
        source: Option<&Location>,
    ) -> Result<Option<NewObject>> {
        let Some(settings) = self.settings.settings_at(at) else {
            return Ok(None);
        };
        let mut object = object.clone();
        if let Some(source) = source.filter(|_| !settings.tags.is_empty())
            && object.tags.is_empty()
        {
            object.tags = self.tags_of(source).await?;
        }
        object.ask(settings, at, self.clock.wall());
        Ok(Some(object))
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }

    fn patient(&self) -> Option<SharedStore> {
        let inner = self.inner.patient()?;
        Some(Arc::new(Self {
            inner,
            ..self.clone()
        }))
    }

    fn tries(&self, operation: Operation, bucket: &Bucket) -> Option<Tries> {
        self.inner.tries(operation, bucket)
    }
}
