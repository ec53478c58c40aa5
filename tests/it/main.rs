//! The integration tests, in one binary.

mod auth;
mod common;
mod idp_cache;
mod idp_contract;
mod idp_webhook;
