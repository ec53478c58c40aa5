#![expect(
    clippy::arithmetic_side_effects,
    reason = "numbers of tests, not of clients"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::budget::{Budget, UserMemory};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::Limits;
use crate::sftp::RequestId;
use crate::storage::Checksum;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const DAMAGED: Status = Status::failure("damaged");
const CHANGED: Status = Status::failure("changed");
const CLOSED: Status = Status::failure("closed");

/// Carries out effects as a session does, except that a test says when anything happens.
struct Shell {
    object: Vec<u8>,
    file: ReadFile,
    budget: Arc<Budget>,
    mine: UserMemory,
    others: UserMemory,
    now: Instant,
    room: Room,
    /// `None`: what the pool says.
    free: Option<u64>,
    /// Wishes for memory that wait, with their bytes.
    waiting: BTreeMap<FetchId, u64>,
    /// GETs under way, with what is left of them.
    gets: BTreeMap<FetchId, ByteRange>,
    asked: u32,
    /// READs without an answer, with what they are to get.
    open: VecDeque<(RequestId, ByteRange)>,
    /// Answers that the client has not taken.
    untaken: Vec<Bytes>,
    statuses: Vec<Status>,
    bytes_fetched: u64,
    checksum_asked: u32,
    damaged: bool,
    refuses: bool,
}

impl Shell {
    fn new(size: u64, window: u64, limits: &Limits) -> Self {
        let pattern: Vec<u8> = (0..251)
            .map(|at| at * 7 % 251)
            .map(|at| u8::try_from(at).unwrap())
            .collect();
        let mut object = pattern.repeat(usize::try_from(size.div_ceil(251)).unwrap());
        object.truncate(usize::try_from(size).unwrap());
        let now = SystemClock.now();
        let checksum = Some(Digest::Crc64Nvme(Checksum::of(&object)));
        let budget = Budget::new(limits);
        Self {
            file: ReadFile::new(size, checksum, window, DAMAGED, now),
            object,
            mine: budget.user(),
            others: budget.user(),
            budget,
            now,
            room: Room::Free,
            free: Some(u64::MAX),
            waiting: BTreeMap::new(),
            gets: BTreeMap::new(),
            asked: 0,
            open: VecDeque::new(),
            untaken: Vec::new(),
            statuses: Vec::new(),
            bytes_fetched: 0,
            checksum_asked: 0,
            damaged: false,
            refuses: false,
        }
    }

    fn roomy(size: u64) -> Self {
        Self::new(size, 16 * MIB, &Limits::default())
    }

    fn open(&mut self) {
        let bytes = self.file.opening_bytes();
        if let Some(charge) = self.mine.read_ahead.try_take(bytes) {
            let fetch = self.file.begin_opening(charge);
            let range = ByteRange {
                start: 0,
                end: bytes,
            };
            self.gets.insert(fetch, range);
        }
    }

    fn hear(&mut self, heard: ReadHeard) {
        self.file.hear(heard, self.now);
    }

    fn read(&mut self, offset: u64, length: u32) {
        let id = RequestId(self.asked);
        self.asked += 1;
        let size = self.file.size();
        let end = (offset + u64::from(length.min(limits::READ_BYTES_MAX))).min(size);
        let range = ByteRange {
            start: offset.min(size),
            end,
        };
        self.open.push_back((id, range));
        let pending = Pending::new(id, "read", self.now);
        self.hear(ReadHeard::Read {
            pending,
            offset,
            length,
        });
        self.run();
    }

    /// Carries out what is to be done now.
    fn run(&mut self) {
        for _ in 0..10_000 {
            let free = || self.budget.read_ahead_free_bytes();
            let free = self.free.unwrap_or_else(free);
            let Some(effect) = self.file.next(self.room, free, self.now) else {
                return;
            };
            self.carry_out(effect);
        }
        panic!("it never comes to rest: {:?}", self.file);
    }

    fn carry_out(&mut self, effect: ReadEffect) {
        match effect {
            ReadEffect::WantMemory {
                fetch,
                bytes,
                waits: false,
            } => {
                let charge = self.mine.read_ahead.try_take(bytes);
                let charge = charge.filter(|_| !self.refuses);
                self.hear(ReadHeard::Memory { fetch, charge });
            }
            ReadEffect::WantMemory { fetch, bytes, .. } => {
                assert!(self.gets.is_empty(), "it waits and holds nothing");
                assert!(bytes <= limits::PATIENT_GET_BYTES);
                self.waiting.insert(fetch, bytes);
            }
            ReadEffect::Fetch { fetch, range } => {
                self.bytes_fetched += range.end - range.start;
                assert!(self.gets.insert(fetch, range).is_none());
            }
            ReadEffect::Cancel { fetch } => {
                let waited = self.waiting.remove(&fetch).is_some();
                assert!(self.gets.remove(&fetch).is_some() || waited);
            }
            ReadEffect::AskChecksum => self.checksum_asked += 1,
            ReadEffect::AskSizes { .. } => panic!("no object here has parts"),
            ReadEffect::Damaged => self.damaged = true,
            ReadEffect::Answer {
                pending, answer, ..
            } => {
                let (id, range) = self.open.pop_front().expect("a READ waits");
                assert_eq!(pending.answered(), id);
                self.take_answer(answer, range);
            }
        }
    }

    fn take_answer(&mut self, answer: ReadAnswer, range: ByteRange) {
        match answer {
            ReadAnswer::Bytes { length, slices } => {
                assert_eq!(u64::from(length), range.end - range.start);
                assert!(slices.concat() == self.slice(range));
                assert!(range.start < self.file.size());
                self.untaken.extend(slices);
            }
            ReadAnswer::Status(status) => {
                if status == Status::EOF {
                    assert_eq!(range.start, self.file.size());
                }
                self.statuses.push(status);
            }
        }
    }

    fn slice(&self, range: ByteRange) -> Vec<u8> {
        let at = |at: u64| usize::try_from(at).unwrap();
        self.object[at(range.start)..at(range.end)].to_vec()
    }

    /// Lets one of those who wait have memory, if there is some.
    fn serve(&mut self) {
        let Some((fetch, bytes)) = self.waiting.pop_first() else {
            return;
        };
        let charge = self.mine.read_ahead.try_take(bytes);
        match charge.or_else(|| self.mine.account.try_take(bytes)) {
            None => drop(self.waiting.insert(fetch, bytes)),
            charge => {
                self.hear(ReadHeard::Memory { fetch, charge });
                self.run();
            }
        }
    }

    /// Lets bytes of one GET arrive.
    fn arrive(&mut self, which: usize, most: u64) {
        let Some((&fetch, &range)) = self.gets.iter().nth(which % self.gets.len().max(1)) else {
            return;
        };
        let until = (range.start + most).min(range.end);
        let piece = ByteRange {
            end: until,
            ..range
        };
        let bytes = Bytes::from(self.slice(piece));
        self.hear(ReadHeard::Frame { fetch, bytes });
        let left = ByteRange {
            start: until,
            ..range
        };
        if until == range.end {
            self.gets.remove(&fetch);
            let outcome = Ok(());
            self.hear(ReadHeard::FetchEnded { fetch, outcome });
        } else {
            self.gets.insert(fetch, left);
        }
        self.run();
    }

    fn fail(&mut self, which: usize) {
        if let Some(&fetch) = self.gets.keys().nth(which % self.gets.len().max(1)) {
            self.gets.remove(&fetch);
            let outcome = Err(CHANGED);
            self.hear(ReadHeard::FetchEnded { fetch, outcome });
            self.run();
        }
    }

    /// Lets everything come that is under way, until no READ waits.
    fn settle(&mut self) {
        self.room = Room::Free;
        self.run();
        for _ in 0..100_000 {
            if self.open.is_empty() {
                return;
            }
            self.step();
        }
        panic!("READs wait for ever: {:?}", self.file);
    }

    fn step(&mut self) {
        self.untaken.clear();
        self.serve();
        self.arrive(0, 100_000);
    }

    fn close(&mut self) {
        self.hear(ReadHeard::Close(CLOSED));
        self.run();
        let left = (self.open.len(), self.gets.len(), self.waiting.len());
        assert_eq!(left, (0, 0, 0));
        self.untaken.clear();
        assert_eq!(self.taken(), 0);
    }

    fn taken(&self) -> u64 {
        self.mine.read_ahead.taken_bytes() + self.mine.account.taken_bytes()
    }
}

#[test]
fn a_small_file_needs_no_second_get() {
    let mut shell = Shell::roomy(1_000);
    shell.open();
    shell.read(0, 600);
    shell.read(600, 600);
    shell.read(1_000, 600);
    shell.settle();
    assert_eq!(shell.statuses, [Status::EOF]);
    assert_eq!((shell.bytes_fetched, shell.file.sent()), (0, 1_000));
    shell.close();
}

#[test]
fn a_damaged_object_is_not_read_to_its_end() {
    let mut shell = Shell::roomy(1_000);
    shell.object[500] ^= 1;
    shell.open();
    shell.read(0, 999);
    shell.settle();
    assert!(!shell.damaged);
    shell.read(999, 1);
    shell.read(0, 1);
    shell.settle();
    assert!(shell.damaged && shell.file.is_failed());
    assert_eq!(shell.statuses, [DAMAGED, DAMAGED]);
    shell.close();
}

#[test]
fn the_last_read_waits_for_the_checksum_that_was_asked_for() {
    for damaged in [false, true] {
        for size in [1_000, 3 * MIB] {
            let mut shell = Shell::roomy(size);
            let checksum = Digest::Crc64Nvme(Checksum::of(&shell.object));
            shell.file = ReadFile::new(size, None, 16 * MIB, DAMAGED, shell.now);
            shell.object[500] ^= u8::from(damaged);
            let last = size - 100;
            for at in (0..last).step_by(100_000) {
                shell.read(at, u32::try_from((last - at).min(100_000)).unwrap());
            }
            shell.read(last, 100);
            (0..200).for_each(|_| shell.step());
            let seen = (
                shell.checksum_asked,
                shell.file.waiting(),
                shell.file.sent(),
            );
            assert_eq!(seen, (1, 1, last));
            shell.hear(ReadHeard::Checksum(Some(Expectation::Whole(checksum))));
            shell.settle();
            assert_eq!((shell.damaged, shell.file.waiting()), (damaged, 0));
        }
    }
    // Without one nothing is compared.
    let mut shell = Shell::roomy(1_000);
    shell.file = ReadFile::new(1_000, None, MIB, DAMAGED, shell.now);
    shell.hear(ReadHeard::Checksum(None));
    shell.read(0, 1_000);
    shell.settle();
    assert_eq!(shell.file.sent(), 1_000);
}

#[test]
fn a_random_reader_fetches_what_it_asks_for() {
    let mut shell = Shell::roomy(40 * MIB);
    shell.read(20 * MIB, 4_096);
    shell.settle();
    shell.read(30 * MIB, 4_096);
    shell.settle();
    assert_eq!(shell.bytes_fetched, 8_192);
    assert_eq!(shell.checksum_asked, 0);
    shell.untaken.clear();
    assert_eq!(shell.taken(), 0);
}

#[test]
fn readers_come_to_equal_windows() {
    const READERS: u64 = 8;
    const POOL: u64 = 48 * MIB;
    let limits = Limits {
        download_memory_bytes_max: POOL,
        ..Limits::default()
    };
    let mut shells = vec![Shell::new(16 * MIB, 16 * MIB, &limits)];
    for _ in 1..READERS {
        let budget = Arc::clone(&shells[0].budget);
        let mut shell = Shell::new(16 * MIB, 16 * MIB, &limits);
        (shell.mine, shell.budget) = (budget.user(), budget);
        shells.push(shell);
    }
    let equal = POOL / (READERS + 1);
    for at in 0..56 {
        for (number, shell) in shells.iter_mut().enumerate() {
            shell.free = None;
            // The others begin when the first ones have windows.
            let begin = if number < 2 { 0 } else { 8 };
            if at < begin {
                continue;
            }
            shell.read((at - begin) * 128 * KIB, 128 * 1024);
            shell.settle();
        }
    }
    for shell in &shells {
        let taken = shell.taken();
        assert!((equal / 2..=equal * 2).contains(&taken), "{taken}");
    }
}

#[test]
fn a_sequential_reader_gets_a_window_that_grows_with_what_it_was_given() {
    let mut shell = Shell::roomy(64 * MIB);
    shell.open();
    shell.read(0, 32_768);
    // Nothing was given yet.
    assert!(shell.taken() <= 2 * WINDOW_START_BYTES);
    for at in 1..512 {
        shell.settle();
        shell.read(at * 32_768, 32_768);
    }
    shell.settle();
    for _ in 0..1_000 {
        shell.arrive(0, MIB);
    }
    shell.untaken.clear();
    let taken = shell.taken();
    assert!((12 * MIB..=32 * MIB).contains(&taken), "{taken}");
    assert_eq!(shell.gets.len(), 0);
    shell.close();
}

#[test]
fn what_is_ahead_makes_room_for_others() {
    let mut shell = Shell::roomy(64 * MIB);
    for at in 0..100 {
        shell.read(at * 32_768, 32_768);
        shell.settle();
    }
    shell.untaken.clear();
    assert!(shell.taken() > MIB);
    shell.hear(ReadHeard::Rest);
    shell.run();
    assert_eq!(shell.taken(), 0);
    shell.read(100 * 32_768, 32_768);
    shell.settle();
}

#[test]
fn a_client_that_does_not_listen_holds_nothing() {
    let mut shell = Shell::roomy(64 * MIB);
    shell.open();
    shell.room = Room::Full;
    for at in 0..64 {
        shell.read(at * 255 * KIB, 255 * 1024);
    }
    assert_eq!(shell.taken(), limits::OPENING_GET_BYTES);
    shell.room = Room::Free;
    shell.run();
    for _ in 0..3 {
        shell.arrive(0, MIB);
    }
    shell.room = Room::Full;
    for _ in 0..100 {
        shell.arrive(0, MIB);
    }
    let untaken: usize = shell.untaken.iter().map(Bytes::len).sum();
    let held = shell.taken() - u64::try_from(untaken).unwrap();
    assert!((1..=6 * MIB).contains(&held), "{held}");
    shell.now = shell.file.deadline().unwrap();
    shell.run();
    shell.untaken.clear();
    assert_eq!((shell.taken(), shell.file.deadline()), (0, None));
    assert!(shell.open.len() > 50);
    // When it listens again it gets one answer at a time, and the window later.
    let before = shell.bytes_fetched;
    shell.room = Room::Free;
    shell.run();
    assert_eq!(shell.bytes_fetched - before, 255 * KIB);
    shell.settle();
    for at in 64..128 {
        shell.read(at * 255 * KIB, 255 * 1024);
    }
    assert!(shell.gets.len() > 1);
    shell.close();
}

#[test]
fn without_read_ahead_memory_a_read_takes_from_the_account_one_piece_at_a_time() {
    let mut shell = Shell::roomy(64 * MIB);
    let all = shell.budget.limit_bytes().1;
    let hog = shell.others.read_ahead.try_take(all).unwrap();
    for at in 0..64 {
        shell.read(at * 32_768, 32_768);
    }
    for _ in 0..20_000 {
        if shell.open.is_empty() {
            break;
        }
        assert!(shell.mine.account.taken_bytes() <= limits::PATIENT_GET_BYTES);
        assert!(shell.gets.len() + shell.waiting.len() <= 1);
        shell.serve();
        shell.arrive(0, 50_000);
        shell.untaken.clear();
    }
    assert_eq!(shell.bytes_fetched, 2 * MIB);
    drop(hog);
    shell.read(64 * 32_768, 32_768);
    shell.settle();
    assert!(shell.mine.read_ahead.taken_bytes() > 0);
    shell.close();
}

#[test]
fn whoever_waits_for_memory_has_none() {
    let mut shell = Shell::roomy(64 * MIB);
    for at in 0..40 {
        shell.read(at * 32_768, 32_768);
        shell.settle();
    }
    shell.untaken.clear();
    assert!(shell.taken() > 0);
    shell.refuses = true;
    // In sequence, and beyond what is there.
    let at = shell.file.demand_end + 3_500 * KIB;
    shell.read(at, 32_768);
    shell.read(at + 32_768, 32_768);
    assert_eq!((shell.taken(), shell.gets.len()), (0, 0));
    assert_eq!(shell.waiting.len(), 1);
    shell.refuses = false;
    shell.settle();
    shell.close();
}

#[test]
fn a_file_that_is_renamed_is_read_on() {
    let mut shell = Shell::roomy(8 * MIB);
    shell.read(0, 32_768);
    shell.hear(ReadHeard::Moving);
    shell.arrive(0, 1_000);
    // The old key is gone, and the new one not yet known.
    shell.fail(0);
    assert!(!shell.file.is_failed());
    shell.read(32_768, 32_768);
    let gets = shell.gets.len();
    shell.hear(ReadHeard::Moved(Ok(())));
    shell.run();
    assert!(shell.gets.len() > gets);
    shell.settle();
    // One that was on its way under the old key.
    shell.read(6 * MIB, 200_000);
    shell.hear(ReadHeard::Moving);
    shell.hear(ReadHeard::Moved(Ok(())));
    shell.fail(0);
    shell.settle();
    assert!(shell.statuses.is_empty());
    shell.hear(ReadHeard::Moved(Err(CHANGED)));
    shell.read(0, 1);
    assert_eq!(shell.statuses, [CHANGED]);
    shell.close();
}

#[test]
fn a_get_that_fails_ends_the_file() {
    let mut shell = Shell::roomy(8 * MIB);
    shell.read(0, 32_768);
    shell.read(32_768, 32_768);
    shell.fail(0);
    assert_eq!(shell.statuses, [CHANGED, CHANGED]);
    assert_eq!((shell.gets.len(), shell.taken()), (0, 0));
    shell.close();
}

#[test]
fn a_whole_file_asked_for_at_once_is_not_remembered() {
    let mut shell = Shell::roomy(64 * MIB);
    for at in 0..2_048 {
        shell.read(at * 32_768, 32_768);
    }
    shell.settle();
    assert!(shell.file.reads.capacity() <= 2 * limits::READS_PER_HANDLE_AT_ONCE);
    shell.close();
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Read(u64, u32),
    /// The next one in sequence.
    ReadOn(u32),
    Arrive(usize, u64),
    Serve,
    Fail(usize),
    Take,
    Room(u8),
    Later(u16),
    Rest,
    /// Somebody else takes memory, or gives it back.
    Others(u64),
    Move(bool),
    Free(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..3_100_000, 0_u32..300_000).prop_map(|(at, length)| Step::Read(at, length)),
        6 => (1_u32..300_000).prop_map(Step::ReadOn),
        8 => (0_usize..8, 1_u64..600_000).prop_map(|(which, most)| Step::Arrive(which, most)),
        3 => Just(Step::Serve),
        1 => (0_usize..8).prop_map(Step::Fail),
        2 => Just(Step::Take),
        3 => (0_u8..4).prop_map(Step::Room),
        2 => (1_u16..3_000).prop_map(Step::Later),
        1 => Just(Step::Rest),
        3 => (0_u64..4_000_000).prop_map(Step::Others),
        1 => any::<bool>().prop_map(Step::Move),
        1 => prop::option::of(0_u64..4_000_000).prop_map(Step::Free),
    ]
}

struct Walk {
    shell: Shell,
    hogged: Vec<Charge>,
    at: u64,
    may_fail: bool,
}

impl Walk {
    fn take(&mut self, step: Step) {
        let shell = &mut self.shell;
        match step {
            Step::Read(at, length) => shell.read(at, length),
            Step::ReadOn(length) => {
                shell.read(self.at, length);
                self.at += u64::from(length.min(limits::READ_BYTES_MAX));
            }
            Step::Arrive(which, most) => shell.arrive(which, most),
            Step::Serve => shell.serve(),
            Step::Fail(which) if self.may_fail => shell.fail(which),
            Step::Fail(_) => {}
            Step::Take => shell.untaken.clear(),
            Step::Room(room) => {
                shell.room = match room {
                    0 => Room::Full,
                    1 => Room::Paced,
                    _ => Room::Free,
                };
                shell.run();
            }
            Step::Later(milliseconds) => {
                shell.now += Duration::from_millis(u64::from(milliseconds));
                shell.run();
            }
            Step::Rest => {
                shell.hear(ReadHeard::Rest);
                shell.run();
            }
            Step::Others(bytes) if bytes % 3 == 0 => self.hogged.clear(),
            Step::Others(bytes) => self
                .hogged
                .extend(shell.others.read_ahead.try_take(bytes / 4)),
            Step::Move(begin) => {
                let moved = ReadHeard::Moved(Ok(()));
                shell.hear(if begin { ReadHeard::Moving } else { moved });
                shell.run();
            }
            Step::Free(free) => shell.free = free,
        }
        assert!(distinct(&shell.untaken) <= shell.taken());
        assert!(shell.file.held.bytes() <= 7 * MIB);
    }
}

/// Counts bytes of memory: READs of the same place share it.
fn distinct(slices: &[Bytes]) -> u64 {
    let mut places: Vec<(usize, usize)> = slices
        .iter()
        .map(|slice| (slice.as_ptr().addr(), slice.as_ptr().addr() + slice.len()))
        .collect();
    places.sort_unstable();
    let mut end = 0;
    let mut sum = 0;
    for (start, until) in places {
        sum += until.saturating_sub(start.max(end));
        end = end.max(until);
    }
    u64::try_from(sum).unwrap()
}

proptest! {
    #[test]
    fn every_read_gets_the_bytes_of_the_object_once_whatever_happens(
        size in 1_u64..3_000_000,
        pool in 256_u64..4_096,
        opening in any::<bool>(),
        may_fail in any::<bool>(),
        ends_early in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let limits = Limits {
            download_memory_bytes_max: pool * KIB,
            session_memory_bytes_max: MIB,
            ..Limits::default()
        };
        let mut shell = Shell::new(size, 2 * MIB, &limits);
        if opening {
            shell.open();
        }
        let mut walk = Walk { shell, hogged: Vec::new(), at: 0, may_fail };
        for step in steps {
            walk.take(step);
        }
        let Walk { mut shell, hogged, .. } = walk;
        if !ends_early {
            drop(hogged);
            shell.hear(ReadHeard::Moved(Ok(())));
            shell.settle();
            let clean = shell.statuses.iter().all(|status| *status == Status::EOF);
            prop_assert!(clean || may_fail);
        }
        shell.close();
        prop_assert!(!shell.damaged);
    }
}
