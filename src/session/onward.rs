//! An upload that was renamed when S3 had begun it. Its key is fixed: once it is complete the object
//! moves on to its new name, before CLOSE is answered.

use crate::sftp::Given;
use crate::storage::retry::patient;
use crate::storage::{
    ETag, Location, NewObject, ObjectMeta, ObjectStore, Precondition, Result, StorageError,
    StorageErrorKind, Stored,
};
use crate::vfs::VirtualPath;

use super::calls::Then;
use super::copying::{self, Copying, Onto};
use super::described::type_at;
use super::scene::OwnScene;
use super::shell::Shell;
use super::stored_time::store_with;

/// Where an object goes, and on what condition.
#[derive(Debug)]
pub(super) struct Onward {
    own: OwnScene,
    to: Location,
    condition: Precondition,
    /// What the client said of the file when its upload had begun.
    late: Given,
}

impl Onward {
    pub(super) fn new(
        shell: &Shell,
        (path, to): (&VirtualPath, &Location),
        condition: Precondition,
        late: Given,
    ) -> Self {
        Self {
            own: OwnScene::new(shell, path),
            to: to.clone(),
            condition,
            late,
        }
    }

    /// Returns what moves the version that a commit stored.
    pub(super) fn after_commit(self) -> Then {
        Box::new(move |from, stored| {
            Box::pin(async move { self.go(&from, &stored).await.map(Some) })
        })
    }

    async fn go(&self, from: &Location, version: &ETag) -> Result<Stored> {
        let moved = self.moved(from, version).await;
        let scene = self.own.scene();
        scene.move_ended(moved.is_ok());
        if let Err(error) = &moved
            && let Some(unlogged) = scene.bounds.failures.line_due()
        {
            let to = &self.to;
            tracing::warn!(location = %from, %to, %error, unlogged, "a renamed upload is stored under its old name: it was not moved");
        }
        moved
    }

    async fn moved(&self, from: &Location, version: &ETag) -> Result<Stored> {
        let scene = self.own.scene();
        let store = patient(scene.store);
        let found = store.head(from).await?;
        if found.etag != *version {
            return Err(changed(from));
        }
        let onto = self.onto(&*store).await?;
        let stored = self.copied(from, &found, onto).await?;
        scene.deletion(from, version).run().await?;
        Ok(stored)
    }

    /// Looks whether that is still there which the RENAME saw.
    async fn onto(&self, store: &dyn ObjectStore) -> Result<Onto> {
        let there = match store.head(&self.to).await {
            Ok(meta) => Some(meta.etag),
            Err(error) if error.kind == StorageErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (&self.condition, there) {
            (Precondition::IfNoneMatch, None) => Ok(Onto::Nothing),
            (Precondition::IfMatch(seen), Some(there)) if *seen == there => Ok(Onto::Anything),
            (Precondition::None, _) => Ok(Onto::Anything),
            (Precondition::IfNoneMatch | Precondition::IfMatch(_), _) => Err(changed(&self.to)),
        }
    }

    async fn copied(&self, from: &Location, found: &ObjectMeta, onto: Onto) -> Result<Stored> {
        let scene = self.own.scene();
        let mut object = NewObject::like(found, scene.nonces.next()?, scene.bounds.clock().wall());
        object.content_type = Some(type_at(&self.to));
        store_with(&mut object, self.late);
        let copying = Copying {
            source: from,
            found,
            target: &self.to,
            object: &object,
            onto,
        };
        let apart = scene.are_apart(&from.bucket, &self.to.bucket);
        let room = copying::room(&scene, found.size, apart).await;
        let _room = room.map_err(|refusal| StorageError::from(&refusal))?;
        let stop = scene.bounds.stop.check();
        stop.map_err(|refusal| StorageError::from(&refusal))?;
        copying::copy(&scene, copying).await
    }
}

fn changed(location: &Location) -> StorageError {
    let detail = format!("{location}: another version is there");
    StorageError::new(StorageErrorKind::Precondition, detail)
}
