//! `pwd`, `ls`, and what rclone asks to find out which shell it talks to.

use bytes::BytesMut;

use super::command::List;
use super::expand::expand;
use super::fault::Fault;
use super::peer::Peer;
use super::record::sentence;
use super::remote::Remote;
use super::tally::Tally;
use crate::session::Outbound;
use crate::sftp::{Attributes, longname};

/// Serves `echo ${ShellId}%ComSpec%`: a POSIX shell leaves the end as it is.
pub(super) async fn shell_probe<O: Outbound>(peer: &mut Peer<O>) -> Result<(), Fault> {
    peer.send(&b"%ComSpec%\n"[..]).await
}

/// Serves `pwd`.
pub(super) async fn working_directory<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    tally: &mut Tally,
) -> Result<(), Fault> {
    match remote.real_path(b".").await? {
        Ok(path) => peer.send([&path, &b"\n"[..]].concat()).await,
        Err(status) => {
            tally.failed();
            peer.say(sentence("pwd", b".", status.sentence)).await
        }
    }
}

/// Serves `ls`, in the order in which the store lists names.
pub(super) async fn list<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    command: List,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let first = command.paths.first().map(|word| word.text.clone());
    let paths = match expand(peer, remote, command.paths).await? {
        Ok(expanded) => expanded,
        Err(status) => {
            tally.failed();
            let path = first.unwrap_or_default();
            return peer.say(sentence("ls", &path, status.sentence)).await;
        }
    };
    let here = [b".".to_vec()];
    let named = match &*paths.paths {
        [] => &here[..],
        paths => paths,
    };
    let lines = Lines {
        is_long: command.is_long,
        with_hidden: command.with_hidden,
    };
    for path in named {
        let attrs = match remote.stat(path).await? {
            Ok(attrs) => attrs,
            Err(status) => {
                tally.failed();
                peer.say(sentence("ls", path, status.sentence)).await?;
                continue;
            }
        };
        tally.file();
        if command.themselves || !attrs.names_directory() {
            let mut line = BytesMut::new();
            // What has no time to compare with shows the year.
            lines.line(&mut line, path, &attrs, 0);
            peer.send(line.freeze()).await?;
            continue;
        }
        if named.len() > 1 {
            let mut header = path.clone();
            clean(&mut header);
            header.extend_from_slice(b":\n");
            peer.send(header).await?;
        }
        lines.directory(peer, remote, path, tally).await?;
    }
    Ok(())
}

/// How names are shown.
struct Lines {
    is_long: bool,
    with_hidden: bool,
}

impl Lines {
    fn line(&self, lines: &mut BytesMut, name: &[u8], attrs: &Attributes, now: u32) {
        let from = lines.len();
        if self.is_long {
            longname(lines, name, attrs, now);
        } else {
            lines.extend_from_slice(name);
        }
        clean(lines.get_mut(from..).unwrap_or_default());
        lines.extend_from_slice(b"\n");
    }

    async fn directory<O: Outbound>(
        &self,
        peer: &mut Peer<O>,
        remote: &mut Remote,
        path: &[u8],
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let handle = match remote.open_directory(path).await? {
            Ok(handle) => handle,
            Err(status) => {
                tally.failed();
                return peer.say(sentence("ls", path, status.sentence)).await;
            }
        };
        loop {
            let names = remote.names(handle).await?;
            peer.is_under_way();
            let page = match names {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(status) => {
                    tally.failed();
                    peer.say(sentence("ls", path, status.sentence)).await?;
                    break;
                }
            };
            let mut lines = BytesMut::new();
            for name in &page.names {
                if self.with_hidden || !name.name.starts_with(b".") {
                    self.line(&mut lines, &name.name, &name.attrs, page.now);
                }
            }
            peer.send(lines.freeze()).await?;
        }
        remote.close(handle).await?.unwrap_or_default();
        Ok(())
    }
}

/// Makes one line of a name, whatever is in it.
fn clean(name: &mut [u8]) {
    for byte in name {
        if byte.is_ascii_control() {
            *byte = b'?';
        }
    }
}
