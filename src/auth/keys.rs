//! Keys that clients offer and keys that providers list (pure).

/// A public key as it came over the wire (RFC 4252 §7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// The algorithm's name on the wire, such as `ssh-ed25519` or `rsa-sha2-256`.
    pub algorithm: String,
    /// The key blob (RFC 4253 §6.6), not base64.
    pub blob: Vec<u8>,
    /// Whether the signature is, or would be, made with SHA-1 (`ssh-rsa`).
    pub sha1_signature: bool,
}

/// Says why a key cannot log in, whoever lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {}
