//! The gateway's promises, tested from outside. One binary: each module is one subject.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a step that fails fails its test"
)]

mod common;
mod storage_contract;
