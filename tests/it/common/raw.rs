//! A client that sends packets as it likes: many at once, out of order, without listening.

use std::collections::BTreeMap;

use portcullis::limits::Limits;
use portcullis::storage::SharedStore;
use portcullis::vfs::HomeDirectory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::sftp::{Running, begin, whole_bucket};

/// Both ends of a session whose client has no manners.
pub(crate) struct Raw {
    pub(crate) pipe: DuplexStream,
    pub(crate) running: Running,
}

/// One answer: its type and what follows the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const FSETSTAT: u8 = 10;
pub(crate) const REMOVE: u8 = 13;
pub(crate) const REALPATH: u8 = 16;
pub(crate) const STAT: u8 = 17;
pub(crate) const RENAME: u8 = 18;
pub(crate) const EXTENDED: u8 = 200;

pub(crate) const OK: u32 = 0;
pub(crate) const EOF: u32 = 1;
pub(crate) const NO_SUCH_FILE: u32 = 2;
pub(crate) const FAILURE: u32 = 4;

impl Raw {
    /// Starts a session and greets it.
    pub(crate) async fn start(store: SharedStore) -> Self {
        Self::with(store, whole_bucket(), Limits::default()).await
    }

    pub(crate) async fn with(store: SharedStore, home: HomeDirectory, limits: Limits) -> Self {
        let (pipe, running) = begin(store, home, limits);
        Self::over(pipe, running).await
    }

    /// Greets a session that runs.
    pub(crate) async fn over(pipe: DuplexStream, running: Running) -> Self {
        let mut raw = Self { pipe, running };
        raw.send(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await;
        raw.packet().await.unwrap();
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    async fn packet(&mut self) -> Option<Vec<u8>> {
        let length = self.pipe.read_u32().await.ok()?;
        let mut packet = vec![0; usize::try_from(length).unwrap()];
        self.pipe.read_exact(&mut packet).await.ok()?;
        Some(packet)
    }

    /// Returns the next answer and the id of its question.
    pub(crate) async fn answer(&mut self) -> Option<(u32, Answer)> {
        let packet = self.packet().await?;
        let id = u32::from_be_bytes(packet[1..5].try_into().unwrap());
        let (kind, body) = (packet[0], packet[5..].to_vec());
        Some((id, Answer { kind, body }))
    }

    /// Sends while it listens, and returns one answer to each of so many questions.
    pub(crate) async fn exchange(&mut self, bytes: Vec<u8>, count: usize) -> BTreeMap<u32, Answer> {
        let (mut read, mut write) = tokio::io::split(&mut self.pipe);
        let send = async move { write.write_all(&bytes).await.unwrap() };
        let listen = async move {
            let mut answers = BTreeMap::new();
            while answers.len() < count {
                let length = read.read_u32().await.unwrap();
                let mut packet = vec![0; usize::try_from(length).unwrap()];
                read.read_exact(&mut packet).await.unwrap();
                let id = u32::from_be_bytes(packet[1..5].try_into().unwrap());
                let (kind, body) = (packet[0], packet[5..].to_vec());
                let before = answers.insert(id, Answer { kind, body });
                assert_eq!(before, None, "request {id} was answered twice");
            }
            answers
        };
        tokio::join!(send, listen).1
    }

    /// Asks one thing.
    pub(crate) async fn ask(&mut self, packet: Vec<u8>) -> Answer {
        let mut answers = self.exchange(packet, 1).await;
        answers.pop_first().unwrap().1
    }

    pub(crate) async fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
        let answer = self.ask(open(u32::MAX, path, flags)).await;
        answer.handle()
    }
}

impl Answer {
    /// Returns the code of a STATUS.
    pub(crate) fn status(&self) -> u32 {
        assert_eq!(self.kind, 101, "not a STATUS: {self:?}");
        u32::from_be_bytes(self.body[..4].try_into().unwrap())
    }

    /// Returns the handle on the wire, with its length.
    pub(crate) fn handle(&self) -> Vec<u8> {
        assert_eq!(self.kind, 102, "not a HANDLE: {self:?}");
        self.body[4..].to_vec()
    }

    /// Returns the bytes of a DATA.
    pub(crate) fn data(&self) -> &[u8] {
        assert_eq!(self.kind, 103, "not DATA: {self:?}");
        &self.body[4..]
    }
}

/// Makes one packet out of its fields.
pub(crate) fn packet(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
    let body = [&[kind][..], &id.to_be_bytes(), &fields.concat()].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], &body].concat()
}

/// Makes a string field.
pub(crate) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

pub(crate) fn named(kind: u8, id: u32, path: &str) -> Vec<u8> {
    packet(kind, id, &[&string(path)])
}

pub(crate) fn rename(id: u32, from: &str, to: &str) -> Vec<u8> {
    packet(RENAME, id, &[&string(from), &string(to)])
}

pub(crate) fn open(id: u32, path: &str, flags: u32) -> Vec<u8> {
    packet(OPEN, id, &[&string(path), &flags.to_be_bytes(), &[0; 4]])
}

pub(crate) fn on_handle(kind: u8, id: u32, handle: &[u8]) -> Vec<u8> {
    packet(kind, id, &[&string(handle)])
}

pub(crate) fn read(id: u32, handle: &[u8], offset: u64, length: u32) -> Vec<u8> {
    let fields = [
        &string(handle)[..],
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    packet(READ, id, &fields)
}

pub(crate) fn write(id: u32, handle: &[u8], offset: u64, bytes: &[u8]) -> Vec<u8> {
    let fields = [&string(handle)[..], &offset.to_be_bytes(), &string(bytes)];
    packet(WRITE, id, &fields)
}

/// Has `length` bytes of one handle copied to another; 0: all of them.
pub(crate) fn copy_data(
    id: u32,
    (source, start, length): (&[u8], u64, u64),
    (target, at): (&[u8], u64),
) -> Vec<u8> {
    let fields = [
        &string("copy-data")[..],
        &string(source),
        &start.to_be_bytes(),
        &length.to_be_bytes(),
        &string(target),
        &at.to_be_bytes(),
    ];
    packet(EXTENDED, id, &fields)
}

pub(crate) fn set_size(id: u32, handle: &[u8], size: u64) -> Vec<u8> {
    let fields = [
        &string(handle)[..],
        &1_u32.to_be_bytes(),
        &size.to_be_bytes(),
    ];
    packet(FSETSTAT, id, &fields)
}
