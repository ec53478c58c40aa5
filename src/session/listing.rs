//! Does what an open directory asks for: answers, memory for pages of names, and the pages.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::budget::Charge;
use crate::clock::unix_seconds;
use crate::limits;
use crate::sftp::{Attributes, HandleId, Pending, Reply, Status};
use crate::storage::{ListCursor, ListPage, ListQuery};

use super::events::Event;
use super::list::{ListEffect, Listing};
use super::listed::{Listed, no_buckets};
use super::shell::Shell;
use super::status::of_storage;

/// A directory that is read, with what is under way for it.
#[derive(Debug)]
pub(crate) struct Directory {
    listing: Box<Listing>,
    /// A page, or the wait for its memory.
    task: Option<AbortHandle>,
    /// Pages whose beginning is guessed.
    guesses: Vec<AbortHandle>,
}

impl Directory {
    pub(crate) const fn new(listing: Box<Listing>) -> Self {
        Self {
            listing,
            task: None,
            guesses: Vec::new(),
        }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        self.listing.attributes()
    }

    /// Takes a READDIR.
    pub(crate) fn ask(&mut self, shell: &mut Shell, handle: HandleId, pending: Pending) {
        self.listing.ask(pending);
        self.go_on(shell, handle);
    }

    /// Answers as long as there is room, and fetches the next page before it is needed.
    pub(crate) fn go_on(&mut self, shell: &mut Shell, handle: HandleId) {
        loop {
            let room = if self.listing.can_answer() {
                shell.answers.out().room_bytes(limits::NAME_REPLY_BYTES_MAX)
            } else {
                0
            };
            match self.listing.next(room) {
                Some(effect) => self.run(shell, handle, effect),
                None => return,
            }
        }
    }

    /// Takes memory that was waited for.
    pub(crate) fn memory(&mut self, shell: &mut Shell, handle: HandleId, charge: Charge) {
        self.task = None;
        self.listing.memory(Some(charge));
        self.go_on(shell, handle);
    }

    /// Takes a page, or refuses what waited for it.
    pub(crate) fn page_arrived(
        &mut self,
        shell: &mut Shell,
        handle: HandleId,
        query: ListQuery,
        outcome: crate::storage::Result<ListPage>,
    ) {
        if let Some(ListCursor::StartAfter(_)) = &query.after {
            self.guesses.retain(|task| !task.is_finished());
            // What could not be guessed is listed page by page.
            self.listing.guess_arrived(&query, outcome.ok());
            return self.go_on(shell, handle);
        }
        self.task = None;
        match outcome {
            Ok(page) => {
                self.listing.page_arrived(page);
                self.go_on(shell, handle);
            }
            Err(error) => {
                shell.operation_failed("readdir", &self.listing.path, &error.to_string());
                let status = if self.listing.is_of_buckets() {
                    no_buckets(error).status
                } else {
                    of_storage(error.kind)
                };
                for pending in self.listing.page_failed(query) {
                    shell.answers.status(pending, status);
                }
            }
        }
    }

    /// Refuses what waits.
    pub(crate) fn close(mut self, shell: &mut Shell, status: Status) {
        for pending in self.listing.take_pending() {
            shell.answers.status(pending, status);
        }
    }

    fn drop_guesses(&mut self) {
        for task in self.guesses.drain(..) {
            task.abort();
        }
    }

    fn run(&mut self, shell: &mut Shell, handle: HandleId, effect: ListEffect) {
        match effect {
            ListEffect::WantMemory { bytes, waits } => {
                let account = shell.user_session.memory().account.clone();
                let charge = account.try_take(bytes);
                if charge.is_some() || !waits {
                    return self.listing.memory(charge);
                }
                let events = shell.events.clone();
                self.task = Some(shell.spawn(async move {
                    let charge = account.take(bytes).await;
                    events.send(Event::PageMemory { handle, charge });
                }));
            }
            ListEffect::Fetch { listed, query } => {
                self.task = Some(fetch(shell, handle, listed, query));
            }
            ListEffect::WantGuess { after, bytes } => {
                // A wrong guess would cost a call for each file.
                let asks = shell.environment.listed_times.asks();
                let account = (!asks).then(|| &shell.user_session.memory().account);
                let charge = account.and_then(|account| account.try_take(bytes));
                self.listing.guess_memory(after, charge);
            }
            ListEffect::FetchGuess { listed, query } => {
                self.guesses.push(fetch(shell, handle, listed, query));
            }
            ListEffect::DropGuesses => self.drop_guesses(),
            ListEffect::Listed(gathered) => {
                let directory = self.listing.path.clone();
                let (asked, names) = gathered.whole();
                let events = &shell.events;
                events.send(Event::Listed {
                    directory,
                    asked,
                    names,
                });
            }
            ListEffect::Answer(pending, names) if names.is_empty() => {
                shell.answers.status(pending, Status::EOF);
            }
            ListEffect::Answer(pending, names) => {
                let now = unix_seconds(shell.environment.clock.wall());
                shell.answers.reply(pending, &Reply::Names { names, now });
            }
        }
    }
}

fn fetch(shell: &mut Shell, handle: HandleId, listed: Listed, query: ListQuery) -> AbortHandle {
    let (store, events) = (shell.store(), shell.events.clone());
    let (environment, user) = (&shell.environment, Arc::clone(shell.user.config()));
    let (times, clock) = (
        environment.listed_times.clone(),
        Arc::clone(&environment.clock),
    );
    let turns = Arc::clone(shell.user_session.listed_heads());
    shell.spawn(async move {
        let with = (&*store, &*clock, &*user, &*turns);
        let outcome = times.fetch(&listed, &query, with).await;
        events.send(Event::Page {
            handle,
            query,
            outcome,
        });
    })
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.drop_guesses();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
