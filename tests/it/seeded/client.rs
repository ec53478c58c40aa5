//! A client that does what its dice say, and knows what it may expect.

use std::sync::Arc;

use super::World;
use super::expected::{Content, Expected};
use super::history::{SHARED, content, tag_of};
use crate::common::raw::{self, Raw};
use crate::common::sftp::begin_in;

pub(super) struct Client {
    world: Arc<World>,
    number: usize,
    dice: fastrand::Rng,
    line: Raw,
    expected: Expected,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    Made,
    /// It was refused, or failed: a commit whose answer was lost may have been made all the same.
    Failed,
    /// The client went before CLOSE: nothing may be left.
    Dropped,
}

impl Client {
    /// Takes a place in the world; the session begins with the work.
    pub(super) fn new(
        world: &Arc<World>,
        number: usize,
        dice: fastrand::Rng,
    ) -> impl Future<Output = Self> + Send + use<> {
        let world = Arc::clone(world);
        async move {
            Self {
                line: connect(&world, number).await,
                world,
                number,
                dice,
                expected: Expected::default(),
            }
        }
    }

    pub(super) async fn work(mut self, operations: usize) -> Vec<Expected> {
        for _ in 0..operations {
            self.once().await;
        }
        let Raw { pipe, running } = self.line;
        drop(pipe);
        running.end().await;
        Vec::from([self.expected])
    }

    async fn once(&mut self) {
        let name = self.own_name();
        let shared = SHARED[self.dice.usize(..SHARED.len())];
        match self.dice.u32(..14) {
            0..=2 => self.put_own(&name).await,
            3 => self.overwrite(&name).await,
            4..=5 => {
                if let Ok(found) = self.get(&name).await {
                    self.expected.seen(&name, found);
                }
            }
            6 => self.remove_own(&name).await,
            7 => {
                let to = self.own_name();
                self.rename(&name, &to).await;
            }
            8 => self.stat(&name).await,
            9..=10 => self.put_shared(shared).await,
            11..=12 => {
                let begun = self.world.history.lock().unwrap().now();
                if let Ok(found) = self.get(shared).await {
                    let tag = found.map(|bytes| tag_of(&bytes));
                    let mut history = self.world.history.lock().unwrap();
                    history.found(shared, tag, begun);
                }
            }
            _ => self.remove_shared(shared).await,
        }
    }

    fn own_name(&mut self) -> String {
        let name = ["a", "b", "c"][self.dice.usize(..3)];
        format!("p{}/{name}", self.number)
    }

    /// Makes up a file: mostly a small one, now and then one of several parts.
    fn some_content(&mut self) -> (u64, Vec<u8>) {
        let tag = self.dice.u64(..);
        let length = match self.dice.u32(..10) {
            0 => 5_000_000 + self.dice.usize(..9_000_000),
            1..=3 => 100_000 + self.dice.usize(..500_000),
            _ => 16 + self.dice.usize(..50_000),
        };
        (tag, content(tag, length))
    }

    async fn put_own(&mut self, name: &str) {
        let (_, bytes) = self.some_content();
        let put = self.put(name, CREATING, (0, &bytes)).await;
        let new = Some(Arc::new(bytes));
        match put {
            Put::Made => self.expected.is(name, new),
            Put::Failed => self.expected.may_be(name, [new]),
            Put::Dropped => {}
        }
    }

    async fn put_shared(&mut self, name: &'static str) {
        let (tag, bytes) = self.some_content();
        let write = self.world.history.lock().unwrap().begins(name, Some(tag));
        let put = self.put(name, CREATING, (0, &bytes)).await;
        let mut history = self.world.history.lock().unwrap();
        match put {
            Put::Made => history.is_made(write),
            Put::Failed => {}
            Put::Dropped => history.never(write),
        }
    }

    /// Writes over the beginning, as `scp` does, from the middle on, or at the end.
    async fn overwrite(&mut self, name: &str) {
        let [Some(old)] = &self.expected.of(name)[..] else {
            return;
        };
        let (_, mut bytes) = self.some_content();
        let offset = match self.dice.u32(..3) {
            0 => 0,
            1 => self.dice.usize(..=old.len()),
            _ => old.len(),
        };
        let flags = match self.dice.u32(..3) {
            0 if offset == old.len() => APPENDING,
            1 => EDITING,
            _ => OVERWRITING,
        };
        let new = |bytes: &[u8]| {
            let rest = old.iter().skip(offset + bytes.len());
            let all = old[..offset].iter().chain(bytes).chain(rest);
            Some(Arc::new(all.copied().collect::<Vec<_>>()))
        };
        bytes.truncate(1_000_000);
        let put = self.put(name, flags, (offset as u64, &bytes)).await;
        match put {
            Put::Made => self.expected.is(name, new(&bytes)),
            Put::Failed => self.expected.may_be(name, [new(&bytes)]),
            Put::Dropped => {}
        }
    }

    async fn put(&mut self, name: &str, flags: u32, (offset, bytes): (u64, &[u8])) -> Put {
        let opened = self.ask("open", raw::open(1, &path(name), flags)).await;
        if opened.kind != HANDLE {
            return Put::Dropped;
        }
        let handle = opened.handle();
        // What is appended goes where it comes.
        let ordered = flags == APPENDING;
        let mut packets = self.writes(&handle, ordered, (offset, bytes));
        let close = raw::on_handle(raw::CLOSE, CLOSE_ID, &handle);
        if self.dice.u32(..8) == 0 {
            return self.vanish(packets, close).await;
        }
        packets.push(close);
        let count = packets.len();
        let answers = self.line.exchange(packets.concat(), count).await;
        let failed = answers
            .iter()
            .find(|(_, answer)| answer.status() != raw::OK);
        self.world
            .saw(|| format!("{} put {name} {failed:?}", self.number));
        match failed {
            None => Put::Made,
            // What was there stays where all of it was refused.
            Some(_) if answers[&CLOSE_ID].status() == raw::OK => {
                let wrote = answers
                    .iter()
                    .filter(|(_, answer)| answer.status() == raw::OK);
                assert_eq!(wrote.count(), 1, "a WRITE failed, and CLOSE did not");
                Put::Dropped
            }
            Some(_) => Put::Failed,
        }
    }

    /// Makes WRITEs of a file, in order or nearly so.
    fn writes(
        &mut self,
        handle: &[u8],
        ordered: bool,
        (from, bytes): (u64, &[u8]),
    ) -> Vec<Vec<u8>> {
        let piece = (bytes.len() / 200).max(1) + self.dice.usize(..100_000);
        let pieces = (10..).zip(bytes.chunks(piece));
        let packet = |(id, data): (u32, &[u8])| {
            let offset = from + u64::from(id - 10) * piece as u64;
            raw::write(id, handle, offset, data)
        };
        let mut packets: Vec<_> = pieces.map(packet).collect();
        if self.dice.u32(..4) == 0 && !ordered {
            for pair in packets.chunks_exact_mut(2) {
                pair.swap(0, 1);
            }
        }
        packets
    }

    /// Sends all and goes, or a part of it; and comes back when the session has ended.
    async fn vanish(&mut self, mut packets: Vec<Vec<u8>>, close: Vec<u8>) -> Put {
        let closes = self.dice.bool();
        if closes {
            packets.push(close);
        } else {
            packets.truncate(self.dice.usize(..=packets.len()));
        }
        self.line.send(&packets.concat()).await;
        let next = connect(&self.world, self.number).await;
        let Raw { pipe, running } = std::mem::replace(&mut self.line, next);
        drop(pipe);
        running.end().await;
        self.world
            .saw(|| format!("{} went, closed: {closes}", self.number));
        if closes { Put::Failed } else { Put::Dropped }
    }

    /// Reads a whole file; `Err`: the gateway said that it could not.
    async fn get(&mut self, name: &str) -> Result<Content, ()> {
        let opened = self.ask("open", raw::open(1, &path(name), READING)).await;
        if opened.kind != HANDLE {
            return missing(&opened).then_some(None).ok_or(());
        }
        let handle = opened.handle();
        let attrs = self
            .ask("fstat", raw::on_handle(raw::FSTAT, 2, &handle))
            .await;
        let size = size_of(&attrs);
        let step = 20_000 + self.dice.u32(..200_000);
        let starts = (0..=size).step_by(usize::try_from(step).unwrap());
        let reads: Vec<_> = (10..)
            .zip(starts)
            .map(|(id, at)| raw::read(id, &handle, at, step))
            .collect();
        let answers = self.line.exchange(reads.concat(), reads.len()).await;
        self.ask("close", raw::on_handle(raw::CLOSE, CLOSE_ID, &handle))
            .await;
        let mut bytes = Vec::new();
        for answer in answers.values() {
            match answer.kind {
                DATA => bytes.extend(answer.data()),
                _ if answer.status() == raw::EOF => {}
                _ => return Err(()),
            }
        }
        assert_eq!(bytes.len() as u64, size, "{name}");
        Ok(Some(Arc::new(bytes)))
    }

    async fn remove_own(&mut self, name: &str) {
        let answer = self
            .ask("remove", raw::named(raw::REMOVE, 1, &path(name)))
            .await;
        match answer.status() {
            raw::OK => self.expected.is(name, None),
            raw::NO_SUCH_FILE => self.expected.seen(name, None),
            _ => self.expected.may_be(name, [None]),
        }
    }

    async fn remove_shared(&mut self, name: &'static str) {
        let begun = self.world.history.lock().unwrap().now();
        let write = self.world.history.lock().unwrap().begins(name, None);
        let answer = self
            .ask("remove", raw::named(raw::REMOVE, 1, &path(name)))
            .await;
        let mut history = self.world.history.lock().unwrap();
        match answer.status() {
            raw::OK => history.is_made(write),
            raw::NO_SUCH_FILE => {
                history.never(write);
                history.found(name, None, begun);
            }
            _ => {}
        }
    }

    async fn rename(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        let answer = self
            .ask("rename", raw::rename(1, &path(from), &path(to)))
            .await;
        let there: Vec<Content> = self.expected.of(from);
        let there = there.into_iter().filter(Option::is_some);
        match answer.status() {
            raw::OK => {
                self.expected.none_but(to, there);
                self.expected.is(from, None);
            }
            raw::NO_SUCH_FILE => self.expected.seen(from, None),
            _ => {
                self.expected.may_be(to, there);
                self.expected.may_be(from, [None]);
            }
        }
    }

    async fn stat(&mut self, name: &str) {
        let answer = self
            .ask("stat", raw::named(raw::STAT, 1, &path(name)))
            .await;
        let may_be = self.expected.of(name);
        if answer.kind == ATTRS {
            let size = size_of(&answer);
            let is = |one: &Content| one.as_ref().is_some_and(|bytes| bytes.len() as u64 == size);
            assert!(may_be.iter().any(is), "{name} has {size} bytes");
        } else if missing(&answer) {
            assert!(may_be.contains(&None), "{name} is gone");
        }
    }

    async fn ask(&mut self, what: &str, packet: Vec<u8>) -> raw::Answer {
        let answer = self.line.ask(packet).await;
        let number = self.number;
        self.world
            .saw(|| format!("{number} {what} {:?}", (answer.kind, &answer.body)));
        answer
    }
}

/// Two of three clients are the same user.
async fn connect(world: &World, number: usize) -> Raw {
    let user = world.user(["ann", "bob"][number % 2]);
    let limits = (*world.environment.limits).clone();
    let (pipe, running) = begin_in(user, limits, |environment| {
        *environment = world.environment.clone();
    });
    Raw::over(pipe, running).await
}

fn path(name: &str) -> String {
    format!("/{name}")
}

fn missing(answer: &raw::Answer) -> bool {
    answer.kind == STATUS && answer.status() == raw::NO_SUCH_FILE
}

fn size_of(attrs: &raw::Answer) -> u64 {
    assert_eq!((attrs.kind, attrs.body[3] & 1), (ATTRS, 1));
    u64::from_be_bytes(attrs.body[4..12].try_into().unwrap())
}

const READING: u32 = 0x01;
const CREATING: u32 = 0x1a;
const OVERWRITING: u32 = 0x0a;
const EDITING: u32 = 0x03;
const APPENDING: u32 = 0x06;
const CLOSE_ID: u32 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const ATTRS: u8 = 105;
