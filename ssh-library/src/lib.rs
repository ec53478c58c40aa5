//! The russh crate with the edits of `edits/`: see docs/decisions/0013-edits-of-the-ssh-library.md.
//!
//! What is included is the library's own code, which keeps to its own rules. The modules beside it
//! are ours: what an edit calls and is too long for one.

#![allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    reason = "what is included is the library's own code"
)]

include!(concat!(env!("OUT_DIR"), "/russh/src/lib_inner.rs"));

mod buffers;
mod credit;
mod exponent;
/// The host keys of a server.
pub mod host_keys;
mod out_of_turn;
