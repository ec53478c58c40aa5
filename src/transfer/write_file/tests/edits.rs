//! Appending, changing in place, reading back: what was there and what was written are one file.

use super::*;
use crate::limits;

const EDIT: How = How {
    reads: true,
    ..STREAM
};

impl World {
    /// Reads as a session does; the base's bytes are there at once.
    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Status> {
        match source(&self.file, offset, length)? {
            Source::Here(bytes) => Ok(bytes.to_vec()),
            Source::Base => self.compose(offset, length),
        }
    }

    fn compose(&self, offset: u64, length: u32) -> Result<Vec<u8>, Status> {
        let end = self.base.len().min(at(offset) + at(u64::from(length)));
        let start = end.min(at(offset));
        let pieces = self.base[start..end].chunks(100_000);
        let slices = pieces.map(Bytes::copy_from_slice).collect();
        Ok(match composed(&self.file, offset, length, slices)? {
            Composed::Base(slices) => slices.concat(),
            Composed::Mixed(bytes) => bytes.to_vec(),
        })
    }

    pub(super) fn set_size(&mut self, size: u64) -> Status {
        let (id, pending) = self.pending();
        self.hear(Heard::Attributes {
            pending,
            size: Some(size),
            given: Given::default(),
        });
        self.answers[&id]
    }

    fn copies_under_way(&self) -> usize {
        let copies = |task: &&Task| matches!(task, Task::Part(_, _, _, None));
        self.tasks.iter().filter(copies).count()
    }
}

fn appended(base: &[u8], more: &[u8]) -> Vec<u8> {
    [base, more].concat()
}

#[test]
fn what_is_appended_to_a_small_file_makes_one_object_at_once() {
    let base = pattern(1_000, 1);
    let mut world = World::new(Some(base.clone()), 64 << 20);
    let write = world.write(1_000, b"more");
    let close = world.close();
    assert!(matches!(world.tasks[..], [Task::Base(_, _, 0, 1_000)]));
    world.settle();
    let both = (world.answers[&write], world.answers[&close]);
    assert_eq!(both, (Status::OK, Status::OK));
    assert!(world.visible == Some(appended(&base, b"more")));
}

#[test]
fn a_large_file_is_appended_to_without_a_byte_of_it_coming_here() {
    for appends in [false, true] {
        let base = pattern(at(PART) * 4 + 7, 1);
        let how = How { appends, ..STREAM };
        let mut world = World::of(Some(base.clone()), 64 << 20, how);
        let start = if appends { 0 } else { as_u64(base.len()) };
        let more = pattern(at(PART) * 2 + 1, 2);
        world.write(start, &more);
        // The store copies while more comes.
        world.go_on(0, false);
        assert!(matches!(world.tasks.last(), Some(Task::Parts)));
        world.go_on(world.tasks.len() - 1, false);
        assert_eq!(world.copies_under_way(), 2);
        world.close();
        while !world.tasks.is_empty() {
            assert!(
                !world
                    .tasks
                    .iter()
                    .any(|task| matches!(task, Task::Base(..)))
            );
            world.go_on(0, false);
        }
        assert!(world.visible == Some(appended(&base, &more)));
    }
}

#[test]
fn what_was_appended_to_leaves_the_middle_alone() {
    let base = pattern(at(PART) * 2, 1);
    let mut world = World::new(Some(base.clone()), 64 << 20);
    world.write(as_u64(base.len()), b"more");
    let middle = world.write(7, b"x");
    let close = world.close();
    world.settle();
    assert_eq!(world.answers[&middle], COPIED);
    assert_eq!(world.answers[&close], COPIED);
    assert_eq!(world.visible, None);
}

#[test]
fn who_appends_may_cut_the_file_first() {
    let base = pattern(at(PART) * 4, 1);
    let mut world = World::new(Some(base.clone()), 64 << 20);
    world.write(as_u64(base.len()), b"more");
    assert_eq!(world.set_size(PART + 3), Status::OK);
    world.write(PART + 3, b"end");
    world.close();
    world.settle();
    assert!(world.visible == Some(appended(&base[..at(PART) + 3], b"end")));
}

#[test]
fn a_size_that_is_set_alone_has_the_store_copy_the_file() {
    let base = pattern(at(PART) * 3, 1);
    for size in [PART * 2 + 9, PART + 1, 3 * PART + 100, 17, 0] {
        let mut world = World::new(Some(base.clone()), 64 << 20);
        world.hear(Heard::Resize(size));
        let close = world.close();
        if size > 2 * PART {
            assert!(matches!(world.tasks[..], [Task::Create]), "{size}");
        }
        world.settle();
        assert_eq!(world.answers[&close], Status::OK);
        let mut expected = base.clone();
        expected.resize(at(size), 0);
        assert!(world.visible == Some(expected), "{size}");
    }
}

#[test]
fn what_was_written_is_read_over_what_was_there() {
    let base = pattern(at(PART) + 5_000, 1);
    let mut world = World::of(Some(base.clone()), 64 << 20, EDIT);
    let mut expected = base;
    for offset in [0, 100, PART - 2, PART + 4_999] {
        world.write(offset, b"abcd");
        expected.resize(expected.len().max(at(offset) + 4), 0);
        expected[at(offset)..at(offset) + 4].copy_from_slice(b"abcd");
        for (start, length) in [
            (0, 200_u32),
            (99, 3),
            (PART - 50, 100),
            (PART + 4_000, 5_000),
        ] {
            let end = expected.len().min(at(start) + at(u64::from(length)));
            let found = world.read(start, length).unwrap();
            assert!(found == expected[at(start)..end], "{offset} {start}");
        }
    }
    world.set_size(50);
    world.set_size(60);
    expected.truncate(50);
    expected.resize(60, 0);
    assert!(world.read(40, 100).unwrap() == expected[40..]);
    assert_eq!(world.read(60, 1), Err(Status::EOF));
    world.close();
    world.settle();
    assert!(world.visible == Some(expected));
}

#[test]
fn what_was_written_changes_again_as_long_as_it_is_kept() {
    for (edit_bytes_max, kept) in [(3 * PART, true), (PART, false)] {
        let how = How {
            edit_bytes_max,
            ..EDIT
        };
        let mut world = World::of(None, 64 << 20, how);
        let mut content = pattern(at(PART) * 2 + 10, 1);
        world.write(0, &content);
        world.settle();
        assert_eq!(world.read(0, 10).is_ok(), kept);
        let again = world.write(3, b"xyz");
        let close = world.close();
        world.settle();
        content[3..6].copy_from_slice(b"xyz");
        assert_eq!(world.answers[&again] == Status::OK, kept);
        assert_eq!(world.answers[&close] == Status::OK, kept);
        assert!(world.visible == kept.then_some(content));
    }
}

#[test]
fn the_first_part_waits_for_its_header_where_that_is_wanted() {
    for keep_first_part in [true, false] {
        let how = How {
            keep_first_part,
            ..STREAM
        };
        let mut world = World::of(None, 64 << 20, how);
        let mut content = pattern(at(PART) * 3 + 10, 1);
        world.write(0, &content);
        world.settle();
        let header = world.write(0, b"header");
        let close = world.close();
        world.settle();
        content[..6].copy_from_slice(b"header");
        assert_eq!(world.answers[&header] == Status::OK, keep_first_part);
        assert_eq!(world.answers[&close] == Status::OK, keep_first_part);
        assert!(world.visible == keep_first_part.then_some(content));
    }
}

#[test]
fn what_is_kept_for_its_client_leaves_when_others_wait() {
    let mut world = World::of(None, 64 << 20, EDIT);
    world.write(0, &pattern(at(PART), 1));
    assert!(world.tasks.is_empty() && world.file.fills_slots());
    for awaited in [Awaited::Nobody, Awaited::Somebody] {
        let before = world.now;
        world.now = world.file.deadline().unwrap();
        assert!(world.now <= before + Duration::from_secs(5));
        world.hear(Heard::Time {
            awaited,
            held: false,
            stuck: false,
        });
    }
    world.settle();
    assert_eq!(world.budget.taken_bytes().0, 0);
    let close = world.close();
    world.settle();
    assert_eq!(world.answers[&close], Status::OK);
}

#[test]
fn what_is_kept_leaves_before_its_file_waits() {
    let mut world = World::of(None, 2 * PART, EDIT);
    let content = pattern(at(PART) * 4, 1);
    let write = world.write(0, &content);
    world.settle();
    assert_eq!(world.answers[&write], Status::OK);
    world.close();
    world.settle();
    assert!(world.visible == Some(content));
}

#[test]
fn what_its_parts_cannot_hold_is_not_changed() {
    let base = pattern(at(PART) * 3, 1);
    let how = How {
        object_bytes_max: 2 * PART,
        ..STREAM
    };
    for (offset, how) in [(0, how), (3 * PART, how), (7, How { reads: true, ..how })] {
        let mut world = World::of(Some(base.clone()), 64 << 20, how);
        let write = world.write(offset, b"x");
        let close = world.close();
        // No part of it was copied for nothing.
        assert!(world.tasks.is_empty() && world.is_over, "{:?}", world.tasks);
        let both = (world.answers[&write], world.answers[&close]);
        assert_eq!(both, (TOO_LARGE_TO_CHANGE, TOO_LARGE_TO_CHANGE));
        assert_eq!(world.visible, None);
    }
    for size in [PART * 2 + 1, PART * 4, PART * 2, 0] {
        let mut world = World::of(Some(base.clone()), 64 << 20, how);
        world.hear(Heard::Resize(size));
        let close = world.close();
        let fits = size <= 2 * PART;
        assert!(fits || world.tasks.is_empty(), "{:?}", world.tasks);
        world.settle();
        let expected = fits.then(|| base[..at(size)].to_vec());
        assert_eq!(world.answers[&close] == Status::OK, fits, "{size}");
        assert!(world.visible == expected, "{size}");
    }
    // What nobody writes over stays, however large.
    let mut world = World::of(Some(base), 64 << 20, how);
    let close = world.close();
    assert_eq!(world.answers[&close], Status::OK);
    assert_eq!(world.visible, None);
}

#[test]
fn gaps_are_filled_though_as_many_parts_were_begun_as_may_be() {
    for base in [None, Some(pattern(at(PART) * 6 + 10, 1))] {
        let mut world = World::new(base.clone(), 64 << 20);
        let mut expected = base.unwrap_or_default();
        expected.resize(at(PART) * 8, 0);
        for part in [1, 3, 5, 7] {
            let write = world.write(part * PART + 9, b"xyz");
            assert_eq!(world.answers[&write], Status::OK);
            expected[at(part * PART) + 9..][..3].copy_from_slice(b"xyz");
        }
        assert_eq!(world.set_size(8 * PART), Status::OK);
        let close = world.close();
        world.settle();
        assert_eq!(world.answers[&close], Status::OK);
        assert!(world.visible == Some(expected));
        assert_eq!(world.budget.taken_bytes().0, 0);
    }
}

/// What a client, and fate, may do next.
#[derive(Debug, Clone)]
enum Step {
    /// Somewhere, or at the end.
    Write(Option<u64>, usize),
    Read(u64, u32),
    /// The bytes of the base come that the last READ waits for.
    Came,
    SetSize(u64),
    GoOn(usize, bool),
    Time(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offsets = prop_oneof![
        0_u64..(3 * PART),
        (0_u64..4, 0_u64..3).prop_map(|(part, off)| part * PART + off)
    ];
    let sizes = prop_oneof![1_usize..3_000, 1_usize..1_500_000];
    let write = (offsets.clone(), sizes.clone());
    let step = prop_oneof![
        5 => write.prop_map(|(offset, length)| Step::Write(Some(offset), length)),
        5 => sizes.prop_map(|length| Step::Write(None, length)),
        5 => (offsets.clone(), 1_u32..300_000).prop_map(|(at, length)| Step::Read(at, length)),
        3 => Just(Step::Came),
        1 => offsets.prop_map(Step::SetSize),
        6 => (0_usize..8).prop_map(|which| Step::GoOn(which, false)),
        1 => (0_usize..8, prop::bool::weighted(0.2)).prop_map(|(at, fails)| Step::GoOn(at, fails)),
        1 => any::<bool>().prop_map(Step::Time),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn edits_in_any_order_are_read_back_and_stored_exactly(
        base in prop::option::of(0_usize..12_000_000),
        memory in prop_oneof![Just(PART), Just(3 * PART), Just(64 << 20)],
        (reads, appends, keep_first_part) in any::<(bool, bool, bool)>(),
        edit_bytes_max in prop_oneof![Just(0), Just(PART), Just(4 * PART)],
        steps in steps(),
        after in prop::collection::vec((0_usize..8, prop::bool::weighted(0.03)), 0..40),
        goes in prop::bool::weighted(0.1),
    ) {
        let base = base.map(|length| pattern(length, 3));
        let how = How { reads, appends, keep_first_part, edit_bytes_max, ..STREAM };
        let mut world = World::of(base.clone(), memory, how);
        let mut expected = base.unwrap_or_default();
        let mut waits = None;
        for (salt, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(offset, length) => {
                    let end = as_u64(expected.len());
                    let offset = offset.filter(|_| !appends).unwrap_or(end);
                    let bytes = pattern(length, salt);
                    let end = at(offset) + length;
                    let id = world.write(offset, &bytes);
                    let answered = world.answers.get(&id);
                    if answered.is_none_or(|status| *status == Status::OK) {
                        expected.resize(expected.len().max(end), 0);
                        expected[at(offset)..end].copy_from_slice(&bytes);
                    }
                }
                Step::Read(offset, length) => match source(&world.file, offset, length) {
                    Ok(Source::Here(bytes)) => {
                        let length = at(u64::from(length.min(limits::READ_BYTES_MAX)));
                        let end = expected.len().min(at(offset) + length);
                        prop_assert!(bytes == expected[at(offset)..end]);
                    }
                    Ok(Source::Base) => waits = Some((offset, length)),
                    Err(Status::EOF) => prop_assert!(at(offset) >= expected.len()),
                    Err(_) => {}
                },
                Step::Came => if let Some((offset, length)) = waits.take() {
                    match world.compose(offset, length) {
                        Ok(bytes) => {
                            let length = at(u64::from(length.min(limits::READ_BYTES_MAX)));
                            let end = expected.len().min(at(offset) + length);
                            prop_assert!(bytes == expected[at(offset)..end]);
                        }
                        Err(Status::EOF) => prop_assert!(at(offset) >= expected.len()),
                        Err(_) => {}
                    }
                },
                Step::SetSize(size) => if world.set_size(size) == Status::OK {
                    expected.resize(at(size), 0);
                },
                Step::GoOn(which, fails) => world.go_on(which, fails),
                Step::Time(others) => if let Some(deadline) = world.file.deadline() {
                    world.now = world.now.max(deadline);
                    let awaited = if others { Awaited::Somebody } else { Awaited::Nobody };
                    world.hear(Heard::Time { awaited, held: false, stuck: false });
                },
            }
        }
        let close = world.close();
        for (which, fails) in after {
            world.go_on(which, fails);
        }
        if goes {
            world.hear(Heard::SessionOver);
        }
        world.settle();
        prop_assert_eq!(world.answers.len(), at(u64::from(world.asked)), "not everything was answered");
        let is_ok = world.answers[&close] == Status::OK;
        if let (true, Some(visible)) = (is_ok, &world.visible) {
            prop_assert!(*visible == expected, "{} and {}", visible.len(), expected.len());
        }
        if !is_ok {
            prop_assert!(world.visible.is_none());
        }
        prop_assert!(world.is_over && world.uploads.is_empty(), "{:?}", world.uploads.keys());
        drop(world.file);
        world.tasks.clear();
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }
}
