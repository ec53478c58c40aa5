//! What may stand under the names that one client alone uses: one thing, or after a failure what
//! was there and what was to be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis::storage::memory::MemoryStore;

use crate::session::at;

/// A file's bytes, or nothing.
pub(super) type Content = Option<Arc<Vec<u8>>>;

#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<String, Vec<Content>>);

impl Expected {
    pub(super) fn of(&self, name: &str) -> Vec<Content> {
        let nothing = || Vec::from([None]);
        self.0.get(name).cloned().unwrap_or_else(nothing)
    }

    /// Notes what is there for certain.
    pub(super) fn is(&mut self, name: &str, content: Content) {
        self.0.insert(name.to_owned(), Vec::from([content]));
    }

    /// Notes what one of is there.
    pub(super) fn none_but(&mut self, name: &str, all: impl IntoIterator<Item = Content>) {
        self.0.insert(name.to_owned(), all.into_iter().collect());
    }

    /// Notes what is there as well, perhaps.
    pub(super) fn may_be(&mut self, name: &str, more: impl IntoIterator<Item = Content>) {
        let mut all = self.of(name);
        for one in more {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        self.0.insert(name.to_owned(), all);
    }

    /// Notes what somebody saw, which must be one of what may be there.
    pub(super) fn seen(&mut self, name: &str, content: Content) {
        let all = self.of(name);
        let lengths = || all.iter().map(|one| one.as_ref().map(|bytes| bytes.len()));
        assert!(
            all.contains(&content),
            "{name}: {:?} is none of {:?}",
            content.as_ref().map(|bytes| bytes.len()),
            lengths().collect::<Vec<_>>(),
        );
        self.is(name, content);
    }

    pub(super) fn check(mut self, store: &MemoryStore) {
        let names: Vec<String> = self.0.keys().cloned().collect();
        for name in names {
            let found = store.object(&at(&name));
            self.seen(&name, found.map(|bytes| Arc::new(bytes.to_vec())));
        }
    }
}
