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
        Some(ListCursor::Continuation(at)) => at.parse().unwrap(),
        Some(ListCursor::StartAfter(_)) | None => 0,
    };
    let until = (after + usize::from(query.max)).min(keys.len());
    let object = |key: &String| ListedObject {
        key: key.clone(),
        size: 1,
        etag: ETag("e".into()),
        modified: SystemClock.wall(),
    };
    ListPage {
        objects: keys[after..until].iter().map(object).collect(),
        prefixes: Vec::new(),
        next: (until < keys.len()).then(|| until.to_string()),
    }
}

impl Shell {
    fn open(count: usize, length: usize, account: u64, first: bool) -> Self {
        let keys: Vec<String> = (0..count)
            .map(|number| format!("in/{number:0>length$}"))
            .collect();
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

    fn finish(&mut self) {
        for _ in 0..2_000 {
            if self.ended {
                break;
            }
            if self.open == 0 {
                self.readdir();
            }
            self.serve();
            self.arrive();
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
    assert_eq!(shell.calls, 11);
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
        count in 0_usize..3_000,
        length in 4_usize..1_000,
        account in 4_u64..12,
        first in any::<bool>(),
        steps in prop::collection::vec((0_u8..5, 0_usize..70_000), 0..200),
    ) {
        let mut shell = Shell::open(count, length, account << 20, first);
        let mut hogged = Vec::new();
        for (step, number) in steps {
            match step {
                0 => shell.readdir(),
                1 => shell.serve(),
                2 => shell.arrive(),
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
