//! What happened to the names that everybody uses: several sessions, and programs that know
//! nothing of the gateway. Each content says which write it comes from.

use std::sync::Arc;

use portcullis::clock::Clock as _;

use super::World;
use crate::session::at;

/// Names that everybody uses.
pub(super) const SHARED: [&str; 2] = ["s/x", "s/y"];

#[derive(Debug, Default)]
pub(super) struct History {
    moment: u64,
    writes: Vec<Write>,
    reads: Vec<Read>,
}

/// A change that was begun; `ended`: it is known to have been made by then.
#[derive(Debug)]
struct Write {
    name: &'static str,
    /// `None`: the file was removed.
    tag: Option<u64>,
    begun: u64,
    ended: Option<u64>,
}

#[derive(Debug)]
struct Read {
    name: &'static str,
    tag: Option<u64>,
    begun: u64,
    ended: u64,
}

impl History {
    pub(super) fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Notes a change that begins. It may be made at any time until its end is known.
    pub(super) fn begins(&mut self, name: &'static str, tag: Option<u64>) -> usize {
        let begun = self.now();
        self.writes.push(Write {
            name,
            tag,
            begun,
            ended: None,
        });
        self.writes.len() - 1
    }

    pub(super) fn is_made(&mut self, write: usize) {
        let now = self.now();
        self.writes[write].ended = Some(now);
    }

    /// Notes that a change was not made, for certain.
    pub(super) fn never(&mut self, write: usize) {
        self.writes[write].begun = u64::MAX;
    }

    /// Notes what somebody found who began to look at `begun`.
    pub(super) fn found(&mut self, name: &'static str, tag: Option<u64>, begun: u64) {
        let ended = self.now();
        self.reads.push(Read {
            name,
            tag,
            begun,
            ended,
        });
    }

    /// Whatever was found had been written and was not replaced for certain before.
    pub(super) fn check(&self) {
        for read in &self.reads {
            let nothing_yet = (read.tag.is_none()).then_some((0, Some(0)));
            let sources = self
                .of(read.name)
                .filter(|write| write.tag == read.tag && write.begun < read.ended)
                .map(|write| (write.begun, write.ended));
            let fresh = sources.chain(nothing_yet).any(|(_, ended)| {
                let Some(ended) = ended else { return true };
                !self.of(read.name).any(|other| {
                    other.begun > ended && other.ended.is_some_and(|end| end < read.begun)
                })
            });
            let of_it: Vec<_> = self.of(read.name).collect();
            assert!(fresh, "{read:?} cannot be, after {of_it:?}");
        }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(move |write| write.name == name)
    }
}

/// Makes a content that shows where it comes from.
pub(super) fn content(tag: u64, length: usize) -> Vec<u8> {
    let words = (0_u64..).map(|at| match at {
        0 => tag,
        1 => u64::try_from(length).unwrap(),
        at => (tag ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    });
    let mut bytes: Vec<u8> = words
        .take(length.div_ceil(8))
        .flat_map(u64::to_be_bytes)
        .collect();
    bytes.truncate(length);
    bytes
}

/// Returns which write a content comes from; it must be whole, and of one write.
pub(super) fn tag_of(bytes: &[u8]) -> u64 {
    let tag = u64::from_be_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == content(tag, bytes.len()), "a mix of several files");
    let length = u64::from_be_bytes(bytes[8..16].try_into().unwrap());
    assert_eq!(length, bytes.len() as u64, "not the whole file");
    tag
}

/// Another program, which writes and deletes beside the gateway.
pub(super) async fn outsider(
    world: Arc<World>,
    mut dice: fastrand::Rng,
) -> Vec<super::expected::Expected> {
    for _ in 0..dice.usize(..6) {
        let wait = std::time::Duration::from_millis(dice.u64(..5_000));
        world.clock.sleep(wait).await;
        let name = SHARED[dice.usize(..2)];
        let tag = dice.bool().then(|| dice.u64(..));
        let mut history = world.history.lock().unwrap();
        let write = history.begins(name, tag);
        match tag {
            Some(tag) => {
                world
                    .memory
                    .insert(&at(name), content(tag, 16 + dice.usize(..99_999)));
            }
            None => {
                world.memory.remove(&at(name));
            }
        }
        history.is_made(write);
    }
    Vec::new()
}

pub(super) fn last_look(world: &World) {
    let mut history = world.history.lock().unwrap();
    for name in SHARED {
        let begun = history.now();
        let found = world.memory.object(&at(name));
        history.found(name, found.map(|bytes| tag_of(&bytes)), begun);
    }
}
