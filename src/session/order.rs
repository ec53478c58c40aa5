//! `PathOrder`: which path requests have to wait for which.
//!
//! Clients pipeline: `REMOVE x; RENAME y x` must not swap. A request that changes a name waits for
//! every earlier one on the same path, an ancestor or a descendant, and they for it; everything
//! else is concurrent.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use crate::vfs::VirtualPath;

/// Stands for a request from its arrival until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// The requests that are not done, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct PathOrder {
    entries: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    paths: Vec<VirtualPath>,
    changes: bool,
}

impl PathOrder {
    /// Notes the arrival of a request.
    pub(crate) fn arrive(&mut self, paths: Vec<VirtualPath>, changes: bool) -> Ticket {
        let ticket = Ticket(self.next);
        self.next = self.next.wrapping_add(1);
        self.entries.push_back(Entry {
            ticket,
            paths,
            changes,
        });
        ticket
    }

    /// Says whether nothing that arrived earlier stands in the way.
    pub(crate) fn may_run(&self, ticket: Ticket) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.ticket == ticket) else {
            return true;
        };
        let Some(entry) = self.entries.get(at) else {
            return true;
        };
        self.entries
            .iter()
            .take(at)
            .all(|earlier| !conflict(earlier, entry))
    }

    /// Says whether a request that is not done changes the name, one above it or one below.
    pub(crate) fn changes(&self, path: &VirtualPath) -> bool {
        let mut changing = self.entries.iter().filter(|entry| entry.changes);
        changing.any(|entry| entry.paths.iter().any(|other| other.is_related(path)))
    }

    /// Gives a request that waits other names.
    pub(crate) fn renamed(&mut self, ticket: Ticket, paths: Vec<VirtualPath>) {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.ticket == ticket) {
            entry.paths = paths;
        }
    }

    /// Notes that a request is done, whatever became of it; returns the names that it may have
    /// changed.
    pub(crate) fn done(&mut self, ticket: Ticket) -> Vec<VirtualPath> {
        let at = self.entries.iter().position(|entry| entry.ticket == ticket);
        let done = at.and_then(|at| self.entries.remove(at));
        let changing = done.filter(|entry| entry.changes);
        changing.map_or_else(Vec::new, |entry| entry.paths)
    }
}

fn conflict(one: &Entry, other: &Entry) -> bool {
    (one.changes || other.changes)
        && one
            .paths
            .iter()
            .any(|a| other.paths.iter().any(|b| a.is_related(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    #[test]
    fn a_pipelined_remove_and_rename_do_not_swap() {
        let mut order = PathOrder::default();
        let remove = order.arrive(vec![path("/x")], true);
        let rename = order.arrive(vec![path("/y"), path("/x")], true);
        let stat = order.arrive(vec![path("/x")], false);
        let elsewhere = order.arrive(vec![path("/z")], true);
        assert!(order.may_run(remove));
        assert!(!order.may_run(rename));
        assert!(!order.may_run(stat));
        assert!(order.may_run(elsewhere));
        order.done(remove);
        assert!(order.may_run(rename));
        assert!(!order.may_run(stat));
        order.done(rename);
        assert!(order.may_run(stat));
    }

    #[test]
    fn a_request_that_waits_has_the_names_that_it_was_given() {
        let mut order = PathOrder::default();
        let rename = order.arrive(vec![path("/x"), path("/y")], true);
        let close = order.arrive(vec![path("/x")], true);
        let remove = order.arrive(vec![path("/y")], true);
        order.renamed(close, vec![path("/y")]);
        order.done(rename);
        assert!(order.may_run(close) && !order.may_run(remove));
        assert_eq!(order.done(close), [path("/y")]);
        assert!(order.may_run(remove));
    }

    #[test]
    fn looking_does_not_wait_for_looking() {
        let mut order = PathOrder::default();
        let first = order.arrive(vec![path("/a")], false);
        let second = order.arrive(vec![path("/a/b")], false);
        let change = order.arrive(vec![path("/a/b/c")], true);
        assert!(order.may_run(first) && order.may_run(second));
        assert!(!order.may_run(change));
    }
}
