//! Every order of what can happen to a file: bytes exact, every request answered once, every
//! upload completed or aborted, no memory left.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

mod edits;
mod partial;
mod ranges;
mod renames;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::budget::{Budget, Share};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::{Limits, OBJECT_BYTES_MAX, PART_BYTES_MIN};
use crate::sftp::RequestId;
use crate::storage::{Bucket, ByteRange, ETag, Key, Location, PartLayout, Stored, UploadId};

const PART: u64 = PART_BYTES_MIN;
/// Of a copy: parts are as many as steps of a test.
const COPY_PART: u64 = 1024 * 1024;

/// How a file is opened and kept.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is tried with each")]
struct How {
    reads: bool,
    appends: bool,
    copies: bool,
    keep_first_part: bool,
    edit_bytes_max: u64,
    object_bytes_max: u64,
}

const STREAM: How = How {
    reads: false,
    appends: false,
    copies: false,
    keep_first_part: false,
    edit_bytes_max: 2 * PART,
    object_bytes_max: OBJECT_BYTES_MAX,
};

/// What was asked for and did not happen yet.
#[derive(Debug)]
enum Task {
    Wait(PartNumber, u64, Purpose),
    Parts,
    Create,
    Part(UploadId, PartNumber, Vec<u8>, Option<Checksum>),
    /// The base, or the other file, from here to there.
    Base(BaseRead, ETag, u64, u64),
    Zeros,
    Look,
    Time,
    Put(Vec<u8>),
    Complete(UploadId, Vec<PartNumber>, Option<Checksum>),
}

/// A store, a clock and a client for one file.
struct World {
    file: WriteFile,
    budget: Arc<Budget>,
    share: Share,
    now: Instant,
    base: Vec<u8>,
    /// What is copied from.
    source: Vec<u8>,
    tasks: Vec<Task>,
    uploads: HashMap<UploadId, HashMap<PartNumber, Vec<u8>>>,
    visible: Option<Vec<u8>>,
    answers: HashMap<u32, Status>,
    asked: u32,
    is_over: bool,
}

impl World {
    fn new(base: Option<Vec<u8>>, memory: u64) -> Self {
        Self::of(base, memory, STREAM)
    }

    /// A copy of a whole object.
    fn copy(base: Vec<u8>) -> Self {
        let copies = true;
        Self::of(Some(base), PART, How { copies, ..STREAM })
    }

    fn of(base: Option<Vec<u8>>, memory: u64, how: How) -> Self {
        let budget = Budget::new(&Limits {
            part_bytes: PART,
            upload_memory_bytes_max: memory,
            object_bytes_max: how.object_bytes_max,
            ..Limits::default()
        });
        let (share, now) = (budget.user().uploads, SystemClock.now());
        let etag = ETag("\"base\"".into());
        let opening = Opening {
            mode: OpenMode {
                read: how.reads,
                write: true,
                append: how.appends,
                create: true,
                truncate: base.is_none(),
                exclusive: false,
            },
            layout: budget.layout(),
            base: base.as_ref().map(|bytes| Base {
                location: location(),
                etag,
                size: as_u64(bytes.len()),
            }),
            condition: Precondition::None,
            alone: base.is_none().then_some(Precondition::IfNoneMatch),
            partial: Some(KeptPartial { over_base: true }),
            file_bytes_max: Some(40 * 1024 * 1024),
            parts_in_flight_max: 2,
            copies_in_flight_max: 2,
            range_bytes_min: PART,
            edit_bytes_max: how.edit_bytes_max,
            keep_first_part: how.keep_first_part,
            rate_min: RateMin {
                bytes_per_second: 2_048,
                over: Duration::from_secs(60),
            },
            budget: Arc::clone(&budget),
            share: share.clone(),
        };
        let file = if how.copies {
            let size = base.as_ref().map_or(0, |bytes| as_u64(bytes.len()));
            let layout = PartLayout::of_copy(size, COPY_PART);
            WriteFile::copy(Opening { layout, ..opening }, now)
        } else {
            WriteFile::new(opening, now)
        };
        let mut world = Self {
            file,
            budget,
            share,
            now,
            base: base.unwrap_or_default(),
            source: Vec::new(),
            tasks: Vec::new(),
            uploads: HashMap::new(),
            visible: None,
            answers: HashMap::new(),
            asked: 0,
            is_over: false,
        };
        world.run_effects();
        world
    }

    fn pending(&mut self) -> (u32, Pending) {
        self.asked += 1;
        (
            self.asked,
            Pending::new(RequestId(self.asked), "test", self.now),
        )
    }

    fn hear(&mut self, heard: Heard) {
        self.file.hear(heard, self.now);
        self.run_effects();
        // Nothing waits for memory that will not come.
        assert!(self.file.failed().is_none() || self.file.parked_writes() == 0);
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.file.next_effect() {
            self.run(effect);
        }
    }

    fn run(&mut self, effect: Effect) {
        assert!(!self.is_over, "{effect:?} after the end");
        match effect {
            Effect::Wait {
                number,
                bytes,
                purpose,
            } => self.tasks.push(Task::Wait(number, bytes, purpose)),
            Effect::WaitForParts(parts) => {
                assert!(parts > 0);
                self.tasks.push(Task::Parts);
            }
            Effect::Create { .. } => self.tasks.push(Task::Create),
            Effect::SendPart {
                upload,
                number,
                payload,
                ..
            } => {
                let checksum = Checksum::of(&payload);
                let task = Task::Part(upload, number, payload.to_vec(), Some(checksum));
                self.tasks.push(task);
            }
            Effect::CopyPart(copy) => {
                let PartCopy {
                    upload,
                    number,
                    source,
                    etag,
                    range,
                } = copy;
                assert_eq!((source, &*etag.0), (location(), "\"base\""));
                let bytes = self.base[at(range.start)..at(range.end)].to_vec();
                self.tasks.push(Task::Part(upload, number, bytes, None));
            }
            Effect::ReadBase { read, base, range } => {
                let task = Task::Base(read, base.etag, range.start, range.end);
                self.tasks.push(task);
            }
            // What is left may be on its way all the same.
            Effect::ReadOn | Effect::LeaveBase | Effect::Brought { .. } => {}
            Effect::Zeros(_) => self.tasks.push(Task::Zeros),
            Effect::Look { .. } => self.tasks.push(Task::Look),
            Effect::Put { payload, .. } => self.tasks.push(Task::Put(payload.to_vec())),
            Effect::Complete(completing) => {
                let numbers = completing.parts.iter().map(|part| part.number).collect();
                let (upload, checksum) = (completing.upload, completing.checksum);
                self.tasks.push(Task::Complete(upload, numbers, checksum));
            }
            Effect::SetGiven { .. } => self.tasks.push(Task::Time),
            Effect::Abort(upload) => assert!(self.uploads.remove(&upload).is_some()),
            Effect::Stop => self.tasks.retain(|task| matches!(task, Task::Create)),
            Effect::Answer(pending, status) => {
                let id = pending.answered().0;
                assert!(self.answers.insert(id, status).is_none(), "{id} twice");
            }
            Effect::Failed { .. } => assert_eq!(self.visible, None),
            Effect::Stored { .. } => assert!(self.visible.is_some()),
            Effect::Over => self.is_over = true,
        }
    }

    /// Lets one of the tasks come to its end.
    fn go_on(&mut self, which: usize, fails: bool) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.remove(which % self.tasks.len());
        let failure = || Failure {
            status: Status::FAILURE,
            reason: "as the test wants".into(),
        };
        match task {
            Task::Wait(number, bytes, purpose) => match self.share.try_take_for(bytes, purpose) {
                Some(charge) => self.hear(Heard::Memory(number, charge)),
                None => self.tasks.push(Task::Wait(number, bytes, purpose)),
            },
            Task::Parts => {
                let account = self.budget.user().account;
                let charge = account.try_take(1_024).filter(|_| !fails);
                self.hear(Heard::PartsMemory(charge));
            }
            Task::Create if fails => self.hear(Heard::Created(Err(failure()))),
            Task::Create => {
                let upload = UploadId(format!("{}", self.uploads.len()).into());
                self.uploads.insert(upload.clone(), HashMap::new());
                self.hear(Heard::Created(Ok(upload)));
            }
            Task::Part(upload, number, bytes, checksum) => {
                let part = CompletedPart {
                    number,
                    etag: ETag("\"part\"".into()),
                    checksum: None,
                    size: as_u64(bytes.len()),
                };
                if !fails {
                    self.uploads.get_mut(&upload).unwrap().insert(number, bytes);
                }
                let outcome = if fails { Err(failure()) } else { Ok(part) };
                self.hear(Heard::PartEnded {
                    number,
                    outcome,
                    checksum,
                });
            }
            Task::Base(read, ..) if fails => self.hear(Heard::BaseEnded(read, Err(failure()))),
            Task::Base(read, etag, start, end) => {
                let next = end.min(start + 700_000);
                if start == next {
                    return self.hear(Heard::BaseEnded(read, Ok(())));
                }
                let of_base = &*etag.0 == "\"base\"";
                let from = if of_base { &self.base } else { &self.source };
                let bytes = Bytes::copy_from_slice(&from[at(start)..at(next)]);
                self.tasks.push(Task::Base(read, etag, next, end));
                self.hear(Heard::Base(read, bytes));
            }
            Task::Zeros => self.hear(Heard::ZerosDue),
            Task::Look if fails => self.hear(Heard::Looked(Err(failure()))),
            Task::Look => self.hear(Heard::Looked(Ok(Precondition::IfNoneMatch))),
            Task::Time => self.hear(Heard::GivenSet),
            Task::Put(bytes) => self.commit(bytes, fails),
            Task::Complete(upload, numbers, checksum) => {
                self.complete(&upload, &numbers, checksum, fails);
            }
        }
    }

    fn complete(
        &mut self,
        upload: &UploadId,
        numbers: &[PartNumber],
        checksum: Option<Checksum>,
        fails: bool,
    ) {
        let parts = &self.uploads[upload];
        assert!((1..).zip(numbers).all(|(nth, number)| nth == number.0));
        let (_, inner) = numbers
            .split_last()
            .expect("S3 makes no object of no parts");
        let least = parts[&PartNumber(1)].len().min(at(PART));
        assert!(least >= at(COPY_PART) || inner.is_empty());
        assert!(inner.iter().all(|number| parts[number].len() >= least));
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| parts[n].clone()).collect();
        assert!(checksum.is_none_or(|sum| sum == Checksum::of(&bytes)));
        if !fails {
            self.uploads.remove(upload);
        }
        self.commit(bytes, fails);
    }

    fn commit(&mut self, bytes: Vec<u8>, fails: bool) {
        let stored = Stored {
            etag: ETag("\"new\"".into()),
            checksum: None,
            version_id: None,
        };
        if fails {
            self.hear(Heard::Committed(Err(Failure {
                status: Status::FAILURE,
                reason: "as the test wants".into(),
            })));
        } else {
            self.visible = Some(bytes);
            self.hear(Heard::Committed(Ok(stored)));
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.tasks.is_empty() {
                return;
            }
            self.go_on(0, false);
        }
        panic!("it never ends: {:?}", self.tasks);
    }

    /// Gives memory, but lets no upload begin.
    fn settle_but_create(&mut self) {
        while let Some(nth) = self.tasks.iter().position(|t| !matches!(t, Task::Create)) {
            self.go_on(nth, false);
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> u32 {
        let (id, pending) = self.pending();
        let payload = Payload {
            slices: vec![Bytes::copy_from_slice(bytes)],
            length: bytes.len(),
        };
        self.hear(Heard::Write {
            pending,
            offset,
            payload,
        });
        id
    }

    fn close(&mut self) -> u32 {
        let (id, pending) = self.pending();
        self.hear(Heard::CloseAsked);
        self.hear(Heard::Close(pending));
        id
    }
}

fn location() -> Location {
    Location {
        bucket: Bucket::parse("b").unwrap(),
        key: Key::parse("base").unwrap(),
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn pattern(length: usize, salt: usize) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(salt % 251).unwrap(); length];
    for (nth, byte) in bytes.iter_mut().step_by(4_099).enumerate() {
        *byte = u8::try_from((nth * 31 + salt) % 251).unwrap();
    }
    bytes
}

#[test]
fn what_the_client_left_of_a_large_base_is_copied_by_the_store() {
    let base = pattern(at(PART) * 3 + 100, 1);
    let mut world = World::new(Some(base.clone()), 64 << 20);
    let id = world.write(0, b"new");
    let close = world.close();
    world.settle();
    assert_eq!(
        (world.answers[&id], world.answers[&close]),
        (Status::OK, Status::OK)
    );
    let mut expected = base;
    expected[..3].copy_from_slice(b"new");
    assert!(world.visible.unwrap() == expected);
    // Only the rest of the first part went through our memory.
    assert_eq!(world.budget.taken_bytes().0, 0);
}

#[test]
fn a_copy_takes_no_memory_and_has_a_few_parts_under_way() {
    let base = pattern(at(COPY_PART) * 5 + 1, 1);
    let mut world = World::copy(base.clone());
    assert!(matches!(world.tasks[..], [Task::Create]));
    world.go_on(0, false);
    assert_eq!(world.tasks.len(), 2);
    assert_eq!(world.budget.taken_bytes().0, 0);
    world.settle();
    assert!(world.visible.as_ref() == Some(&base));
    assert!(world.uploads.is_empty() && world.is_over && world.answers.is_empty());
}

#[test]
fn a_file_over_its_limit_fails_as_a_whole() {
    let mut world = World::new(None, 64 << 20);
    let first = world.write(0, b"abc");
    let over = world.write(40 << 20, b"x");
    let close = world.close();
    assert_eq!(world.answers[&first], Status::OK);
    assert_eq!(world.answers[&over], OVER_LIMIT);
    assert_eq!(world.answers[&close], OVER_LIMIT);
    assert_eq!(world.visible, None);
}

#[test]
fn who_keeps_memory_without_using_it_loses_it_when_others_wait() {
    let mut world = World::new(None, 64 << 20);
    world.write(0, b"x");
    for awaited in [Awaited::Nobody, Awaited::Somebody] {
        world.now = world.file.deadline().unwrap();
        world.hear(Heard::Time {
            awaited,
            held: false,
            stuck: false,
        });
        assert_eq!(world.file.failed().is_some(), awaited == Awaited::Somebody);
    }
    assert_eq!(world.budget.taken_bytes().0, 0);
}

#[test]
fn memory_that_its_user_has_too_much_of_excuses_nobody_who_waits_for_it() {
    for awaited in [Awaited::Somebody, Awaited::OthersWithLess] {
        let mut world = World::new(None, 2 * PART);
        world.write(0, b"x");
        let rest = world.share.try_take(2 * PART - 256 * 1024).unwrap();
        // It has a little, and waits for more.
        world.write(300_000, b"x");
        assert!(world.file.fills_slots() && world.file.parked_writes() == 1);
        world.now = world.file.deadline().unwrap();
        world.hear(Heard::Time {
            awaited,
            held: false,
            stuck: false,
        });
        let is_given_up = awaited == Awaited::OthersWithLess;
        assert_eq!(world.file.failed().is_some(), is_given_up);
        drop(rest);
    }
}

#[test]
fn a_small_packet_that_waits_does_not_keep_the_large_one_it_came_in() {
    let mut world = World::new(None, PART);
    let all = world.share.try_take(PART).unwrap();
    let packet = Bytes::from(vec![1; 32 * 1024]);
    let (_, pending) = world.pending();
    let payload = Payload {
        slices: vec![packet.slice(100..101)],
        length: 1,
    };
    world.hear(Heard::Write {
        pending,
        offset: 0,
        payload,
    });
    assert!(packet.is_unique());
    assert!(world.file.parked_bytes() < 1_000);
    drop(all);
    world.settle();
    assert_eq!((world.answers.len(), world.file.parked_bytes()), (1, 0));
}

#[test]
fn a_file_never_takes_what_it_waits_for_itself() {
    let mut world = World::new(None, PART);
    // More than one can begin with where one part is all there is, and then another part.
    let first = world.write(0, &pattern(262_145, 1));
    let second = world.write(PART, b"x");
    let close = world.close();
    world.settle();
    assert_eq!(world.answers[&first], Status::OK);
    assert_ne!(world.answers[&second], Status::OK);
    assert_ne!(world.answers[&close], Status::OK);
    assert_eq!(world.budget.taken_bytes().0, 0);
}

#[test]
fn a_part_that_was_full_and_is_cut_keeps_nobody_waiting() {
    let mut world = World::new(None, PART);
    world.write(0, &pattern(at(PART), 1));
    world.settle_but_create();
    world.write(PART, b"x");
    let (cut, pending) = world.pending();
    world.hear(Heard::Attributes {
        pending,
        size: Some(1),
        given: Given::default(),
    });
    let close = world.close();
    world.settle();
    assert_ne!(world.answers[&cut], Status::OK);
    assert_ne!(world.answers[&close], Status::OK);
    assert_eq!(world.budget.taken_bytes().0, 0);
}

/// What a client, and fate, may do next.
#[derive(Debug, Clone)]
enum Step {
    /// Where the last one ended, or elsewhere.
    Write(Option<u64>, usize),
    SetSize(u64),
    GoOn(usize, bool),
    Unlink,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = 1_usize..1_500_000;
    let step = prop_oneof![
        8 => sizes.clone().prop_map(|length| Step::Write(None, length)),
        1 => (0_u64..(3 * PART), sizes).prop_map(|(offset, length)| Step::Write(Some(offset), length)),
        1 => (0_u64..(3 * PART)).prop_map(Step::SetSize),
        8 => (0_usize..8).prop_map(|which| Step::GoOn(which, false)),
        1 => (0_usize..8, prop::bool::weighted(0.3)).prop_map(|(which, fails)| Step::GoOn(which, fails)),
    ];
    let steps = prop::collection::vec(step, 1..40);
    (steps, prop::bool::weighted(0.1)).prop_map(|(mut steps, unlinked)| {
        if unlinked {
            steps.push(Step::Unlink);
        }
        steps
    })
}

#[test]
fn a_close_that_came_is_kept_where_it_is_known_what_it_replaces() {
    for known in [true, false] {
        let base = (!known).then(|| pattern(10, 1));
        let mut world = World::new(base, 64 << 20);
        world.write(0, &pattern(at(PART) + 100, 2));
        world.close();
        assert_eq!(world.file.may_end_alone(), known);
        world.hear(Heard::ClientGone);
        world.settle();
        assert_eq!(world.visible.is_some(), known);
        assert!(world.uploads.is_empty() && world.is_over);
    }
    let mut world = World::new(None, 64 << 20);
    world.write(0, b"abc");
    world.hear(Heard::ClientGone);
    assert!(!world.file.may_end_alone());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_bytes_are_exact_and_nothing_is_left(
        base in prop::option::of(0_usize..12_000_000),
        memory in prop_oneof![Just(PART), Just(3 * PART), Just(64 << 20)],
        steps in steps(),
        closes in prop::bool::weighted(0.8),
        after in prop::collection::vec((0_usize..8, prop::bool::weighted(0.05)), 0..60),
        ends in prop::option::of(0_usize..60),
    ) {
        let base = base.map(|length| pattern(length, 3));
        let mut world = World::new(base.clone(), memory);
        let mut expected = base.unwrap_or_default();
        let mut writes = HashMap::new();
        let (mut end, mut unlinked) = (0, false);
        for (salt, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(offset, length) => {
                    let offset = offset.unwrap_or(end);
                    let bytes = pattern(length, salt);
                    end = offset + as_u64(length);
                    let before = world.file.failed();
                    let id = world.write(offset, &bytes);
                    // What is refused at once changes nothing.
                    let refused = world.answers.get(&id).is_some_and(|status| *status != Status::OK);
                    if before.is_none() && !refused {
                        expected.resize(expected.len().max(at(end)), 0);
                        expected[at(offset)..at(end)].copy_from_slice(&bytes);
                    }
                    writes.insert(id, refused);
                }
                Step::SetSize(size) => {
                    let (id, pending) = world.pending();
                    world.hear(Heard::Attributes { pending, size: Some(size), given: Given::default() });
                    if world.answers[&id] == Status::OK {
                        expected.resize(at(size), 0);
                    }
                }
                Step::GoOn(which, fails) => world.go_on(which, fails),
                Step::Unlink => {
                    unlinked = true;
                    world.hear(Heard::Unlinked);
                }
            }
        }
        let close = closes.then(|| world.close());
        for (nth, (which, fails)) in after.into_iter().enumerate() {
            if ends == Some(nth) {
                break;
            }
            world.go_on(which, fails);
        }
        if ends.is_some() || close.is_none() {
            world.hear(Heard::SessionOver);
        }
        world.settle();
        let (answers, asked) = (world.answers.len(), at(u64::from(world.asked)));
        prop_assert_eq!(answers, asked, "not everything was answered");
        let is_ok = close.is_some_and(|id| world.answers[&id] == Status::OK);
        if let (true, false, Some(visible)) = (is_ok, unlinked, &world.visible) {
            prop_assert!(*visible == expected, "{} and {}", visible.len(), expected.len());
        }
        if !is_ok {
            prop_assert!(world.visible.is_none());
        }
        prop_assert!(world.uploads.is_empty(), "{:?}", world.uploads.keys());
        drop(world.file);
        world.tasks.clear();
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }

    /// Whoever began a copy hears how it ended, and nothing of it is left.
    #[test]
    fn whatever_happens_a_copy_is_whole_or_leaves_nothing(
        size in 1_usize..6_000_000,
        steps in prop::collection::vec((0_usize..8, prop::bool::weighted(0.08)), 0..20),
        then in prop::sample::select(vec![None, Some(false), Some(true)]),
    ) {
        let base = pattern(size, 5);
        let mut world = World::copy(base.clone());
        for (which, fails) in steps {
            world.go_on(which, fails);
        }
        match then {
            None => {}
            Some(false) => world.hear(Heard::SessionOver),
            Some(true) if !world.is_over => world.hear(Heard::Unlinked),
            Some(true) => {}
        }
        world.settle();
        prop_assert!(world.is_over);
        prop_assert!(world.uploads.is_empty(), "{:?}", world.uploads.keys());
        prop_assert!(world.visible.as_ref().is_none_or(|visible| *visible == base));
        if then.is_none() {
            prop_assert_eq!(world.visible.is_some(), world.file.failed().is_none());
        }
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }
}
