//! Files below a root, and nothing outside of it: the kernel resolves every name, and follows no
//! link on the way.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::place::HIDDEN;
use crate::storage::{ETag, ObjectMeta};

/// What a system call ended in.
pub(super) type Outcome<T> = Result<T, Errno>;

/// Why a name was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unplaced {
    /// Nothing was done.
    Not(Errno),
    /// It may be there, now or after the machine's next start.
    Unknown(Errno),
}

/// A directory that everything is below.
#[derive(Debug)]
pub(super) struct Tree {
    path: Box<str>,
    root: OwnedFd,
    /// Where unfinished files are.
    hidden: OwnedFd,
}

/// A file that is not yet in its place: its lock says that somebody still works on it.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) file: File,
    name: Box<str>,
    /// Permission bits that a file gets by the process's mask, or its directory's list.
    fresh_mode: u32,
    /// Bytes of it, or its name, were not kept by the disk. The kernel says so once: whoever asks
    /// again hears that all is well.
    is_spoilt: AtomicBool,
}

/// A modification time, in seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modified {
    seconds: i64,
    nanoseconds: i64,
}

impl Tree {
    /// Opens the root, and makes the directory of unfinished files.
    pub(super) fn open(root: &str) -> Outcome<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = root.into();
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        match rustix::fs::mkdirat(&root, HIDDEN, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = flags | OFlags::NOFOLLOW;
        let hidden = rustix::fs::openat(&root, HIDDEN, flags, Mode::empty())?;
        // A file gets its permissions with its name; until then nobody else is to reach it.
        if mode(&rustix::fs::fstat(&hidden)?) != OWN_DIRECTORY {
            rustix::fs::fchmod(&hidden, Mode::RWXU)?;
        }
        Ok(Self { path, root, hidden })
    }

    /// Does once what every file needs, so that a file system that cannot do it is found out before
    /// anybody depends on it.
    pub(super) fn try_out(&self, name: &str) -> Outcome<()> {
        self.look("").map(|_| ())?;
        let trial = self.begin(name)?;
        let second = format!("{name}-2");
        let tried = trial
            .file
            .write_all_at(b"trial", 0)
            .and_then(|()| trial.file.sync_all())
            .map_err(of_std)
            .and_then(|()| self.try_to_name(name, &second))
            .and_then(|()| rustix::fs::fsync(&self.hidden));
        let removed = [name, &second].map(|name| self.drop_name(name));
        removed.into_iter().fold(tried, Outcome::and)
    }

    /// An exclusive create is a link, or a rename that replaces nothing.
    fn try_to_name(&self, from: &str, to: &str) -> Outcome<()> {
        let hidden = &self.hidden;
        match rustix::fs::linkat(hidden, from, hidden, to, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                rustix::fs::renameat_with(hidden, from, hidden, to, RenameFlags::NOREPLACE)
            }
            outcome => outcome,
        }
    }

    /// Says whether the root's path still names it: another file system may have been mounted there.
    pub(super) fn is_at_its_path(&self) -> Outcome<bool> {
        let found = rustix::fs::stat(&*self.path)?;
        Ok((found.st_dev, found.st_ino) == identity(&self.root)?)
    }

    /// Opens what a path below the root names; the empty path is the root.
    fn beneath(&self, path: &str, flags: OFlags) -> Outcome<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..RESOLVED_AGAIN_MAX {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // A directory was moved meanwhile: the kernel cannot say whether it left the root.
                Err(Errno::AGAIN | Errno::INTR) => {}
                outcome => return outcome,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Returns what is known of a file or directory; of nothing else there is anything.
    pub(super) fn look(&self, path: &str) -> Outcome<Metadata> {
        let found = File::from(self.beneath(path, OFlags::PATH)?);
        let found = found.metadata().map_err(of_std)?;
        if found.is_file() || found.is_dir() {
            Ok(found)
        } else {
            Err(Errno::NOENT)
        }
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, path: &str) -> Outcome<(File, Metadata)> {
        // Else a pipe would wait for its other end.
        let file = File::from(self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let found = file.metadata().map_err(of_std)?;
        if found.is_file() {
            Ok((file, found))
        } else {
            Err(Errno::NOENT)
        }
    }

    /// Reads the entries of a directory, in no order.
    pub(super) fn entries(&self, path: &str) -> Outcome<Dir> {
        let directory = self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Dir::new(directory)
    }

    /// Opens a directory, and makes it with all above it where it is missing.
    fn directory(&self, path: &str) -> Outcome<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.beneath(path, flags) {
            Err(Errno::NOENT) => {}
            outcome => return outcome,
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = self.directory(above)?;
        make(&above, name)?;
        self.beneath(path, flags)
    }

    /// Makes a directory; says whether it is new.
    pub(super) fn make_directory(&self, (above, name): (&str, &str)) -> Result<bool, Unplaced> {
        let above = self.directory(above).map_err(Unplaced::Not)?;
        let is_new = make_only(&above, name).map_err(Unplaced::Not)?;
        if is_new {
            rustix::fs::fsync(&above).map_err(Unplaced::Unknown)?;
        }
        Ok(is_new)
    }

    /// Begins a file that nobody sees.
    pub(super) fn begin(&self, name: &str) -> Outcome<Unfinished> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.hidden, name, flags, Mode::from_raw_mode(0o666))?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let fresh = locked.and_then(|()| rustix::fs::fstat(&file));
        let fresh = fresh.inspect_err(|_| {
            // What stays is swept a day later.
            let _ = self.drop_name(name);
        })?;
        Ok(Unfinished {
            file: File::from(file),
            name: name.into(),
            fresh_mode: mode(&fresh),
            is_spoilt: AtomicBool::new(false),
        })
    }

    /// Puts a file in its place, whatever is there.
    pub(super) fn place(
        &self,
        done: &Unfinished,
        (above, name): (&str, &str),
    ) -> Result<(), Unplaced> {
        let above = self.directory(above).map_err(Unplaced::Not)?;
        let renamed = rustix::fs::renameat(&self.hidden, &*done.name, &above, name);
        self.placed(done, (&above, name), renamed)
    }

    /// Puts a file in its place if nothing is there.
    pub(super) fn place_new(
        &self,
        done: &Unfinished,
        (above, name): (&str, &str),
    ) -> Result<(), Unplaced> {
        let above = self.directory(above).map_err(Unplaced::Not)?;
        let (hidden, from) = (&self.hidden, &*done.name);
        let linked = match rustix::fs::linkat(hidden, from, &above, name, AtFlags::empty()) {
            // Where the file system has no links.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(hidden, from, &above, name, flags)
            }
            outcome => outcome,
        };
        self.placed(done, (&above, name), linked)?;
        // It has its name: another one that stays is swept a day later.
        let _ = self.drop_name(from);
        Ok(())
    }

    /// Looks what became of a file that was to get its name: over a network the answer to what was
    /// done may be an error.
    fn placed(
        &self,
        done: &Unfinished,
        (above, name): (&OwnedFd, &str),
        outcome: Outcome<()>,
    ) -> Result<(), Unplaced> {
        if let Err(error) = outcome
            && !done.is_at(above, name).unwrap_or(false)
        {
            let unnamed = done.is_at(&self.hidden, &done.name);
            return Err(match unnamed {
                Ok(true) => Unplaced::Not(error),
                Ok(false) | Err(_) => Unplaced::Unknown(error),
            });
        }
        let synced = rustix::fs::fsync(above);
        synced.map_err(Unplaced::Unknown)
    }

    /// Removes an unfinished file; one that is gone is a success.
    pub(super) fn discard(&self, file: &Unfinished) -> Outcome<()> {
        self.drop_name(&file.name)
    }

    fn drop_name(&self, name: &str) -> Outcome<()> {
        match rustix::fs::unlinkat(&self.hidden, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a file, or a directory that is empty.
    pub(super) fn remove(&self, (above, name): (&str, &str), directory: bool) -> Outcome<()> {
        let above = self.beneath(above, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(&above, name, flags)?;
        rustix::fs::fsync(&above)
    }

    /// Sets a file's modification time.
    pub(super) fn set_time(&self, path: &str, modified: Modified) -> Result<Metadata, Unplaced> {
        let (file, _) = self.read(path).map_err(Unplaced::Not)?;
        modified.set(&file).map_err(Unplaced::Not)?;
        rustix::fs::fsync(&file).map_err(Unplaced::Unknown)?;
        file.metadata().map_err(of_std).map_err(Unplaced::Unknown)
    }

    /// Removes unfinished files that were last written before `then` and that nobody works on, in
    /// this process or another; returns how many.
    pub(super) fn sweep(&self, then: SystemTime) -> Outcome<usize> {
        let mut swept = 0_usize;
        for entry in Dir::read_from(&self.hidden)? {
            let entry = entry?;
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&self.hidden, entry.file_name(), flags, Mode::empty());
            let Ok(file) = opened.map(File::from) else {
                continue;
            };
            let old = file.metadata().and_then(|found| found.modified());
            if !old.is_ok_and(|modified| modified < then)
                || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
            {
                continue;
            }
            let name = entry.file_name();
            let removed = rustix::fs::unlinkat(&self.hidden, name, AtFlags::empty());
            swept = swept.saturating_add(usize::from(removed.is_ok()));
        }
        Ok(swept)
    }
}

fn make(above: &OwnedFd, name: &str) -> Outcome<()> {
    if make_only(above, name)? {
        rustix::fs::fsync(above)?;
    }
    Ok(())
}

/// The same, without waiting for the disk; says whether it is new.
fn make_only(above: &OwnedFd, name: &str) -> Outcome<bool> {
    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Copies a range of one file to a place in another: the file system does it by itself, where it
/// can.
pub(super) fn copy((from, start): (&File, u64), (to, at): (&File, u64), bytes: u64) -> Outcome<()> {
    let (mut start, mut at, mut left) = (start, at, bytes);
    while left > 0 {
        let piece = usize::try_from(left.min(COPIED_AT_ONCE)).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(from, Some(&mut start), to, Some(&mut at), piece);
        match copied {
            // The source was cut meanwhile.
            Ok(0) => return Err(Errno::STALE),
            Ok(copied) => left = left.saturating_sub(u64::try_from(copied).unwrap_or(left)),
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand((from, start), (to, at), left);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn copy_by_hand(
    (from, mut start): (&File, u64),
    (to, mut at): (&File, u64),
    mut left: u64,
) -> Outcome<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(piece, start).map_err(of_std)?;
        to.write_all_at(piece, at).map_err(of_std)?;
        let done = u64::try_from(wanted).unwrap_or(left);
        start = start.saturating_add(done);
        at = at.saturating_add(done);
        left = left.saturating_sub(done);
    }
    Ok(())
}

impl Unfinished {
    /// Has all of it on the disk.
    pub(super) fn sync(&self) -> Outcome<()> {
        if self.is_spoilt() {
            return Err(Errno::IO);
        }
        let synced = self.file.sync_all().map_err(of_std);
        synced.inspect_err(|_| self.spoil())
    }

    pub(super) fn spoil(&self) {
        self.is_spoilt.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.is_spoilt.load(Ordering::Relaxed)
    }

    /// Sets the permission bits that it is to have under its name: those of files that are not
    /// others' to read stay so.
    pub(super) fn permit(&self, like: Option<u32>) -> Outcome<()> {
        let wanted = like.unwrap_or(self.fresh_mode);
        // Not every file system can change them.
        if mode(&rustix::fs::fstat(&self.file)?) == wanted {
            return Ok(());
        }
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(wanted))
    }

    fn is_at(&self, above: &OwnedFd, name: &str) -> Outcome<bool> {
        match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == identity(&self.file)?),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Tells one file or directory from all others.
/// Says whether two directories are the same, or one is in the other, whatever paths lead there.
pub(super) fn are_nested(one: &str, other: &str) -> Outcome<bool> {
    let open = |path| rustix::fs::open(path, SEEN, Mode::empty());
    let (one, other) = (open(one)?, open(other)?);
    Ok(is_within(&one, &other)? || is_within(&other, &one)?)
}

/// Says whether a directory is another one, or somewhere in it.
fn is_within(directory: &OwnedFd, other: &OwnedFd) -> Outcome<bool> {
    let wanted = identity(other)?;
    let mut at = rustix::fs::openat(directory, ".", SEEN, Mode::empty())?;
    loop {
        let here = identity(&at)?;
        if here == wanted {
            return Ok(true);
        }
        at = rustix::fs::openat(&at, "..", SEEN, Mode::empty())?;
        if identity(&at)? == here {
            return Ok(false);
        }
    }
}

/// Opens a directory for looking at it alone.
const SEEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn identity(file: &impl AsFd) -> Outcome<(u64, u64)> {
    let found = rustix::fs::fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

fn mode(found: &Stat) -> u32 {
    found.st_mode & PERMISSIONS
}

/// Returns the permission bits of a file.
pub(super) fn permissions(found: &Metadata) -> u32 {
    found.mode() & PERMISSIONS
}

impl Modified {
    /// Reads a time as it is kept with objects: seconds since 1970, with or without a fraction.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        Some(Self {
            seconds: whole.parse().ok()?,
            nanoseconds: digits.parse().ok()?,
        })
    }

    pub(super) fn set(self, file: &File) -> Outcome<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.seconds,
                tv_nsec: self.nanoseconds,
            },
        };
        rustix::fs::futimens(file, &times)
    }
}

/// Returns the version of a file: another one has another inode, time or size. A directory is the
/// same whatever is put into it.
pub(super) fn etag(found: &Metadata) -> ETag {
    let ino = found.ino();
    if found.is_dir() {
        return ETag(format!("\"d{ino:x}\"").into());
    }
    // No hyphen: what follows one is how many parts an object has.
    let (seconds, nanoseconds) = (found.mtime(), found.mtime_nsec());
    let size = found.size();
    ETag(format!("\"{ino:x}.{seconds:x}.{nanoseconds:x}.{size:x}\"").into())
}

pub(super) fn size(found: &Metadata) -> u64 {
    if found.is_dir() { 0 } else { found.size() }
}

/// Returns a time that every client can show.
pub(super) fn modified(found: &Metadata) -> SystemTime {
    let seconds = u64::try_from(found.mtime()).unwrap_or_default();
    let nanoseconds = u32::try_from(found.mtime_nsec()).unwrap_or_default();
    let since = Duration::new(seconds, nanoseconds.min(999_999_999));
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Describes a file as an object, with its time in the form in which S3 would keep it.
pub(super) fn meta(found: &Metadata) -> ObjectMeta {
    let (seconds, nanoseconds) = (found.mtime(), found.mtime_nsec());
    let time = match nanoseconds {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{nanoseconds:09}"),
    };
    let metadata = if found.is_dir() {
        Vec::new()
    } else {
        vec![(MTIME.into(), time.into())]
    };
    ObjectMeta {
        size: size(found),
        etag: etag(found),
        version_id: None,
        modified: modified(found),
        checksum: None,
        composite: None,
        content_type: None,
        metadata,
        properties: None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn of_std(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Where a time is kept with an object.
pub(super) const MTIME: &str = "mtime";

/// So that one call does not take for ever.
const COPIED_AT_ONCE: u64 = 64 * 1024 * 1024;
const PIECE_BYTES: usize = 256 * 1024;
const RESOLVED_AGAIN_MAX: u32 = 128;
const PERMISSIONS: u32 = 0o777;
const OWN_DIRECTORY: u32 = 0o700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let time = |seconds, nanoseconds| {
            Some(Modified {
                seconds,
                nanoseconds,
            })
        };
        assert_eq!(Modified::parse("17"), time(17, 0));
        assert_eq!(Modified::parse("17.5"), time(17, 500_000_000));
        assert_eq!(Modified::parse("1.000000001"), time(1, 1));
        assert_eq!(Modified::parse("1.0000000019"), time(1, 1));
        for bad in ["", "x", "1.x", ".5"] {
            assert_eq!(Modified::parse(bad), None, "{bad}");
        }
    }
}
