//! `scp -f`: the client receives files and directories.
//!
//! What cannot be read to its end ends the command: bytes that are not the file's are never sent in
//! its place, and the client sees that it has less than was announced.

use super::command::Send;
use super::expand::expand;
use super::fault::Fault;
use super::peer::{Peer, Word};
use super::record::{self, complaint, is_name, sentence};
use super::remote::{Download, Held, Page, Remote};
use super::tally::Tally;
use crate::limits::SCP_DEPTH_MAX;
use crate::session::Outbound;
use crate::sftp::{Attributes, HandleId, Name};

/// What is sent.
struct Sending<'a, O> {
    peer: &'a mut Peer<O>,
    remote: &'a mut Remote,
    tally: &'a mut Tally,
    with_times: bool,
    is_recursive: bool,
    /// What is sent just now.
    path: Vec<u8>,
    /// Directories that are being sent, the innermost last.
    levels: Vec<Level>,
}

/// A directory that is being sent.
struct Level {
    handle: HandleId,
    /// Names that were read and not sent yet.
    names: std::vec::IntoIter<Name>,
    _held: Option<Held>,
    /// How long its path is.
    length: usize,
}

/// Serves `scp -f`.
pub(super) async fn send<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    command: Send,
    tally: &mut Tally,
) -> Result<(), Fault> {
    // The client begins.
    if peer.word().await? != Word::Good {
        return Err(Fault::Gone);
    }
    let first = command.paths.first().map(|word| word.text.clone());
    let expanded = match expand(peer, remote, command.paths).await? {
        Ok(expanded) => expanded,
        Err(status) => {
            tally.failed();
            let path = first.unwrap_or_default();
            return peer.send(complaint(&path, status.sentence)).await;
        }
    };
    let mut sending = Sending {
        with_times: command.with_times,
        is_recursive: command.is_recursive,
        path: Vec::new(),
        levels: Vec::new(),
        peer,
        remote,
        tally,
    };
    for path in &expanded.paths {
        sending.operand(path).await?;
    }
    Ok(())
}

impl<O: Outbound> Sending<'_, O> {
    async fn complain(&mut self, reason: &str) -> Result<(), Fault> {
        self.tally.failed();
        self.peer.send(complaint(&self.path, reason)).await
    }

    /// Waits for the client's word; `false`: it does not want this.
    async fn is_wanted(&mut self) -> Result<bool, Fault> {
        match self.peer.word().await? {
            Word::Good => Ok(true),
            Word::Bad => {
                self.tally.failed();
                Ok(false)
            }
            Word::Fatal => Err(Fault::Gone),
        }
    }

    /// Sends what the client named.
    async fn operand(&mut self, path: &[u8]) -> Result<(), Fault> {
        let mut path = path;
        while path.len() > 1
            && let Some(shorter) = path.strip_suffix(b"/")
        {
            path = shorter;
        }
        self.path = path.to_vec();
        // A file is what most ask for, and costs one call.
        let status = match self.remote.open_to_read(path).await? {
            Ok(file) => {
                let name = last(path).to_vec();
                return self.file(file, &name).await;
            }
            Err(status) => status,
        };
        let attrs = match self.remote.stat(path).await? {
            Ok(attrs) if attrs.names_directory() => attrs,
            Ok(_) | Err(_) => return self.complain(status.sentence).await,
        };
        if !self.is_recursive {
            return self.complain("not a regular file").await;
        }
        let mut name = last(path).to_vec();
        if !is_name(&name)
            && let Ok(full) = self.remote.real_path(path).await?
        {
            name = last(&full).to_vec();
        }
        if self.enter(&attrs, &name).await? {
            self.tree().await?;
        }
        Ok(())
    }

    /// Sends what is in the directory that was entered.
    async fn tree(&mut self) -> Result<(), Fault> {
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.length);
            let (handle, next) = (level.handle, level.names.next());
            let Some(name) = next else {
                if !self.more_names(handle).await? {
                    self.leave().await?;
                }
                continue;
            };
            if !self.path.ends_with(b"/") {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name.name);
            if name.attrs.names_directory() {
                self.enter(&name.attrs, &name.name).await?;
                continue;
            }
            let opened = self.remote.open_to_read(&self.path).await?;
            match opened {
                Ok(file) => self.file(file, &name.name).await?,
                Err(status) => self.complain(status.sentence).await?,
            }
        }
        Ok(())
    }

    /// Reads more names of the innermost directory; `false`: that was all.
    async fn more_names(&mut self, handle: HandleId) -> Result<bool, Fault> {
        let names = self.remote.names(handle).await?;
        self.peer.is_under_way();
        let Page { names, held, .. } = match names {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(false),
            Err(status) => {
                self.complain(status.sentence).await?;
                return Ok(false);
            }
        };
        if let Some(level) = self.levels.last_mut() {
            level.names = names.into_iter();
            level._held = Some(held);
        }
        Ok(true)
    }

    /// Begins a directory; `false`: nothing of it is sent.
    async fn enter(&mut self, attrs: &Attributes, name: &[u8]) -> Result<bool, Fault> {
        if !is_name(name) {
            self.complain(NO_NAME).await?;
            return Ok(false);
        }
        if self.levels.len() >= SCP_DEPTH_MAX {
            self.complain("Too many directories inside each other")
                .await?;
            return Ok(false);
        }
        let handle = match self.remote.open_directory(&self.path).await? {
            Ok(handle) => handle,
            Err(status) => {
                self.complain(status.sentence).await?;
                return Ok(false);
            }
        };
        let head = record::directory(attrs, name);
        if !self.head(attrs, head).await? {
            self.remote.close(handle).await?.unwrap_or_default();
            return Ok(false);
        }
        self.levels.push(Level {
            handle,
            names: Vec::new().into_iter(),
            _held: None,
            length: self.path.len(),
        });
        Ok(true)
    }

    /// Ends the innermost directory.
    async fn leave(&mut self) -> Result<(), Fault> {
        if let Some(level) = self.levels.pop() {
            self.remote.close(level.handle).await?.unwrap_or_default();
            self.peer.send(&b"E\n"[..]).await?;
            self.is_wanted().await?;
        }
        Ok(())
    }

    /// Announces a file or a directory; `false`: the client does not want it.
    async fn head(&mut self, attrs: &Attributes, head: Vec<u8>) -> Result<bool, Fault> {
        if self.with_times
            && let Some(times) = record::times_of(attrs)
        {
            self.peer.send(times).await?;
            if !self.is_wanted().await? {
                return Ok(false);
            }
        }
        self.peer.send(head).await?;
        self.is_wanted().await
    }

    async fn file(&mut self, file: Download, name: &[u8]) -> Result<(), Fault> {
        if !is_name(name) {
            self.remote.close_read(file).await?.unwrap_or_default();
            return self.complain(NO_NAME).await;
        }
        let attrs = file.attrs;
        let head = record::file(&attrs, attrs.size.unwrap_or(0), name);
        if !self.head(&attrs, head).await? {
            self.remote.close_read(file).await?.unwrap_or_default();
            return Ok(());
        }
        self.contents(file).await
    }

    async fn contents(&mut self, mut file: Download) -> Result<(), Fault> {
        loop {
            let slices = match self.remote.next_bytes(&mut file).await? {
                Ok(Some(slices)) => slices,
                Ok(None) => break,
                Err(status) => {
                    self.tally.failed();
                    self.remote.close_read(file).await?.unwrap_or_default();
                    let line = sentence("scp", &self.path, status.sentence);
                    self.peer.say(line).await?;
                    return Err(Fault::Abandoned);
                }
            };
            for bytes in slices {
                self.tally
                    .moved(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.peer.send(bytes).await?;
            }
        }
        self.remote.close_read(file).await?.unwrap_or_default();
        self.peer.confirm().await?;
        if self.is_wanted().await? {
            self.tally.file();
        }
        Ok(())
    }
}

/// Returns the last component of a path.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

const NO_NAME: &str = "scp cannot send this name";
