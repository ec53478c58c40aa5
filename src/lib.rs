//! An SFTP gateway for S3 with the operator's own login service.
//!
//! ```text
//!  client ──TCP──▶ ssh ────────▶ auth ───────▶ idp (cache ──miss──▶ webhook) ──▶ your IdP
//!                   │                            │
//!                   │  subsystem "sftp"          ▼ UserConfig { role, policy, home, keys }
//!                   ▼
//!                 session ◀──── vfs       (virtual path ▸ location; pure)
//!                 one user,     sftp      (packets ▸ requests, replies, status; pure)
//!                 one channel   transfer  (writes ▸ parts, reads ▸ ranges; pure)
//!                   │
//!                   ▼ Location { bucket, key }
//!                 storage ──────HTTPS──────▶ S3
//! ```
//!
//! The modules stand in the order of the data path; imports only point down it
//! (`ARCHITECTURE.md`, checked by `tests/tidy/`).

pub mod cli;

pub mod compose;

pub mod gateway;

pub mod admin;
pub mod migrate;
pub mod rehearse;

pub mod ssh;

pub mod exec;

pub mod auth;
pub mod session;

pub mod audit;
pub mod idp;
pub mod reaper;

pub mod config;
pub mod vfs;

pub mod allocator;
pub mod aws;
pub mod budget;
mod causes;
pub mod clock;
pub mod endpoint;
pub mod limits;
pub mod metrics;
mod refreshing;
pub mod refusal;
pub mod secret;
mod seldom;
pub mod sftp;
mod spelling;
pub mod storage;
mod tasks;
pub mod telemetry;
pub mod transfer;
