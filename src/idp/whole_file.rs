//! Files of the gateway's own that are replaced as a whole or not at all.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};

/// Nobody else needs them.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Writes a file beside its place, and puts it there once it is on the disk; that its name is as
/// well is up to the caller. One writer at a time may use the same place beside. A file that is
/// replaced hands on its owner and its mode.
pub(crate) fn replace(place: &str, beside: &str, text: &[u8]) -> io::Result<File> {
    replace_like(place, place, beside, text)
}

/// Does the same with the owner and the mode of another file, if that is there.
pub(crate) fn replace_like(
    model: &str,
    place: &str,
    beside: &str,
    text: &[u8],
) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(FILE_MODE).open(beside)?;
    file.write_all(text)?;
    match std::fs::metadata(model) {
        Ok(held) => take_over(&file, &held)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.sync_all()?;
    std::fs::rename(beside, place)?;
    Ok(file)
}

/// Gives a file an owner and a mode. The mode was meant for that owner and group: where they cannot
/// be given, only the one who writes may read.
fn take_over(file: &File, held: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    let is_owned = (own.uid(), own.gid()) == (held.uid(), held.gid());
    if !is_owned && fchown(file, Some(held.uid()), Some(held.gid())).is_err() {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(held.mode() & 0o777))
}
