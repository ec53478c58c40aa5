//! Cleans up after sessions that are gone: aborts their uploads until nothing of them is left.

/// Takes uploads that nobody will complete.
#[derive(Debug, Clone, Default)]
pub struct Reaper {}
