//! One process at a time has the directory of `--state`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process;

use anyhow::{Context as _, bail};

use crate::idp::whole_file::FILE_MODE;

/// Keeps others out until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct StateLock(#[expect(dead_code, reason = "held, and never read")] File);

impl StateLock {
    /// Makes the directory if it is missing, and takes it.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written to.
    pub(super) fn take(directory: &str) -> anyhow::Result<Self> {
        let opened = open(directory);
        let mut file = opened.with_context(|| format!("--state {directory:?} cannot be used"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "--state {directory:?} is in use by another portcullis quickstart{}: stop it, or \
                 name another directory",
                holder(&mut file)
            ),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(directory, %error, "the state directory cannot be locked");
            }
            Err(TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("--state {directory:?} cannot be locked"));
            }
        }
        // For people who look for the process; what keeps others out is the lock.
        let noted = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()));
        noted.with_context(|| format!("--state {directory:?} cannot be written to"))?;
        Ok(Self(file))
    }
}

fn open(directory: &str) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(FILE_MODE).open(format!("{directory}/{LOCK}"))
}

/// Says which process it is, where that is known.
fn holder(file: &mut File) -> String {
    const DIGITS_MAX: u64 = 12;
    let mut text = String::new();
    let read = file.take(DIGITS_MAX).read_to_string(&mut text);
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!(" (process {pid})"),
        None => String::new(),
    }
}

const LOCK: &str = ".lock";
