//! Times, modes and owners that a client gives a file which is there already.
//!
//! S3 keeps what describes an object only together with its bytes. So the object is copied onto
//! itself, on condition that it is still the version that was found, with everything else that
//! belongs to it. Where that cannot be done without changing more, the file is left as it is: a time
//! or a mode is worth less than a class, a key or a lock.

use crate::limits::Limits;
use crate::metrics::TimeEnd;
use crate::sftp::Given;
use crate::storage::{ETag, Location, NewObject, ObjectMeta, StorageErrorKind, Stored};
use crate::vfs::VirtualPath;

use super::calls::Then;
use super::copying::{self, Copying, Onto};
use super::scene::{OwnScene, Scene};
use super::shell::Shell;
use super::status::Refusal;
use super::stored_time::{store_with, stored_with};

/// Returns what the object is copied onto itself for; a time alone only where the operator wants it.
pub(super) fn worth_a_copy(given: Given, limits: &Limits) -> Option<Given> {
    let time = given.modified.is_some() && limits.keep_times;
    let worth = time || given.mode.is_some() || given.owner.is_some();
    worth.then_some(given)
}

/// Gives an object that was found what a client says of it, and returns what was stored for that.
/// Where it cannot be kept that is no failure.
pub(super) async fn keep(
    scene: &Scene<'_>,
    location: &Location,
    found: &ObjectMeta,
    given: Given,
) -> Result<Option<Stored>, Refusal> {
    let news = given.without(stored_with(found));
    let Some(mut news) = worth_a_copy(news, &scene.bounds.limits) else {
        return Ok(None);
    };
    if !scene.store.capabilities(&location.bucket).metadata {
        // Only the time of a file is kept in another way.
        let asked = news;
        (news.mode, news.owner) = (None, None);
        if asked != news {
            leave(scene, location, "the store keeps no modes and owners");
        }
        if worth_a_copy(news, &scene.bounds.limits).is_none() {
            return Ok(None);
        }
    }
    if found.properties.as_deref().is_some_and(|p| p.is_archived()) {
        leave(scene, location, "the object is archived");
        return Ok(None);
    }
    let clock = scene.bounds.clock();
    let mut object = NewObject::like(found, scene.nonces.next()?, clock.wall());
    store_with(&mut object, news);
    let copying = Copying {
        source: location,
        found,
        target: location,
        object: &object,
        onto: Onto::Itself,
    };
    let _room = copying::room(scene, found.size, false).await?;
    scene.bounds.stop.check()?;
    match copying::copy_exactly(scene, copying).await {
        Ok(stored) => {
            scene.metrics.time_ended(TimeEnd::Kept);
            Ok(Some(stored))
        }
        Err(error) if is_left(error.kind) => {
            leave(scene, location, &error.to_string());
            Ok(None)
        }
        Err(error) => {
            scene.metrics.time_ended(TimeEnd::Failed);
            Err(error.into())
        }
    }
}

/// Says that a file keeps the time and mode that it has.
pub(super) fn leave(scene: &Scene<'_>, location: &Location, why: &str) {
    scene.metrics.time_ended(TimeEnd::Skipped);
    if let Some(unlogged) = scene.bounds.failures.line_due() {
        tracing::info!(%location, why, unlogged, "modification time or mode not kept");
    }
}

/// What the store may refuse although the file is there and its user may change it.
const fn is_left(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Refused | StorageErrorKind::RefusedBare | StorageErrorKind::Denied
    )
}

/// What came for a file after its upload had begun: kept when the file is there.
#[derive(Debug)]
pub(super) struct Late {
    given: Given,
    own: OwnScene,
}

impl Late {
    pub(super) fn new(shell: &Shell, path: &VirtualPath, given: Given) -> Self {
        Self {
            given,
            own: OwnScene::new(shell, path),
        }
    }

    /// Returns what keeps it for the version that a commit stored.
    pub(super) fn after_commit(self) -> Then {
        Box::new(move |location, stored| {
            Box::pin(async move { Ok(self.keep(&location, &stored).await) })
        })
    }

    /// Keeps it for one version, whose upload is a success either way.
    async fn keep(&self, location: &Location, version: &ETag) -> Option<Stored> {
        let scene = self.own.scene();
        let refusal = match scene.store.head(location).await {
            Ok(found) if found.etag == *version => {
                match keep(&scene, location, &found, self.given).await {
                    Ok(stored) => return stored,
                    // It was counted.
                    Err(refusal) => refusal,
                }
            }
            Ok(_) => {
                leave(&scene, location, "another version is there");
                return None;
            }
            Err(error) => {
                leave(&scene, location, &error.to_string());
                return None;
            }
        };
        if let Some(unlogged) = scene.bounds.failures.line_due() {
            let error = refusal.detail.as_deref().unwrap_or(refusal.status.sentence);
            tracing::warn!(%location, error, unlogged, "modification time or mode not kept");
        }
        None
    }
}
