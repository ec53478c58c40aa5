//! What the probe does with its one file: write, list, read, rename, delete.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use super::{Failed, Round, Step};
use crate::cli::output;

/// Payload of one request: every server takes as much.
const PIECE: u32 = 32 * 1024;
/// Requests in flight, as OpenSSH's client has.
const IN_FLIGHT: usize = 64;
/// Below this much a file is there before a person could read how far it is.
const PROGRESS_FROM: u64 = 16 * 1024 * 1024;

/// The probe's file.
#[derive(Debug)]
pub(super) struct ProbeFile {
    directory: String,
    name: String,
    size: u64,
    /// What the bytes are made of, another for each file.
    seed: u64,
    /// The handle of an upload that is not finished.
    open: Option<String>,
}

impl ProbeFile {
    /// Names a file that nobody has yet.
    pub(super) fn new(directory: &str, size: u64, random: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            name: format!("portcullis-probe-{random:016x}"),
            size,
            seed: random,
            open: None,
        }
    }

    /// Returns where the file is written.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.directory.trim_end_matches('/'), self.name)
    }

    fn renamed(&self) -> String {
        format!("{}-renamed", self.path())
    }

    /// Moves the file there and back.
    pub(super) async fn run(
        &mut self,
        sftp: &RawSftpSession,
        round: &mut Round,
    ) -> Result<(), Failed> {
        round.step(Step::Write, self.write(sftp)).await?;
        round.step(Step::List, self.find(sftp)).await?;
        let differs = round.step(Step::Read, self.read(sftp)).await?;
        round
            .step(Step::Compare, async {
                differs.map_or(Ok(()), |offset| {
                    Err(format!(
                        "what was read differs from what was written at byte {offset}"
                    ))
                })
            })
            .await?;
        let (from, to) = (self.path(), self.renamed());
        let renaming = async { sftp.rename(&from, &to).await.map(drop).map_err(words) };
        round.step(Step::Rename, renaming).await?;
        round.step(Step::Delete, delete(sftp, &to)).await
    }

    /// Removes whatever of the file there is.
    pub(super) async fn clean(&mut self, sftp: &RawSftpSession) -> Result<(), String> {
        if let Some(handle) = self.open.take() {
            // Its bytes do not matter any more.
            drop(sftp.close(handle).await);
        }
        for path in [self.path(), self.renamed()] {
            match sftp.remove(&path).await {
                Ok(_) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(format!("{path}: {}", words(error))),
            }
        }
        Ok(())
    }

    async fn write(&mut self, sftp: &RawSftpSession) -> Result<(), String> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let opened = sftp.open(self.path(), flags, FileAttributes::empty());
        let named = |error| format!("{}: {}", self.path(), words(error));
        let handle = opened.await.map_err(named)?.handle;
        self.open = Some(handle.clone());
        let (seed, size) = (self.seed, self.size);
        let mut done = 0_u64;
        let handle = &*handle;
        stream::iter(pieces(size))
            .map(|(offset, length)| async move {
                let bytes = pattern(seed, offset, length);
                sftp.write(handle, offset, bytes).await.map(|_| length)
            })
            .buffer_unordered(IN_FLIGHT)
            .map_err(words)
            .try_for_each(|length| {
                done = done.saturating_add(length.into());
                progress("write", done, size);
                async { Ok(()) }
            })
            .await?;
        progress("", 0, size);
        self.open = None;
        sftp.close(handle).await.map(drop).map_err(words)
    }

    async fn find(&self, sftp: &RawSftpSession) -> Result<(), String> {
        let handle = sftp.opendir(&self.directory).await.map_err(words)?.handle;
        let mut found = None;
        let ended = loop {
            match sftp.readdir(&handle).await {
                Ok(page) => {
                    let mut files = page.files.into_iter();
                    found = found.or_else(|| files.find(|file| file.filename == self.name));
                }
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break Ok(()),
                Err(error) => break Err(words(error)),
            }
        };
        sftp.close(&handle).await.map_err(words)?;
        ended?;
        let Some(file) = found else {
            return Err(format!("{} does not list {}", self.directory, self.name));
        };
        match file.attrs.size {
            Some(size) if size != self.size => Err(format!(
                "the listing says {size} bytes, {} were written",
                self.size
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the file and returns where it first differs from what was written.
    async fn read(&self, sftp: &RawSftpSession) -> Result<Option<u64>, String> {
        let flags = OpenFlags::READ;
        let opened = sftp.open(self.path(), flags, FileAttributes::empty());
        let handle = opened.await.map_err(words)?.handle;
        let (seed, size) = (self.seed, self.size);
        let reading = &*handle;
        let mut done = 0_u64;
        let differs = stream::iter(pieces(size))
            .map(|(offset, length)| async move {
                let bytes = piece(sftp, reading, offset, length).await?;
                Ok::<_, Error>((offset, length, bytes))
            })
            .buffered(IN_FLIGHT)
            .map_err(words)
            .try_fold(None, |differs: Option<u64>, (offset, length, bytes)| {
                done = done.saturating_add(length.into());
                progress("read", done, size);
                let here = difference(&bytes, &pattern(seed, offset, length));
                let here = here.map(|at| offset.saturating_add(at));
                async move { Ok(differs.or(here)) }
            })
            .await?;
        progress("", 0, size);
        // A file that is longer than it should be differs at its end.
        let more = match sftp.read(&*handle, size, 1).await {
            Ok(_) => Some(size),
            Err(Error::Status(status)) if status.status_code == StatusCode::Eof => None,
            Err(error) => return Err(words(error)),
        };
        sftp.close(&*handle).await.map_err(words)?;
        Ok(differs.or(more))
    }
}

/// Reads one piece, which a server may answer in several.
async fn piece(
    sftp: &RawSftpSession,
    handle: &str,
    offset: u64,
    length: u32,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Ok(have) = u32::try_from(bytes.len())
        && have < length
    {
        let from = offset.saturating_add(have.into());
        match sftp.read(handle, from, length.saturating_sub(have)).await {
            Ok(data) if data.data.is_empty() => break,
            Ok(data) => bytes.extend_from_slice(&data.data),
            Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

async fn delete(sftp: &RawSftpSession, path: &str) -> Result<(), String> {
    sftp.remove(path).await.map_err(words)?;
    match sftp.stat(path).await {
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(words(error)),
        Ok(_) => Err(format!("{path} is still there")),
    }
}

/// Cuts a file into requests: where each begins and how long it is.
fn pieces(size: u64) -> impl Iterator<Item = (u64, u32)> {
    let mut offset = 0_u64;
    std::iter::from_fn(move || {
        let left = size.checked_sub(offset).filter(|left| *left > 0)?;
        let length = u32::try_from(left).unwrap_or(PIECE).min(PIECE);
        let here = offset;
        offset = offset.saturating_add(length.into());
        Some((here, length))
    })
}

/// Makes the bytes of a piece (xorshift), so that no file has to be kept to compare with.
fn pattern(seed: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut state = (seed ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    words.flatten().take(length).collect()
}

/// Finds the first byte that is not the same in both.
fn difference(found: &[u8], expected: &[u8]) -> Option<u64> {
    let same = found
        .iter()
        .zip(expected)
        .take_while(|(f, e)| f == e)
        .count();
    let differs = same < expected.len() || same < found.len();
    differs.then(|| u64::try_from(same).unwrap_or(u64::MAX))
}

fn progress(what: &str, done: u64, size: u64) {
    if size < PROGRESS_FROM {
        return;
    }
    let percent = |bytes: u64| bytes.saturating_mul(100).checked_div(size).unwrap_or(100);
    let before = percent(done.saturating_sub(PIECE.into()));
    match what {
        "" => output::progress(""),
        what if percent(done) > before => {
            output::progress(&format!("  {what} {} %", percent(done)));
        }
        _ => {}
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

/// What the server said, on one line.
fn words(error: Error) -> String {
    let text = match error {
        Error::Status(status) if status.error_message.is_empty() => status.status_code.to_string(),
        Error::Status(status) => status.error_message,
        Error::Timeout => "no answer in time".to_owned(),
        Error::IO(text) | Error::Limited(text) | Error::UnexpectedBehavior(text) => text,
        Error::UnexpectedPacket => "the answer does not match the request".to_owned(),
    };
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_file_without_gaps() {
        for size in [0, 1, 32_767, 32_768, 32_769, 1_000_000] {
            let mut end = 0;
            for (offset, length) in pieces(size) {
                assert_eq!(offset, end);
                end += u64::from(length);
            }
            assert_eq!(end, size);
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let bytes = pattern(7, 32_768, 100);
        assert_eq!(bytes.len(), 100);
        assert_ne!(bytes, pattern(7, 0, 100));
        assert_eq!(difference(&bytes, &bytes), None);
        assert_eq!(difference(&bytes[..40], &bytes), Some(40));
        let mut torn = bytes.clone();
        torn[63] ^= 1;
        assert_eq!(difference(&torn, &bytes), Some(63));
    }
}
