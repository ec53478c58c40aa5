//! What recovery does with one upload.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Outcome, Recovery, WRITTEN};
use crate::session::act::Keeping;
use crate::session::calls::{Calls, FirstFailure, Listener};
use crate::session::expiry::Stop;
use crate::session::out::Out;
use crate::session::partial::{Marking, Remains, Unkept, condition};
use crate::session::scene::{Bounds, OwnScene};
use crate::session::shell::Failures;
use crate::session::upload_records::{RecordedUpload, Stage, UploadRecord, in_sequence};
use crate::sftp::Given;
use crate::storage::{
    NewObject, Precondition, SharedStore, StorageError, StorageErrorKind, Stored,
};
use crate::transfer::write_file::{Completing, Heard};

impl Recovery {
    pub(super) async fn finish(
        &self,
        process: &str,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
        store: &SharedStore,
    ) -> Result<Outcome, StorageError> {
        let Some(upload) = record.upload.clone() else {
            return Ok(Outcome::Gone);
        };
        let location = &record.location;
        let listed = match store.parts(location, &upload).await {
            Ok(listed) => listed,
            Err(error) if is_gone(error.kind) => return self.after_its_end(record, store).await,
            Err(error) => return Err(error),
        };
        let (parts, size) = in_sequence(&record.layout, listed);
        let before = record.over.as_ref().map_or(0, |base| base.size);
        if size <= before {
            let why = "none of its parts arrived in sequence";
            return Ok(self.discard(store, record, recorded, why));
        }
        let keeping = Keeping {
            over_base: record.over.is_some(),
            replace: record.replace,
            exclusive: record.exclusive,
            opened: record.opened,
        };
        let condition = match &record.over {
            Some(base) => Precondition::IfMatch(base.etag.clone()),
            None => {
                match condition(&**store, location, keeping, Remains { size, parts: true }).await {
                    Ok(condition) => condition,
                    Err(Unkept::Storage(error)) => return Err(error),
                    Err(Unkept::Because(_, why)) => {
                        return Ok(self.discard(store, record, recorded, why));
                    }
                }
            }
        };
        let completing = Completing {
            upload,
            parts,
            checksum: None,
            condition,
            onward: None,
            given_late: Given::default(),
            partial: true,
        };
        if let Some(outcome) = self.last_look((process, record), recorded, store) {
            return Ok(outcome);
        }
        self.keep(record, recorded, store, (completing, size)).await
    }

    async fn keep(
        &self,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
        store: &SharedStore,
        (completing, size): (Completing, u64),
    ) -> Result<Outcome, StorageError> {
        if let Err(error) = recorded.keeps().await {
            let why = format!("its record could not be changed: {error}");
            return Ok(Outcome::Later(why.into()));
        }
        let error = match self.complete(record, store, completing).await {
            Ok(stored) => return Ok(Outcome::Kept { stored, size }),
            Err(error) => error,
        };
        // Its own process, or another one, may have ended it meanwhile.
        match error.kind {
            StorageErrorKind::NoSuchUpload => self.after_its_end(record, store).await,
            StorageErrorKind::Precondition => match self.after_its_end(record, store).await? {
                Outcome::Gone => Err(error),
                outcome @ (Outcome::Kept { .. } | Outcome::Discarded(_) | Outcome::Later(_)) => {
                    Ok(outcome)
                }
            },
            StorageErrorKind::NotFound
            | StorageErrorKind::NoSuchBucket
            | StorageErrorKind::Denied
            | StorageErrorKind::RangeNotSatisfiable
            | StorageErrorKind::ChecksumMismatch
            | StorageErrorKind::ClockSkew
            | StorageErrorKind::Expired
            | StorageErrorKind::Throttled
            | StorageErrorKind::Unavailable
            | StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::Refused
            | StorageErrorKind::RefusedBare => Err(error),
        }
    }

    /// Asks again, right before anything is kept, whether it may be; the store was asked meanwhile.
    fn last_look(
        &self,
        (process, record): (&str, &UploadRecord),
        recorded: &Arc<RecordedUpload>,
        store: &SharedStore,
    ) -> Option<Outcome> {
        if let Some(why) = self.refuses(record) {
            return Some(self.discard(store, record, recorded, why));
        }
        let environment = &self.environment;
        if environment.unsettled.is_written(&record.location) {
            return Some(Outcome::Later(WRITTEN.into()));
        }
        if environment
            .changes
            .is_newer(&record.location, record.opened)
        {
            let why = "its file was changed, renamed or removed since";
            return Some(self.discard(store, record, recorded, why));
        }
        let leases = environment.upload_records.leases();
        let holds = leases.is_some_and(|leases| leases.holds(process));
        (!holds).then(|| Outcome::Later("the lease on its record has ended".into()))
    }

    async fn complete(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
        completing: Completing,
    ) -> Result<Stored, StorageError> {
        let (heard, mut ended) = mpsc::unbounded_channel();
        let failed = FirstFailure::default();
        let calls = self.calls(record, store, heard, failed.clone());
        let object = NewObject::new(record.nonce);
        let marking = Marking::recovering(self.scene(record, store));
        marking.complete(calls, object, completing, None).await;
        let unknown = || StorageError::new(StorageErrorKind::OutcomeUnknown, "nothing was heard");
        match ended.try_recv() {
            Ok(Heard::Committed(Ok(stored))) => Ok(stored),
            Ok(_) | Err(_) => Err(failed.get().unwrap_or_else(unknown)),
        }
    }

    /// Looks what became of an upload that is not there: its object may lack the mark.
    async fn after_its_end(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
    ) -> Result<Outcome, StorageError> {
        if record.stage == Stage::Open {
            return Ok(Outcome::Gone);
        }
        let found = match store.head(&record.location).await {
            Ok(found) => found,
            Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(Outcome::Gone),
            Err(error) => return Err(error),
        };
        if found.nonce() != Some(record.nonce) || found.is_partial() {
            return Ok(Outcome::Gone);
        }
        let (heard, _) = mpsc::unbounded_channel();
        let calls = self.calls(record, store, heard, FirstFailure::default());
        let marking = Marking::recovering(self.scene(record, store));
        let size = found.size;
        let marked = marking.mark_found(&calls, found).await?;
        Ok(Outcome::Kept {
            stored: marked,
            size,
        })
    }

    fn calls(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
        heard: mpsc::UnboundedSender<Heard>,
        failed: FirstFailure,
    ) -> Calls {
        Calls {
            store: Arc::clone(store),
            location: record.location.clone(),
            stop: self.stop(),
            listener: Listener::Copy { heard, failed },
        }
    }

    fn stop(&self) -> Stop {
        let environment = &self.environment;
        Stop::of_process(Arc::clone(&environment.clock), environment.changes.clone())
    }

    fn scene(&self, record: &UploadRecord, store: &SharedStore) -> OwnScene {
        let failures = Failures::new(
            Arc::clone(self.shares.failures()),
            Arc::clone(&self.environment.clock),
        );
        let events = self.events.clone();
        let bounds = Bounds::new(
            &self.environment,
            &self.shares,
            self.stop(),
            events,
            failures,
        );
        // Nobody listens to it.
        let out = Arc::new(Out::new(self.shares.memory().account.clone()));
        out.nobody_listens();
        OwnScene::of(&self.environment, store, bounds, (&record.path, &out))
    }
}

/// Says whether an upload has ended, one way or the other.
const fn is_gone(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::NoSuchUpload | StorageErrorKind::NotFound
    )
}
