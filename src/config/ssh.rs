//! `[ssh]`: the transport.

use super::Algorithms;

/// `[ssh]`: the transport below SFTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    pub algorithms: Algorithms,
    /// Private host keys that are announced and not used yet, as paths.
    pub host_key_next_files: Vec<String>,
    /// Bytes one way under one key.
    pub rekey_bytes: u64,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            algorithms: Algorithms::default(),
            host_key_next_files: Vec::new(),
            // What OpenSSH's server has for AES: 2^32 blocks.
            rekey_bytes: 64 << 30,
        }
    }
}
