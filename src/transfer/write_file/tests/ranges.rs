//! Ranges of another file that are written like what the client sends.

use super::*;

/// A new file, and what is copied from.
fn world(source: &[u8], memory: u64) -> World {
    let mut world = World::new(None, memory);
    world.base = source.to_vec();
    world
}

fn bring(world: &mut World, start: u64, end: u64, offset: u64) -> u32 {
    let (id, pending) = world.pending();
    let source = Base {
        location: location(),
        etag: ETag("\"base\"".into()),
        size: as_u64(world.base.len()),
    };
    let range = ByteRange { start, end };
    let bringing = Bringing {
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
fn while_a_range_is_on_its_way_no_other_comes_and_no_size_is_set() {
    let source = pattern(1_000, 1);
    let mut world = world(&source, 64 << 20);
    let first = bring(&mut world, 0, 500, 0);
    let second = bring(&mut world, 500, 1_000, 500);
    assert_eq!(world.answers[&second], COPYING);
    assert_eq!(world.set_size(3), COPYING);
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
        ends in prop::option::of(0_usize..60),
    ) {
        let source = pattern(3_000_000, 1);
        let mut world = world(&source, memory);
        let (mut expected, mut asked) = (Vec::new(), Vec::new());
        let mut tasks = tasks.into_iter();
        for (salt, (brings, start, length)) in steps.into_iter().enumerate() {
            while world.file.is_bringing() && !world.tasks.is_empty() {
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
                asked.push(world.write(end, &bytes));
                expected.extend(bytes);
            }
        }
        let close = world.close();
        for nth in 0..ends.unwrap_or(0) {
            let (which, fails) = tasks.next().unwrap_or((nth, false));
            world.go_on(which, fails);
        }
        if ends.is_some() {
            world.hear(Heard::SessionOver);
        }
        world.settle();
        for id in asked.iter().chain([&close]) {
            prop_assert!(world.answers.contains_key(id), "{id} was not answered");
        }
        let is_ok = world.answers[&close] == Status::OK;
        prop_assert_eq!(is_ok, world.visible.is_some());
        if let Some(visible) = &world.visible {
            prop_assert!(*visible == expected, "{} and {}", visible.len(), expected.len());
        }
        prop_assert!(world.uploads.is_empty(), "{:?}", world.uploads.keys());
        drop(world.file);
        world.tasks.clear();
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }
}
