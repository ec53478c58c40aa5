//! The gateway's promises, tested from outside. One binary: each module is one subject.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails fails its test"
)]

mod common;
mod session;
mod storage_contract;
