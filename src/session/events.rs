//! What comes back to a session from its tasks.

use std::time::Instant;

use tokio::sync::mpsc::{self, error::SendError};

use crate::budget::Charge;
use crate::sftp::{HandleId, Status};
use crate::storage::{ListPage, ListQuery, Location, ObjectMeta, StorageError};
use crate::transfer::read_file::ReadHeard;
use crate::transfer::write_file::Heard;
use crate::vfs::VirtualPath;

use super::act::{PathAnswer, Running};
use super::fresh::Names;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    Answered {
        running: Box<Running>,
        answer: PathAnswer,
    },
    Read {
        handle: HandleId,
        heard: ReadHeard,
    },
    Write {
        handle: HandleId,
        heard: Box<Heard>,
    },
    /// What was found under the new name of a file that is read.
    Followed {
        handle: HandleId,
        location: Location,
        outcome: Result<ObjectMeta, Status>,
    },
    Page {
        handle: HandleId,
        query: ListQuery,
        outcome: Result<ListPage, StorageError>,
    },
    /// The names of a directory, for which S3 was asked at that time.
    Listed {
        directory: VirtualPath,
        asked: Instant,
        names: Names,
    },
    /// Memory for the next page of a directory.
    PageMemory {
        handle: HandleId,
        charge: Charge,
    },
    /// Memory for what the client sent.
    Room(Charge),
}

/// What happened, on its way to a session. A box each: the queue keeps 32 places as long as the
/// session lives.
pub(crate) type Happened = mpsc::UnboundedReceiver<Box<Event>>;

/// Where tasks send what happened. What waits here is bounded by what was asked for: frames by
/// the memory that their GETs took, everything else by the calls under way.
#[derive(Debug, Clone)]
pub(crate) struct Events(mpsc::UnboundedSender<Box<Event>>);

impl Events {
    pub(crate) fn new() -> (Self, Happened) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Sends an event; `false`: the session is gone.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.0.send(Box::new(event)).is_ok()
    }

    /// Sends what a request came to; an error: it comes back, for the session is gone.
    pub(crate) fn answer(
        &self,
        running: Box<Running>,
        answer: PathAnswer,
    ) -> Result<(), Box<(Running, PathAnswer)>> {
        let event = Box::new(Event::Answered { running, answer });
        if let Err(SendError(event)) = self.0.send(event)
            && let Event::Answered { running, answer } = *event
        {
            return Err(Box::new((*running, answer)));
        }
        Ok(())
    }

    /// Waits until the session is gone.
    pub(crate) async fn ended(&self) {
        self.0.closed().await;
    }

    /// Tells a file that is written; `false`: the session is gone.
    pub(crate) fn write(&self, handle: HandleId, heard: Heard) -> bool {
        let heard = Box::new(heard);
        self.send(Event::Write { handle, heard })
    }
}
