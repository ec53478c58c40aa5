//! The gateway's promises, tested from outside. One binary: each module is one subject.

mod common;
mod storage_contract;
