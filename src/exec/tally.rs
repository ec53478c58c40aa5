//! What a command did, for its line in the log.

/// Totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Moved or computed.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Things that did not work, which the client was told.
    pub(super) failures: u64,
}

impl Tally {
    pub(super) const fn file(&mut self) {
        self.files = self.files.saturating_add(1);
    }

    pub(super) const fn moved(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}
