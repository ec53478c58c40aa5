//! Checksums of files that clients ask for: as the store keeps them, or of bytes that are read.
//!
//! What is read goes no further than here, and costs what a download costs: the user's rate, memory
//! for what is on its way, the session's calls, and the turns that commands like `sha256sum` take.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::audit;
use crate::budget::UserMemory;
use crate::clock::within;
use crate::limits::{CHECK_MEMORY_BYTES, STALL_TIMEOUT};
use crate::sftp::{Reply, Status};
use crate::storage::retry::{self, patient};
use crate::storage::{
    ByteRange, ETag, GetObject, Location, ObjectMeta, ObjectStore, Operation, SharedStore,
    StorageError, StorageErrorKind,
};
use crate::transfer::Sum;
use crate::vfs::VirtualPath;

use super::act::{Check, PathAnswer};
use super::check_request::Ranges;
use super::names::is_directory;
use super::plan::Folder;
use super::scene::Bounds;
use super::status::{CHANGED, IS_DIRECTORY, Refusal};

/// One question about checksums.
pub(super) struct Checking<'a> {
    pub(super) store: &'a SharedStore,
    pub(super) memory: &'a UserMemory,
    pub(super) bounds: &'a Bounds,
}

impl Checking<'_> {
    /// Tells the checksums of an open file's version, or of what is at a place, where a directory may
    /// be as well.
    pub(super) async fn answer(
        &self,
        path: &VirtualPath,
        check: &Check,
        at: (&Location, bool),
    ) -> Result<PathAnswer, Refusal> {
        let began = self.bounds.clock().now();
        let checked = self.checked(check, at).await?;
        let ranges = check.ranges(checked.size)?;
        let stored = checked.stored.clone();
        let stored = stored.filter(|_| ranges.is_whole(checked.size));
        let is_stored = stored.is_some();
        let sums = match stored {
            Some(sum) => sum,
            None if check.is_of_stored() => Bytes::new(),
            None => self.read_sums(check, &checked, ranges).await?,
        };
        if !sums.is_empty() {
            let (metrics, name) = (&self.bounds.metrics, check.algorithm.name());
            metrics.checksum_told(name, is_stored);
            audit::checksum_told(
                audit::File {
                    path,
                    location: &checked.location,
                },
                check.algorithm.name(),
                (!is_stored).then(|| ranges.end.saturating_sub(ranges.start)),
                &checked.etag,
                self.bounds.clock().now().saturating_duration_since(began),
            );
        }
        Ok(PathAnswer::Reply(Reply::Sums {
            form: check.form,
            algorithm: check.algorithm.name(),
            sums,
        }))
    }

    /// Finds the version, and the sum that the store keeps of it. An open file is looked at only
    /// where the store may keep one.
    async fn checked(&self, check: &Check, at: (&Location, bool)) -> Result<Checked, Refusal> {
        let stored = |found: &ObjectMeta| {
            let digest = found.checksum?;
            check.algorithm.stored(digest)
        };
        if let Some(version) = &check.version {
            let location = version.location.clone();
            let keeps = self.store.capabilities(&location.bucket).checksums;
            let found = if keeps && check.algorithm.may_be_stored() {
                self.store.head(&location).await.ok()
            } else {
                None
            };
            let found = found.filter(|found| found.etag == version.etag);
            return Ok(Checked {
                location,
                etag: version.etag.clone(),
                size: version.size,
                stored: found.as_ref().and_then(stored),
            });
        }
        let (location, may_be_directory) = (at.0.clone(), at.1);
        match self.store.head(&location).await {
            Ok(found) if found.etag.is_deletion() => Err(Status::PERMISSION_DENIED.into()),
            Ok(found) => Ok(Checked {
                stored: stored(&found),
                location,
                etag: found.etag,
                size: found.size,
            }),
            Err(error) if error.kind == StorageErrorKind::NotFound && may_be_directory => {
                let directory = is_directory(&**self.store, &Folder::of(&location)).await?;
                Err(if directory {
                    IS_DIRECTORY.into()
                } else {
                    Status::NO_SUCH_FILE.into()
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the bytes and sums them up, going on where a GET was cut.
    async fn read_sums(
        &self,
        check: &Check,
        checked: &Checked,
        ranges: Ranges,
    ) -> Result<Bytes, Refusal> {
        let _memory = self.memory.read_ahead.take(CHECK_MEMORY_BYTES).await;
        let clock = self.bounds.clock();
        let store = patient(self.store);
        let mut tries = retry::tries(&*store, Operation::Get, &checked.location.bucket, clock);
        let mut summing = Summing::new(check, ranges, &self.bounds.sums);
        while summing.at < ranges.end {
            let before = summing.at;
            let outcome = self
                .read_on(&*store, checked, &mut summing, ranges.end)
                .await;
            if summing.at > before {
                tries.restart(clock.now());
            }
            if let Err(mut error) = outcome {
                let may_go_on = matches!(
                    error.kind,
                    StorageErrorKind::Throttled
                        | StorageErrorKind::Unavailable
                        | StorageErrorKind::OutcomeUnknown
                );
                if may_go_on && tries.again_after(clock, &mut error).await {
                    continue;
                }
                // A version that is gone means that the file was changed.
                return Err(if error.kind == StorageErrorKind::NotFound {
                    CHANGED.into()
                } else {
                    error.into()
                });
            }
        }
        Ok(summing.finish())
    }

    async fn read_on(
        &self,
        store: &dyn ObjectStore,
        checked: &Checked,
        summing: &mut Summing<'_>,
        end: u64,
    ) -> Result<(), StorageError> {
        let clock = self.bounds.clock();
        let start = summing.at;
        let get = GetObject {
            range: Some(ByteRange { start, end }),
            etag: Some(&checked.etag),
        };
        let mut body = store.get(&checked.location, get).await?;
        while summing.at < end {
            let Some(Some(frame)) = within(clock, STALL_TIMEOUT, body.frames.next()).await else {
                let detail = "the body stalled, or ended early";
                return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
            };
            let mut bytes = frame?;
            let room = usize::try_from(end.saturating_sub(summing.at)).unwrap_or(usize::MAX);
            bytes.truncate(room);
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.bounds.outgoing.wait_for(clock, length).await;
            summing.add(&bytes).await;
        }
        Ok(())
    }
}

/// The version of a file whose checksums are told.
struct Checked {
    location: Location,
    etag: ETag,
    size: u64,
    /// Of all bytes, as the store keeps it.
    stored: Option<Bytes>,
}

/// Sums that are computed.
struct Summing<'a> {
    check: &'a Check,
    ranges: Ranges,
    turns: &'a [Arc<Semaphore>; 2],
    at: u64,
    /// Of the block that is not complete.
    sum: Sum,
    done: Vec<u8>,
}

impl<'a> Summing<'a> {
    fn new(check: &'a Check, ranges: Ranges, turns: &'a [Arc<Semaphore>; 2]) -> Self {
        Self {
            check,
            ranges,
            turns,
            at: ranges.start,
            sum: check.algorithm.begin(),
            done: Vec::new(),
        }
    }

    async fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = self.left_of_block().min(PIECE_BYTES_MAX);
            let length = usize::try_from(left).unwrap_or(bytes.len());
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            {
                let [user, process] = self.turns;
                // Neither is ever closed.
                let _of_user = user.acquire().await;
                let _of_process = process.acquire().await;
                self.sum.add(piece);
            }
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.at = self.at.saturating_add(length);
            if self.left_of_block() == 0 || self.begins_block() {
                self.end_block();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Returns how many bytes the block still gets.
    fn left_of_block(&self) -> u64 {
        let left = self.ranges.end.saturating_sub(self.at);
        self.ranges.block.map_or(left, |block| {
            let into = self.at.saturating_sub(self.ranges.start) % block;
            left.min(block.get().saturating_sub(into))
        })
    }

    /// Says whether a block has ended just here.
    fn begins_block(&self) -> bool {
        let read = self.at.saturating_sub(self.ranges.start);
        self.ranges.block.is_some_and(|block| read % block == 0)
    }

    fn end_block(&mut self) {
        let sum = std::mem::replace(&mut self.sum, self.check.algorithm.begin());
        self.done.extend_from_slice(&sum.finish());
    }

    fn finish(mut self) -> Bytes {
        // Of nothing there is a sum as well.
        if self.done.is_empty() {
            self.end_block();
        }
        self.done.into()
    }
}

/// What is summed up without a pause: a fraction of a millisecond.
const PIECE_BYTES_MAX: u64 = 64 * 1024;
