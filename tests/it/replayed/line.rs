//! A session of either server, and what a client sees of an operation.

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::process::{Child, Command};

use super::model::Seen;
use super::program::{How, Op};
use crate::common::raw::{self, Answer};
use crate::common::sftp::Running;

pub(super) const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// What has to end when the client goes.
enum Peer {
    Gateway(Running),
    OpenSsh(Child),
}

/// One client; it has one handle at most.
pub(super) struct Line {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    peer: Peer,
    handle: Vec<u8>,
}

impl Line {
    pub(super) async fn to_gateway((pipe, running): (DuplexStream, Running)) -> Self {
        let (read, write) = tokio::io::split(pipe);
        Self::greet(Box::new(read), Box::new(write), Peer::Gateway(running)).await
    }

    pub(super) async fn to_openssh(folder: &str) -> Self {
        let mut child: Child = Command::new(SERVER)
            .arg("-d")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::greet(Box::new(output), Box::new(input), Peer::OpenSsh(child)).await
    }

    async fn greet(
        read: Box<dyn AsyncRead + Send + Unpin>,
        write: Box<dyn AsyncWrite + Send + Unpin>,
        peer: Peer,
    ) -> Self {
        let mut line = Self {
            read,
            write,
            peer,
            handle: Vec::new(),
        };
        let greeting = [0, 0, 0, 5, 1, 0, 0, 0, 3];
        line.write.write_all(&greeting).await.unwrap();
        line.answer().await;
        line
    }

    /// Goes, whatever is open.
    pub(super) async fn end(self) {
        drop((self.read, self.write));
        match self.peer {
            Peer::Gateway(running) => drop(running.end().await),
            Peer::OpenSsh(mut child) => drop(child.wait().await.unwrap()),
        }
    }

    async fn answer(&mut self) -> Answer {
        let length = self.read.read_u32().await.unwrap();
        let mut packet = vec![0; usize::try_from(length).unwrap()];
        self.read.read_exact(&mut packet).await.unwrap();
        let (kind, body) = (packet[0], packet[5..].to_vec());
        Answer { kind, body }
    }

    async fn ask(&mut self, packet: Vec<u8>) -> Answer {
        self.write.write_all(&packet).await.unwrap();
        self.answer().await
    }

    /// Asks what is answered with a status.
    async fn status(&mut self, packet: Vec<u8>) -> Seen {
        Seen::Status(self.ask(packet).await.status())
    }

    /// Opens a file; what it is refused with otherwise.
    async fn open(&mut self, path: &str, flags: u32) -> Result<Vec<u8>, Seen> {
        let opened = self.ask(raw::open(1, path, flags)).await;
        if opened.kind == STATUS {
            return Err(Seen::Status(opened.status()));
        }
        Ok(opened.handle())
    }

    /// Writes and closes: the first refusal counts.
    async fn fill(&mut self, handle: &[u8], mut at: u64, bytes: &[u8]) -> Seen {
        let mut seen = Seen::Status(raw::OK);
        for piece in bytes.chunks(PIECE) {
            let wrote = self.status(raw::write(1, handle, at, piece)).await;
            at += piece.len() as u64;
            if seen == Seen::Status(raw::OK) {
                seen = wrote;
            }
        }
        let closed = self.status(raw::on_handle(raw::CLOSE, 1, handle)).await;
        match seen {
            Seen::Status(raw::OK) => closed,
            refused => refused,
        }
    }

    /// Does what is done by a session.
    pub(super) async fn act(&mut self, op: &Op) -> Seen {
        let done = match op {
            Op::Begin(path, how) => self.begin(path, *how).await,
            Op::Write(at, made) => {
                let write = raw::write(1, &self.handle, *at as u64, &made.bytes());
                Ok(self.status(write).await)
            }
            Op::Read(at, length) => {
                let length = u32::try_from(*length).unwrap();
                let read = raw::read(1, &self.handle, *at as u64, length);
                Ok(data(&self.ask(read).await))
            }
            Op::Size(size) => {
                let size = raw::set_size(1, &self.handle, *size as u64);
                Ok(self.status(size).await)
            }
            Op::End => {
                let close = raw::on_handle(raw::CLOSE, 1, &self.handle);
                Ok(self.status(close).await)
            }
            Op::Put(path, made) => self.put(path, &made.bytes()).await,
            Op::Get(path) => self.get(path).await,
            Op::Grow(path, made) => self.grow(path, &made.bytes()).await,
            Op::Resize(path, size) => {
                let fields = [
                    &raw::string(path)[..],
                    &1_u32.to_be_bytes(),
                    &(*size as u64).to_be_bytes(),
                ];
                Ok(self.status(raw::packet(SETSTAT, 1, &fields)).await)
            }
            Op::Stat(path) => Ok(attributes(&self.ask(raw::named(raw::STAT, 1, path)).await)),
            Op::List(path) => self.list(if path.is_empty() { "." } else { path }).await,
            Op::MkDir(path) => {
                let make = raw::packet(MKDIR, 1, &[&raw::string(path), &[0; 4]]);
                Ok(self.status(make).await)
            }
            Op::RmDir(path) => Ok(self.status(raw::named(RMDIR, 1, path)).await),
            Op::Remove(path) => Ok(self.status(raw::named(raw::REMOVE, 1, path)).await),
            Op::Rename { from, to, replace } => {
                let plain = raw::rename(1, from, to);
                let name = raw::string("posix-rename@openssh.com");
                let both = [raw::string(from), raw::string(to)].concat();
                let posix = raw::packet(raw::EXTENDED, 1, &[&name, &both]);
                Ok(self.status(if *replace { posix } else { plain }).await)
            }
            Op::Vanish | Op::OutsidePut(..) | Op::OutsideRemove(_) => {
                unreachable!("no session does that")
            }
        };
        done.unwrap_or_else(|refused| refused)
    }

    async fn begin(&mut self, path: &str, how: How) -> Result<Seen, Seen> {
        let flags = match how {
            How::Upload => CREATING,
            How::Append => APPENDING,
            How::Edit => EDITING,
            How::Read => READING,
        };
        self.handle = self.open(path, flags).await?;
        Ok(Seen::Status(raw::OK))
    }

    async fn put(&mut self, path: &str, bytes: &[u8]) -> Result<Seen, Seen> {
        let handle = self.open(path, CREATING).await?;
        Ok(self.fill(&handle, 0, bytes).await)
    }

    async fn grow(&mut self, path: &str, bytes: &[u8]) -> Result<Seen, Seen> {
        let handle = self.open(path, WRITING).await?;
        let attrs = self.ask(raw::on_handle(raw::FSTAT, 1, &handle)).await;
        let Seen::File(size) = attributes(&attrs) else {
            panic!("FSTAT of a file: {attrs:?}");
        };
        Ok(self.fill(&handle, size, bytes).await)
    }

    async fn get(&mut self, path: &str) -> Result<Seen, Seen> {
        let handle = self.open(path, READING).await?;
        let mut bytes = Vec::new();
        let end = loop {
            let length = u32::try_from(PIECE).unwrap();
            let read = raw::read(1, &handle, bytes.len() as u64, length);
            match data(&self.ask(read).await) {
                Seen::Data(more) => bytes.extend(more),
                end => break end,
            }
        };
        self.ask(raw::on_handle(raw::CLOSE, 1, &handle)).await;
        match end {
            Seen::Status(raw::EOF) => Ok(Seen::Data(bytes)),
            refused => Err(refused),
        }
    }

    async fn list(&mut self, path: &str) -> Result<Seen, Seen> {
        let opened = self.ask(raw::named(OPENDIR, 1, path)).await;
        if opened.kind == STATUS {
            return Err(Seen::Status(opened.status()));
        }
        let handle = opened.handle();
        let mut names = BTreeSet::new();
        loop {
            let page = self.ask(raw::on_handle(READDIR, 1, &handle)).await;
            if page.kind == STATUS {
                assert_eq!(page.status(), raw::EOF);
                break;
            }
            for name in names_of(&page.body) {
                assert!(names.insert(name.clone()), "{name:?} is listed twice");
            }
        }
        self.ask(raw::on_handle(raw::CLOSE, 1, &handle)).await;
        names.retain(|name| name != "." && name != "..");
        Ok(Seen::Names(names))
    }
}

fn data(answer: &Answer) -> Seen {
    if answer.kind == STATUS {
        return Seen::Status(answer.status());
    }
    Seen::Data(answer.data().to_vec())
}

fn attributes(answer: &Answer) -> Seen {
    if answer.kind == STATUS {
        return Seen::Status(answer.status());
    }
    let mut body = &answer.body[..];
    let (is_directory, size) = attrs(&mut body);
    if is_directory {
        Seen::Directory
    } else {
        Seen::File(size)
    }
}

fn take<'a>(body: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = body.split_at(length);
    *body = rest;
    taken
}

fn number(body: &mut &[u8]) -> u32 {
    u32::from_be_bytes(take(body, 4).try_into().unwrap())
}

/// Reads attributes: whether it is a directory, and its size.
fn attrs(body: &mut &[u8]) -> (bool, u64) {
    let flags = number(body);
    let mut size = 0;
    if flags & 1 != 0 {
        size = u64::from_be_bytes(take(body, 8).try_into().unwrap());
    }
    if flags & 2 != 0 {
        take(body, 8);
    }
    let mode = if flags & 4 != 0 { number(body) } else { 0 };
    if flags & 8 != 0 {
        take(body, 8);
    }
    (mode & 0o170_000 == 0o040_000, size)
}

fn names_of(mut body: &[u8]) -> Vec<String> {
    let count = number(&mut body);
    let text = |body: &mut &[u8]| {
        let length = usize::try_from(number(body)).unwrap();
        String::from_utf8(take(body, length).to_vec()).unwrap()
    };
    let one = |_| {
        let name = text(&mut body);
        text(&mut body);
        attrs(&mut body);
        name
    };
    (0..count).map(one).collect()
}

const PIECE: usize = 100_000;
const STATUS: u8 = 101;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const READING: u32 = 0x01;
const WRITING: u32 = 0x02;
const EDITING: u32 = 0x03;
const APPENDING: u32 = 0x0e;
const CREATING: u32 = 0x1a;
