//! What the tests share.

pub(crate) mod stores;

pub(crate) mod sftp;
