//! What several tests stand on.

pub(crate) mod clock;
pub(crate) mod exec;
pub(crate) mod fake_idp;
pub(crate) mod fake_sts;
pub(crate) mod jwt;
pub(crate) mod lambda;
pub(crate) mod login;
pub(crate) mod provider;
pub(crate) mod raw;
pub(crate) mod refusals;
pub(crate) mod serving;
pub(crate) mod sftp;
pub(crate) mod signed;
pub(crate) mod sigv4;
pub(crate) mod stores;
pub(crate) mod suite_log;
pub(crate) mod tls;
pub(crate) mod vast;
