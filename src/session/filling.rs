//! Fills what the client left as it was: bytes of the object that was there, or zeros.

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

use crate::sftp::{HandleId, Payload};
use crate::storage::{
    ByteRange, ETag, GetObject, Location, SharedStore, StorageError, StorageErrorKind,
};

use super::actor::{Event, Events, Session};
use super::status::of_storage;
use super::writing::{Base, Parked, Source, Writing};

impl Session {
    /// Brings what the client left as it was: bytes of the base, or zeros.
    pub(super) fn start_filler(
        &mut self,
        handle: HandleId,
        writing: &mut Writing,
        start: u64,
        end: u64,
        base: Option<Base>,
    ) {
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let location = writing.location.clone();
        let task = async move {
            let outcome = match base {
                Some(base) => {
                    copy_base(&store, &location, &base.etag, start, end, handle, &events).await
                }
                None => add_zeros(start, end, handle, &events).await,
            };
            events.send(Event::Filled { handle, outcome });
        };
        writing.filler = Some(self.spawn(task));
    }

    pub(crate) fn filled(&mut self, handle: HandleId, outcome: Result<(), StorageError>) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        writing.filler = None;
        if let Err(error) = outcome {
            self.fail_writing(&mut writing, of_storage(error.kind), &error.to_string());
        }
        self.put_writing(handle, writing);
        self.advance_writing(handle);
    }

    /// Takes bytes that fill what the client left as it was.
    pub(crate) fn fill(
        &mut self,
        handle: HandleId,
        offset: u64,
        bytes: Bytes,
        done: oneshot::Sender<()>,
    ) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        let payload = Payload {
            length: bytes.len(),
            slices: vec![bytes],
        };
        let asked = self.environment.clock.now();
        writing.touched = asked;
        let parked = Parked::new(Source::Filler(done), offset, payload, asked);
        self.place_or_park(handle, writing, parked);
    }
}

async fn copy_base(
    store: &SharedStore,
    location: &Location,
    etag: &ETag,
    start: u64,
    end: u64,
    handle: HandleId,
    events: &Events,
) -> Result<(), StorageError> {
    let get = GetObject {
        range: Some(ByteRange { start, end }),
        etag: Some(etag),
    };
    let mut body = store.get(location, get).await?;
    let mut at = start;
    while let Some(frame) = body.frames.next().await {
        let frame = frame?;
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        hand_over(handle, at, frame, events).await;
        at = at.saturating_add(length);
    }
    if at < end {
        let detail = "the body ended early";
        return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
    }
    Ok(())
}

async fn add_zeros(
    start: u64,
    end: u64,
    handle: HandleId,
    events: &Events,
) -> Result<(), StorageError> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = start;
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let zeros = Bytes::from_static(&ZEROS).slice(..left.min(ZEROS.len()));
        let length = u64::try_from(zeros.len()).unwrap_or(u64::MAX);
        hand_over(handle, at, zeros, events).await;
        at = at.saturating_add(length);
    }
    Ok(())
}

/// Gives the session bytes and waits until they have their place.
async fn hand_over(handle: HandleId, offset: u64, bytes: Bytes, events: &Events) {
    let (done, placed) = oneshot::channel();
    events.send(Event::Fill {
        handle,
        offset,
        bytes,
        done,
    });
    // When the upload is given up, this task is aborted.
    placed.await.ok();
}
