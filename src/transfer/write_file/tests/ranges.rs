//! Ranges of another file that are written like what the client sends.

use super::*;

/// A new file, and what is copied from.
fn world(source: &[u8], memory: u64) -> World {
    let mut world = World::new(None, memory);
    world.source = source.to_vec();
    world
}

fn bring(world: &mut World, start: u64, end: u64, offset: u64) -> u32 {
    let (id, pending) = world.pending();
    let source = Base {
        location: location(),
        etag: ETag("\"source\"".into()),
        size: as_u64(world.source.len()),
    };
    let range = ByteRange { start, end };
    let bringing = Bringing {
        path: "/f".into(),
        source,
        range,
        at: offset,
    };
    world.hear(Heard::Bring(pending, bringing));
    id
}

#[test]
fn a_close_waits_for_the_range_that_is_on_its_way() {
    let source = pattern(3_000_000, 1);
    let mut world = world(&source, 64 << 20);
    let write = world.write(0, b"head");
    let range = bring(&mut world, 1_000, 2_500_000, 4);
    let close = world.close();
    assert!(!world.answers.contains_key(&range) && !world.answers.contains_key(&close));
    world.settle();
    for id in [write, range, close] {
        assert_eq!(world.answers[&id], Status::OK);
    }
    assert!(world.visible == Some(appended(b"head", &source[1_000..2_500_000])));
}

#[test]
fn a_range_that_cannot_be_read_fails_the_file() {
    let mut world = world(&pattern(3_000_000, 1), 64 << 20);
    let range = bring(&mut world, 0, 3_000_000, 0);
    world.go_on(0, false);
    world.go_on(world.tasks.len() - 1, true);
    let close = world.close();
    world.settle();
    assert_eq!(
        [range, close].map(|id| world.answers[&id]),
        [Status::FAILURE; 2]
    );
    assert_eq!(world.visible, None);
    assert!(world.uploads.is_empty());
}

#[test]
fn while_a_range_is_on_its_way_nothing_is_written_and_no_size_is_set() {
    let source = pattern(1_000, 1);
    let mut world = world(&source, 64 << 20);
    let first = bring(&mut world, 0, 500, 0);
    let second = bring(&mut world, 500, 1_000, 500);
    assert_eq!(world.answers[&second], COPYING);
    assert_eq!(world.set_size(3), COPYING);
    // What comes of the range would be written over it.
    let write = world.write(0, b"new");
    assert_eq!(world.answers[&write], COPYING);
    world.settle();
    assert_eq!(world.answers[&first], Status::OK);
    let third = bring(&mut world, 500, 1_000, 500);
    world.close();
    world.settle();
    assert_eq!(world.answers[&third], Status::OK);
    assert!(world.visible == Some(source));
}

#[test]
fn a_range_is_no_larger_than_its_user_may_store() {
    let mut world = world(&pattern(1_000, 1), 64 << 20);
    let range = bring(&mut world, 0, 1_000, 40 * 1024 * 1024 - 999);
    let close = world.close();
    assert_eq!([range, close].map(|id| world.answers[&id]), [OVER_LIMIT; 2]);
    assert!(world.tasks.is_empty());
}

#[test]
fn what_came_before_a_range_is_kept_where_its_client_vanishes() {
    let mut world = world(&pattern(1_000, 1), 64 << 20);
    world.write(0, b"head");
    let range = bring(&mut world, 0, 1_000, 4);
    world.hear(Heard::Vanished);
    world.settle();
    assert_eq!(world.answers[&range], Status::FAILURE);
    assert!(world.visible.as_deref() == Some(b"head"));
}

#[test]
fn a_range_that_was_left_is_not_taken_for_what_it_is_written_over() {
    let base = pattern(1 << 20, 1);
    let appends = true;
    let how = How { appends, ..STREAM };
    let mut world = World::of(Some(base.clone()), 64 << 20, how);
    world.source = pattern(3_000_000, 9);
    world.write(0, b"head");
    bring(&mut world, 0, 3_000_000, 0);
    world.go_on(0, false);
    world.hear(Heard::ClientGone);
    world.hear(Heard::Vanished);
    // Both are on their way.
    let reads = |task: &&Task| matches!(task, Task::Base(..));
    assert_eq!(world.tasks.iter().filter(reads).count(), 2);
    world.settle();
    let came = [&base[..], b"head", &world.source[..700_000]].concat();
    assert!(world.visible == Some(came));
    assert!(world.uploads.is_empty() && world.is_over);
}

#[test]
fn what_is_said_of_a_file_while_it_is_copied_into_is_kept() {
    let mut world = World::new(None, 64 << 20);
    let said = |modified, mode| Given {
        modified,
        mode,
        owner: None,
    };
    let before = said(Some(5), Some(0o600));
    world.file.set_given(before);
    world.hear(Heard::CopyBegun);
    let (_, pending) = world.pending();
    let (size, given) = (None, said(Some(7), None));
    world.hear(Heard::Attributes {
        pending,
        size,
        given,
    });
    let copy = Base {
        location: location(),
        etag: ETag("\"copy\"".into()),
        size: 10,
    };
    world.hear(Heard::Copied(Ok((copy, before))));
    assert_eq!(world.file.given(), said(Some(7), None));
    let close = world.close();
    assert!(matches!(world.tasks[..], [Task::Time]));
    world.settle();
    assert_eq!(world.answers[&close], Status::OK);
}

#[test]
fn a_copy_whose_session_ends_did_not_fail() {
    for ended in [false, true] {
        let mut world = World::new(None, 64 << 20);
        world.hear(Heard::CopyBegun);
        if ended {
            let copy = Base {
                location: location(),
                etag: ETag("\"copy\"".into()),
                size: 10,
            };
            world.hear(Heard::Copied(Ok((copy, Given::default()))));
        }
        world.hear(Heard::SessionOver);
        assert!(world.is_over && world.file.failed().is_none());
    }
}

fn appended(head: &[u8], more: &[u8]) -> Vec<u8> {
    [head, more].concat()
}

proptest! {
    /// Ranges and writes that follow each other make the file that they say, or none.
    #[test]
    fn whatever_happens_ranges_are_exact_or_nothing_is_left(
        steps in prop::collection::vec(
            (any::<bool>(), 0_u64..2_900_000, 1_u64..2_000_000),
            1..6,
        ),
        tasks in prop::collection::vec((0_usize..8, prop::bool::weighted(0.02)), 0..60),
        memory in prop_oneof![Just(PART), Just(3 * PART), Just(64 << 20)],
        waits in any::<bool>(),
        ends in prop::option::of(0_usize..60),
        vanishes in any::<bool>(),
    ) {
        let source = pattern(3_000_000, 1);
        let mut world = world(&source, memory);
        let (mut expected, mut asked) = (Vec::new(), Vec::new());
        let mut tasks = tasks.into_iter();
        for (salt, (brings, start, length)) in steps.into_iter().enumerate() {
            while world.file.is_bringing() && !world.tasks.is_empty() && (waits || salt % 2 == 0) {
                let (which, fails) = tasks.next().unwrap_or((0, false));
                world.go_on(which, fails);
            }
            let end = as_u64(expected.len());
            if brings {
                let until = (start + length).min(3_000_000);
                let id = bring(&mut world, start, until, end);
                // What is refused at once changes nothing.
                if world.answers.get(&id).is_none_or(|status| *status == Status::OK) {
                    expected.extend(&source[at(start)..at(until)]);
                }
                asked.push(id);
            } else {
                let bytes = pattern(at(length), salt);
                let id = world.write(end, &bytes);
                if world.answers.get(&id) != Some(&COPYING) {
                    expected.extend(bytes);
                }
                asked.push(id);
            }
        }
        if vanishes {
            world.hear(Heard::ClientGone);
            world.hear(Heard::Vanished);
        }
        let close = (!vanishes).then(|| world.close());
        for nth in 0..ends.unwrap_or(0) {
            let (which, fails) = tasks.next().unwrap_or((nth, false));
            world.go_on(which, fails);
        }
        if ends.is_some() {
            world.hear(Heard::SessionOver);
        }
        world.settle();
        for id in asked.iter().chain(&close) {
            prop_assert!(world.answers.contains_key(id), "{id} was not answered");
        }
        let is_ok = close.is_some_and(|close| world.answers[&close] == Status::OK);
        prop_assert!(vanishes || is_ok == world.visible.is_some());
        if let Some(visible) = world.visible.as_ref().filter(|_| vanishes) {
            prop_assert!(expected.starts_with(visible), "{} of {}", visible.len(), expected.len());
        } else if let Some(visible) = &world.visible {
            prop_assert!(*visible == expected, "{} and {}", visible.len(), expected.len());
        }
        prop_assert!(world.uploads.is_empty(), "{:?}", world.uploads.keys());
        drop(world.file);
        world.tasks.clear();
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }
}
