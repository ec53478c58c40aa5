//! Wildcards in the paths of a command: the gateway looks for the names that match.

use super::fault::Fault;
use super::peer::Peer;
use super::remote::{Answer, Held, NO_MEMORY, Page, Remote};
use super::wildcard::{Pattern, Unfit};
use super::words::Word;
use crate::limits::{EXPANDED_PATHS_MAX, PATH_BYTES_MAX};
use crate::session::Outbound;
use crate::sftp::{HandleId, Status};

/// Paths that words stand for, with the memory that they take beside the words.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) paths: Vec<Vec<u8>>,
    _held: Held,
}

/// Returns the paths that words stand for; one that nothing matches stands for itself, as in a
/// shell.
pub(super) async fn expand<O: Outbound>(
    peer: &Peer<O>,
    remote: &mut Remote,
    words: Vec<Word>,
) -> Answer<Expanded> {
    let gone = peer.gone();
    tokio::select! {
        biased;
        expanded = all(peer, remote, words) => expanded,
        () = gone.cancelled() => Err(Fault::Gone),
    }
}

async fn all<O: Outbound>(
    peer: &Peer<O>,
    remote: &mut Remote,
    words: Vec<Word>,
) -> Answer<Expanded> {
    let mut paths = Vec::new();
    let mut matching = Matching {
        held: remote.held(),
        peer,
        remote,
    };
    for word in words {
        let Some(pattern) = &word.pattern else {
            paths.push(word.text);
            continue;
        };
        let found = match matching.of(pattern).await? {
            Ok(found) => found,
            Err(status) => return Ok(Err(status)),
        };
        if found.is_empty() {
            paths.push(word.text);
        } else {
            paths.extend(found);
        }
        if paths.len() > EXPANDED_PATHS_MAX {
            return Ok(Err(TOO_MANY));
        }
    }
    let held = matching.held;
    Ok(Ok(Expanded { paths, _held: held }))
}

/// What looks for names, and the memory that those take.
struct Matching<'a, O> {
    peer: &'a Peer<O>,
    remote: &'a mut Remote,
    held: Held,
}

impl<O: Outbound> Matching<'_, O> {
    async fn of(&mut self, pattern: &[u8]) -> Answer<Vec<Vec<u8>>> {
        let mut found = vec![Vec::new()];
        let mut components = pattern.split(|byte| *byte == b'/').peekable();
        // Whether what was found is known to be there.
        let mut is_known = true;
        while let Some(component) = components.next() {
            let is_last = components.peek().is_none();
            let component = match Pattern::parse(component) {
                Ok(component) => component,
                Err(Unfit::NotText) => return Ok(Ok(Vec::new())),
                Err(Unfit::TooLong) => return Ok(Err(TOO_LONG)),
            };
            if let Some(literal) = component.literal() {
                if let Err(status) = self.append(&mut found, &literal, is_last) {
                    return Ok(Err(status));
                }
                is_known = false;
                continue;
            }
            let mut next = Vec::new();
            for directory in found {
                let names = Names {
                    pattern: &component,
                    directory,
                    is_last,
                };
                if let Err(status) = self.find(&names, &mut next).await? {
                    return Ok(Err(status));
                }
            }
            next.sort();
            (found, is_known) = (next, true);
        }
        if !is_known {
            let mut there = Vec::new();
            for path in found {
                if self.remote.stat(&path).await?.is_ok() {
                    there.push(path);
                }
                self.peer.is_under_way();
            }
            found = there;
        }
        Ok(Ok(found))
    }

    /// Appends a name to all paths. One that grows too long cannot be there.
    fn append(
        &mut self,
        paths: &mut Vec<Vec<u8>>,
        name: &str,
        is_last: bool,
    ) -> Result<(), Status> {
        let more = name.len().saturating_add(1);
        paths.retain(|path| path.len().saturating_add(more) <= PATH_BYTES_MAX);
        if !self.held.hold(more.saturating_mul(paths.len())) {
            return Err(NO_MEMORY);
        }
        for path in paths {
            path.reserve_exact(more);
            path.extend_from_slice(name.as_bytes());
            if !is_last {
                path.push(b'/');
            }
        }
        Ok(())
    }

    async fn find(&mut self, names: &Names<'_>, found: &mut Vec<Vec<u8>>) -> Answer<()> {
        let here: &[u8] = match &*names.directory {
            b"" => b".",
            directory => directory,
        };
        let opened = self.remote.open_directory(here).await?;
        self.peer.is_under_way();
        // Where there is nothing to look through nothing matches.
        let Ok(handle) = opened else {
            return Ok(Ok(()));
        };
        let looked = self.look(names, handle, found).await?;
        self.remote.close(handle).await?.unwrap_or_default();
        Ok(looked)
    }

    async fn look(
        &mut self,
        looked_for: &Names<'_>,
        handle: HandleId,
        found: &mut Vec<Vec<u8>>,
    ) -> Answer<()> {
        loop {
            let page = match self.remote.names(handle).await? {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            self.peer.is_under_way();
            let Page { names, .. } = &page;
            for names in names.chunks(NAMES_AT_ONCE) {
                for name in names {
                    let fits = looked_for.is_last || name.attrs.names_directory();
                    if !fits {
                        continue;
                    }
                    if let Some(path) = looked_for.path(&name.name) {
                        if found.len() >= EXPANDED_PATHS_MAX {
                            return Ok(Err(TOO_MANY));
                        }
                        if !self.held.hold(path.len().saturating_add(PATH_BYTES)) {
                            return Ok(Err(NO_MEMORY));
                        }
                        found.push(path);
                    }
                }
                // To compare costs processor time.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Names that are looked for.
struct Names<'a> {
    pattern: &'a Pattern,
    /// With the slash at its end.
    directory: Vec<u8>,
    /// Otherwise only directories are of use.
    is_last: bool,
}

impl Names<'_> {
    /// Returns the path of a name if it matches.
    fn path(&self, name: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(name).unwrap_or_default();
        let length = self.directory.len().saturating_add(name.len());
        if !self.pattern.matches(text) || length >= PATH_BYTES_MAX {
            return None;
        }
        let mut path = Vec::with_capacity(length.saturating_add(1));
        path.extend_from_slice(&self.directory);
        path.extend_from_slice(name);
        if !self.is_last {
            path.push(b'/');
        }
        Some(path)
    }
}

const TOO_MANY: Status = Status::failure("Too many names match");
const TOO_LONG: Status = Status::failure("The pattern is too long: a part of it has 256 letters");
/// What a path takes beside its bytes.
const PATH_BYTES: usize = 48;
/// Names that are compared without a pause: a few milliseconds at most.
const NAMES_AT_ONCE: usize = 8;
