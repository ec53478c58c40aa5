//! A directory that is listed in little memory.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::budget::{Budget, UserMemory};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::Limits;
use crate::session::plan::Folder;
use crate::sftp::RequestId;
use crate::storage::{Bucket, ETag, ListedObject};

/// A directory of a bucket, and whoever lists it.
struct Shell {
    keys: Vec<String>,
    budget: Arc<Budget>,
    mine: UserMemory,
    listing: Listing,
    waits: Option<u64>,
    fetching: Option<ListQuery>,
    guesses: Vec<ListQuery>,
    /// The store begins every listing with its first name.
    ignores_start: bool,
    asked: u32,
    open: usize,
    names: Vec<Bytes>,
    ended: bool,
    calls: u32,
}

fn folder() -> Listed {
    Listed::Folder(Folder {
        bucket: Bucket::parse("bucket").unwrap(),
        prefix: "in/".to_owned(),
    })
}

fn page(keys: &[String], query: &ListQuery) -> ListPage {
    let after = match &query.after {
        Some(ListCursor::Continuation(after) | ListCursor::StartAfter(after)) => {
            keys.partition_point(|key| key <= after)
        }
        None => 0,
    };
    let until = (after + usize::from(query.max)).min(keys.len());
    let object = |key: &String| ListedObject {
        key: key.clone(),
        size: 1,
        etag: ETag("e".into()),
        modified: SystemClock.wall(),
        mode: None,
        owner: None,
    };
    ListPage {
        objects: keys[after..until].iter().map(object).collect(),
        prefixes: Vec::new(),
        next: (until < keys.len()).then(|| keys[until - 1].clone()),
    }
}

impl Shell {
    fn open(count: usize, length: usize, account: u64, first: bool) -> Self {
        let keys = (0..count).map(|number| format!("{number:0>length$}"));
        Self::of(keys, account, first)
    }

    /// Opens a directory with these names.
    fn of(names: impl Iterator<Item = String>, account: u64, first: bool) -> Self {
        let mut keys: Vec<String> = names.map(|name| format!("in/{name}")).collect();
        keys.sort();
        keys.dedup();
        let budget = Budget::new(&Limits {
            session_memory_bytes_max: account,
            ..Limits::default()
        });
        let mine = budget.user();
        let most = limits::LIST_FIRST_PAGE_MAX;
        let charge = first.then(|| mine.account.try_take(page_bytes_max(most)).unwrap());
        let query = folder().query(None, most);
        let first = FirstPage {
            listed: folder(),
            access: Access::Read,
            page: first.then(|| page(&keys, &query)),
            uploading: Vec::new(),
            always: None,
            gathered: None,
            charge,
        };
        let path = VirtualPath::parse("/in").unwrap();
        Self {
            keys,
            budget,
            mine,
            listing: Listing::of_pages(path, first),
            waits: None,
            fetching: None,
            guesses: Vec::new(),
            ignores_start: false,
            asked: 0,
            open: 0,
            names: Vec::new(),
            ended: false,
            calls: 1,
        }
    }

    fn readdir(&mut self) {
        let id = RequestId(self.asked);
        self.asked += 1;
        self.open += 1;
        let pending = Pending::new(id, "readdir", SystemClock.now());
        self.listing.ask(pending);
    }

    fn run(&mut self, room: usize) {
        while let Some(effect) = self.listing.next(room) {
            match effect {
                ListEffect::WantMemory {
                    bytes,
                    waits: false,
                } => {
                    self.listing.memory(self.mine.account.try_take(bytes));
                }
                ListEffect::WantMemory { bytes, .. } => {
                    // The last name may have a twin yet.
                    assert!(self.mine.account.taken_bytes() <= 2_048);
                    self.waits = Some(bytes);
                }
                ListEffect::Fetch { query, .. } => {
                    self.calls += 1;
                    assert!(self.fetching.replace(query).is_none());
                }
                ListEffect::Listed(_) => {}
                ListEffect::WantGuess { after, bytes } => {
                    let charge = self.mine.account.try_take(bytes);
                    self.listing.guess_memory(after, charge);
                }
                ListEffect::FetchGuess { query, .. } => {
                    self.calls += 1;
                    self.guesses.push(query);
                }
                ListEffect::DropGuesses => self.guesses.clear(),
                ListEffect::Answer(pending, names) => {
                    assert_eq!(
                        pending.answered().0,
                        self.asked - u32::try_from(self.open).unwrap()
                    );
                    self.open -= 1;
                    self.ended |= names.is_empty();
                    self.names.extend(names.into_iter().map(|name| name.name));
                }
            }
            assert!(self.held() <= self.mine.account.taken_bytes() + 2 * 1_024);
        }
    }

    fn held(&self) -> u64 {
        let names = self.listing.names.iter().map(|name| name.name.len());
        u64::try_from(names.sum::<usize>()).unwrap()
    }

    fn serve(&mut self) {
        if let Some(bytes) = self.waits
            && let Some(charge) = self.mine.account.try_take(bytes)
        {
            self.waits = None;
            self.listing.memory(Some(charge));
        }
    }

    fn arrive(&mut self) {
        if let Some(query) = self.fetching.take() {
            self.listing.page_arrived(page(&self.keys, &query));
        }
    }

    /// Brings a guessed page, or says that it cannot be had.
    fn guess_arrives(&mut self, number: usize, fails: bool) {
        if self.guesses.is_empty() {
            return;
        }
        let query = self.guesses.remove(number % self.guesses.len());
        let mut asked = query.clone();
        if self.ignores_start {
            asked.after = None;
        }
        let page = (!fails).then(|| page(&self.keys, &asked));
        self.listing.guess_arrived(&query, page);
    }

    /// Brings everything that is under way.
    fn arrive_all(&mut self) {
        for _ in 0..self.guesses.len() {
            self.guess_arrives(0, false);
        }
        self.arrive();
    }

    /// Reads to the end as if each call took the same time; returns how often one had to be
    /// waited for.
    fn rounds(&mut self) -> u32 {
        let mut rounds = 0;
        while !self.ended {
            if self.open == 0 {
                self.readdir();
            }
            self.run(limits::NAME_REPLY_BYTES_MAX);
            if self.open > 0 {
                rounds += 1;
                self.arrive_all();
            }
        }
        rounds
    }

    fn finish(&mut self) {
        for _ in 0..2_000 {
            if self.ended {
                break;
            }
            if self.open == 0 {
                self.readdir();
            }
            self.serve();
            self.arrive_all();
            self.run(limits::NAME_REPLY_BYTES_MAX);
        }
        let expected: Vec<&[u8]> = self.keys.iter().map(|key| &key.as_bytes()[3..]).collect();
        assert_eq!(self.names[..2], [&b"."[..], b".."]);
        assert!(self.names[2..] == expected);
        assert_eq!(self.budget.account().taken_bytes(), 0);
    }
}

#[test]
fn a_long_directory_takes_one_call_more_than_its_pages() {
    let mut shell = Shell::open(10_000, 20, 64 << 20, true);
    // Nothing is read ahead for somebody who may never read.
    shell.run(limits::NAME_REPLY_BYTES_MAX);
    assert_eq!((shell.calls, shell.listing.names.len()), (1, 102));
    shell.finish();
    assert!((11..=18).contains(&shell.calls), "{}", shell.calls);
}

#[test]
fn pages_of_numbered_names_are_fetched_side_by_side() {
    let uuid = |number: u64| {
        let bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!("{bits:016x}.json")
    };
    let numbers = (0..40_000).map(|number| format!("file-{number:06}"));
    let mut numbered = Shell::of(numbers, 256 << 20, true);
    let rounds = numbered.rounds();
    numbered.finish();
    assert!(
        rounds <= 16 && numbered.calls <= 52,
        "{rounds}, {}",
        numbered.calls
    );
    let mut spread = Shell::of((0..40_000).map(uuid), 256 << 20, true);
    let rounds = spread.rounds();
    spread.finish();
    assert!(
        rounds <= 20 && spread.calls <= 54,
        "{rounds}, {}",
        spread.calls
    );
}

#[test]
fn a_wrong_guess_costs_a_few_calls_and_no_name() {
    let jumps = |number: u32| match number {
        0..6_000 => format!("a{number:05}"),
        6_000..6_010 => format!("b{number}"),
        _ => format!("c-{}", number.wrapping_mul(2_654_435_761)),
    };
    let mut shell = Shell::of((0..12_000).map(jumps), 256 << 20, true);
    shell.rounds();
    shell.finish();
    assert!(shell.calls <= 13 + 8, "{}", shell.calls);
}

#[test]
fn a_store_that_begins_elsewhere_than_asked_is_listed_page_by_page() {
    let mut shell = Shell::open(20_000, 20, 256 << 20, true);
    shell.ignores_start = true;
    shell.rounds();
    shell.finish();
    assert!(shell.calls <= 21 + 3, "{}", shell.calls);
}

#[test]
fn names_that_come_and_go_meanwhile_hide_no_others() {
    let stays = |key: &String| !key.ends_with('7');
    let mut shell = Shell::open(15_000, 8, 256 << 20, true);
    let all = shell.keys.clone();
    for round in 0.. {
        if shell.ended {
            break;
        }
        if shell.open == 0 {
            shell.readdir();
        }
        shell.run(limits::NAME_REPLY_BYTES_MAX);
        shell.guess_arrives(round, false);
        let gone = |key: &&String| stays(key) || round % 3 == 0;
        shell.keys = all.iter().filter(gone).cloned().collect();
        shell.arrive_all();
    }
    let mut shown = shell.names[2..].to_vec();
    let count = shown.len();
    shown.sort();
    shown.dedup();
    assert_eq!(shown.len(), count, "no name comes twice");
    for key in all.iter().filter(|key| stays(key)) {
        assert!(
            shown
                .binary_search_by(|name| (**name).cmp(&key.as_bytes()[3..]))
                .is_ok()
        );
    }
    assert_eq!(shell.budget.account().taken_bytes(), 0);
}

#[test]
fn without_memory_opendir_holds_nothing_and_readdir_waits_for_a_short_page() {
    let mut shell = Shell::open(250, 900, 4 << 20, false);
    let free = shell.budget.account().free_bytes();
    let mut hogged = Vec::new();
    while shell.budget.account().free_bytes() > 1_024 {
        let half = shell.budget.account().free_bytes() / 2;
        hogged.extend(shell.budget.user().account.try_take(half));
    }
    shell.readdir();
    shell.run(limits::NAME_REPLY_BYTES_MAX);
    // What needs no memory is there at once.
    assert_eq!(shell.names.len(), 2);
    shell.readdir();
    shell.run(limits::NAME_REPLY_BYTES_MAX);
    assert_eq!(
        shell.waits,
        Some(page_bytes_max(limits::LIST_FIRST_PAGE_MAX))
    );
    drop(hogged);
    assert_eq!(shell.budget.account().free_bytes(), free);
    shell.finish();
}

#[test]
fn a_client_that_does_not_take_names_causes_no_more_calls() {
    let mut shell = Shell::open(10_000, 900, 64 << 20, true);
    for _ in 0..100 {
        shell.readdir();
        shell.run(0);
        shell.arrive();
    }
    assert_eq!((shell.calls, shell.listing.names.len()), (1, 102));
    shell.finish();
}

#[test]
fn a_page_that_fails_is_asked_for_again() {
    let mut shell = Shell::open(300, 20, 64 << 20, true);
    for _ in 0..2 {
        shell.readdir();
        shell.run(limits::NAME_REPLY_BYTES_MAX);
    }
    let query = shell.fetching.take().unwrap();
    assert_eq!(shell.listing.page_failed(query).len(), 1);
    shell.asked -= 1;
    shell.open -= 1;
    assert!(shell.budget.account().taken_bytes() <= 2_048);
    shell.finish();
}

proptest! {
    #[test]
    fn every_name_comes_once_and_its_memory_goes_with_it(
        count in prop_oneof![0_usize..3_000, 5_000_usize..9_000],
        length in 4_usize..1_000,
        account in 4_u64..12,
        first in any::<bool>(),
        steps in prop::collection::vec((0_u8..6, 0_usize..70_000), 0..200),
    ) {
        let mut shell = Shell::open(count, length, account << 20, first);
        let mut hogged = Vec::new();
        for (step, number) in steps {
            match step {
                0 => shell.readdir(),
                1 => shell.serve(),
                2 => shell.arrive(),
                5 => shell.guess_arrives(number, number % 16 == 0),
                3 if number % 2 == 0 => hogged.clear(),
                3 => {
                    let half = shell.budget.account().free_bytes() / 2;
                    hogged.extend(shell.budget.user().account.try_take(half));
                }
                _ => {}
            }
            shell.run(number);
        }
        hogged.clear();
        shell.finish();
    }
}
