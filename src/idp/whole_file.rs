//! Files of the gateway's own that are replaced as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// Nobody else needs them.
pub(super) const FILE_MODE: u32 = 0o600;

/// Writes a file beside its place, and puts it there once it is on the disk; that its name is as
/// well is up to the caller. One writer at a time may use the same place beside.
pub(super) fn replace(place: &str, beside: &str, text: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(FILE_MODE).open(beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(beside, place)?;
    Ok(file)
}
