//! `[ssh]`: the transport.

use super::Algorithms;

/// `[ssh]`: the transport below SFTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    pub algorithms: Algorithms,
    /// Private host keys that are announced and not used yet, as paths.
    pub host_key_next_files: Vec<String>,
}
