//! Wildcards in the paths of a command: the gateway looks for the names that match.

use super::fault::Fault;
use super::remote::{Answer, Held, Remote};
use super::wildcard::Pattern;
use super::words::Word;
use crate::limits::EXPANDED_PATHS_MAX;
use crate::sftp::Status;

/// Paths that words stand for, with the memory that they take.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) paths: Vec<Vec<u8>>,
    _held: Held,
}

/// Returns the paths that words stand for; one that nothing matches stands for itself, as in a
/// shell.
pub(super) async fn expand(remote: &mut Remote, words: Vec<Word>) -> Answer<Expanded> {
    let (mut paths, mut held) = (Vec::new(), remote.held());
    for word in words {
        let Some(pattern) = &word.pattern else {
            paths.push(word.text);
            continue;
        };
        let matching = match matching(remote, pattern, &mut held).await? {
            Ok(matching) => matching,
            Err(status) => return Ok(Err(status)),
        };
        if matching.is_empty() {
            paths.push(word.text);
        } else {
            paths.extend(matching);
        }
        if paths.len() > EXPANDED_PATHS_MAX {
            return Ok(Err(TOO_MANY));
        }
    }
    Ok(Ok(Expanded { paths, _held: held }))
}

async fn matching(remote: &mut Remote, pattern: &[u8], held: &mut Held) -> Answer<Vec<Vec<u8>>> {
    let mut found = vec![Vec::new()];
    let mut components = pattern.split(|byte| *byte == b'/').peekable();
    // Whether what was found is known to be there.
    let mut is_known = true;
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let Some(component) = Pattern::parse(component) else {
            return Ok(Ok(Vec::new()));
        };
        if let Some(literal) = component.literal() {
            for path in &mut found {
                path.extend_from_slice(literal.as_bytes());
                if !is_last {
                    path.push(b'/');
                }
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
            if let Err(status) = names.find(remote, held, &mut next).await? {
                return Ok(Err(status));
            }
        }
        next.sort();
        (found, is_known) = (next, true);
    }
    if !is_known {
        let mut there = Vec::new();
        for path in found {
            if remote.stat(&path).await?.is_ok() {
                there.push(path);
            }
        }
        found = there;
    }
    Ok(Ok(found))
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
    async fn find(
        &self,
        remote: &mut Remote,
        held: &mut Held,
        found: &mut Vec<Vec<u8>>,
    ) -> Answer<()> {
        let here: &[u8] = match &*self.directory {
            b"" => b".",
            directory => directory,
        };
        // Where there is nothing to look through nothing matches.
        let Ok(handle) = remote.open_directory(here).await? else {
            return Ok(Ok(()));
        };
        let looked = self.look(remote, handle, held, found).await?;
        remote.close(handle).await?.unwrap_or_default();
        Ok(looked)
    }

    async fn look(
        &self,
        remote: &mut Remote,
        handle: crate::sftp::HandleId,
        held: &mut Held,
        found: &mut Vec<Vec<u8>>,
    ) -> Result<Result<(), Status>, Fault> {
        loop {
            let names = match remote.names(handle).await? {
                Ok(Some((names, _))) => names,
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            for name in names {
                let fits = self.is_last || name.attrs.names_directory();
                let text = std::str::from_utf8(&name.name).unwrap_or_default();
                if !fits || !self.pattern.matches(text) {
                    continue;
                }
                let mut path = [&self.directory, &*name.name].concat();
                if !self.is_last {
                    path.push(b'/');
                }
                if found.len() >= EXPANDED_PATHS_MAX {
                    return Ok(Err(TOO_MANY));
                }
                if !held.hold(path.len().saturating_add(PATH_BYTES)) {
                    return Ok(Err(NO_MEMORY));
                }
                found.push(path);
            }
        }
    }
}

const TOO_MANY: Status = Status::failure("Too many names match");
pub(super) const NO_MEMORY: Status =
    Status::failure("The server is short of memory; try again later");
/// What a path takes beside its bytes.
const PATH_BYTES: usize = 48;
