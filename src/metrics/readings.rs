//! What is read of the process when its metrics are asked for.

use crate::telemetry::LostLines;

/// What other parts of the process count for themselves, read when `/metrics` is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readings {
    pub connections_open: usize,
    pub connections_before_login: usize,
    pub connections_accepted: u64,
    /// Ended by the gateway before they were of use, since the start, by reason.
    pub connections_refused: [(&'static str, u64); 6],
    /// Closed by the client before it sent anything, since the start.
    pub connections_without_data: u64,
    pub upload_memory_taken_bytes: u64,
    pub upload_memory_limit_bytes: u64,
    pub uploads_waiting: usize,
    pub upload_memory_is_strict: bool,
    pub read_ahead_taken_bytes: u64,
    pub read_ahead_limit_bytes: u64,
    pub blocks: usize,
    pub session_memory_taken_bytes: u64,
    pub session_memory_limit_bytes: u64,
    pub session_memory_waiting: usize,
    /// How often there was none, ever.
    pub session_memory_refused: u64,
    pub log_lines_lost: LostLines,
    pub log_waiting_bytes: usize,
}
