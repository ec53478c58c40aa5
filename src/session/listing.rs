//! Answers READDIRs, and asks for the pages of names that they need.

use crate::clock::unix_seconds;
use crate::limits;
use crate::sftp::{HandleId, Reply, Status};
use crate::storage::{ListPage, ListQuery};

use super::events::Event;
use super::list::{Listing, fetch_page};
use super::shell::Shell;
use super::status::of_storage;

/// Answers as long as there is room, and fetches the next page before it is needed.
pub(crate) fn go_on(shell: &mut Shell, handle: HandleId, listing: &mut Listing) {
    let now = unix_seconds(shell.environment.clock.wall());
    while !shell.answers.out().is_full() && !listing.pending.is_empty() {
        let room = shell.answers.out().room_bytes(limits::NAME_REPLY_BYTES_MAX);
        let Some(names) = listing.take_names(room) else {
            break;
        };
        let Some(pending) = listing.pending.pop_front() else {
            break;
        };
        if names.is_empty() {
            shell.answers.status(pending, Status::EOF);
        } else {
            shell.answers.reply(pending, &Reply::Names { names, now });
        }
    }
    if let Some((folder, query)) = listing.next_page() {
        let (store, events) = (shell.store(), shell.events.clone());
        shell.spawn(async move {
            let outcome = fetch_page(&*store, &folder, &query).await;
            events.send(Event::Page {
                handle,
                query,
                outcome,
            });
        });
    }
}

/// Takes a page, or refuses what waited for it.
pub(crate) fn page_arrived(
    shell: &mut Shell,
    handle: HandleId,
    listing: &mut Listing,
    query: ListQuery,
    outcome: crate::storage::Result<ListPage>,
) {
    match outcome {
        Ok(page) => listing.take_page(page),
        Err(error) => {
            listing.page_failed(query);
            shell.operation_failed("readdir", &listing.path, &error.to_string());
            let status = of_storage(error.kind);
            for pending in std::mem::take(&mut listing.pending) {
                shell.answers.status(pending, status);
            }
            return;
        }
    }
    go_on(shell, handle, listing);
}
