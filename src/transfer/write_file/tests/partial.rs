//! A client that vanishes before CLOSE: what came in sequence is kept, and nothing else.

use super::*;

impl World {
    /// Lets the client vanish, as a session does.
    fn vanish(&mut self) {
        self.hear(Heard::ClientGone);
        self.hear(Heard::Vanished);
    }
}

/// What came: writes by their requests, sizes that were set, in their order.
#[derive(Debug)]
enum Came {
    Write(u32, u64, Vec<u8>),
    Size(u64),
}

/// Returns the bytes that came in sequence from `base` on, by the WRITEs that count.
fn in_sequence(base: &[u8], came: &[Came], counts: impl Fn(&u32) -> bool) -> Vec<u8> {
    let (mut bytes, mut there) = (base.to_vec(), vec![true; base.len()]);
    for one in came {
        match one {
            Came::Write(id, offset, written) if counts(id) => {
                let (start, end) = (at(*offset), at(*offset) + written.len());
                bytes.resize(bytes.len().max(end), 0);
                there.resize(there.len().max(end), false);
                bytes[start..end].copy_from_slice(written);
                there[start..end].fill(true);
            }
            Came::Write(..) => {}
            Came::Size(size) => {
                bytes.truncate(at(*size));
                there.truncate(at(*size));
            }
        }
    }
    let gap = there.iter().position(|there| !there);
    bytes.truncate(gap.unwrap_or(bytes.len()));
    bytes
}

#[test]
fn what_came_in_sequence_is_kept_and_nothing_behind_a_gap() {
    let content = pattern(at(PART) * 3, 4);
    let pieces = |world: &mut World, from: usize, to: usize| {
        for start in (from..to).step_by(100_000) {
            let end = to.min(start + 100_000);
            world.write(as_u64(start), &content[start..end]);
            world.settle();
        }
    };
    // Below a part, several parts, and none.
    for length in [1, 100_000, at(PART), at(PART) * 2 + 5] {
        let mut world = World::new(None, 64 << 20);
        pieces(&mut world, 0, length);
        world.vanish();
        assert!(world.file.is_partial());
        world.settle();
        assert!(
            world.visible.as_deref() == Some(&content[..length]),
            "{length}"
        );
        assert!(world.uploads.is_empty() && world.is_over);
        assert_eq!(world.file.size(), as_u64(length));
    }
    // The second part has a gap, and the third one has left already.
    let (gap, third) = (at(PART) + 700, at(PART) * 2);
    let mut world = World::new(None, 64 << 20);
    pieces(&mut world, 0, gap);
    pieces(&mut world, third, content.len());
    world.vanish();
    world.settle();
    assert!(world.visible.as_deref() == Some(&content[..gap]));
    assert!(world.uploads.is_empty() && world.is_over);
}

#[test]
fn nothing_is_kept_of_what_is_no_beginning() {
    let over = |base: Option<usize>, act: fn(&mut World)| {
        let mut world = World::new(base.map(|length| pattern(length, 1)), 64 << 20);
        act(&mut world);
        world.vanish();
        world.settle();
        assert!(world.file.failed().is_some());
        assert!(world.visible.is_none() && world.uploads.is_empty());
    };
    over(None, |_| {});
    over(None, |world| {
        world.write(0, b"");
    });
    over(None, |world| {
        world.write(1, b"a");
    });
    over(None, |world| {
        world.write(0, b"a");
        world.hear(Heard::Unlinked);
    });
    // A change in the middle, a gap behind the end, a size that was set.
    over(Some(100), |world| {
        world.write(99, b"ab");
    });
    over(Some(100), |world| {
        world.write(101, b"a");
    });
    over(Some(100), |world| {
        world.write(100, b"a");
        let (_, pending) = world.pending();
        let (size, given) = (Some(50), Given::default());
        world.hear(Heard::Attributes {
            pending,
            size,
            given,
        });
    });
}

#[test]
fn what_was_appended_is_kept_with_all_that_was_there() {
    for base in [100, at(PART) * 3 + 7] {
        let (base, more) = (pattern(base, 1), pattern(at(PART) + 11, 2));
        let mut world = World::new(Some(base.clone()), 64 << 20);
        for (nth, piece) in more.chunks(200_000).enumerate() {
            world.write(as_u64(base.len() + nth * 200_000), piece);
            world.settle();
        }
        world.vanish();
        // It is known what is replaced.
        assert!(!world.tasks.iter().any(|task| matches!(task, Task::Look)));
        world.settle();
        assert!(world.visible == Some([base, more].concat()));
        assert!(world.uploads.is_empty() && world.is_over);
    }
}

#[test]
fn what_waits_for_memory_is_not_waited_for() {
    let mut world = World::new(None, PART);
    let piece = pattern(300_000, 1);
    for nth in 0..20 {
        world.write(nth * 300_000, &piece);
        // It gets memory as long as there is some.
        while let Some(at) = world.tasks.iter().position(|t| matches!(t, Task::Wait(..))) {
            let waiting = world.file.parked_writes();
            world.go_on(at, false);
            if world.file.parked_writes() == waiting {
                break;
            }
        }
    }
    assert!(world.file.parked_writes() > 0);
    world.vanish();
    assert_eq!(world.file.parked_writes(), 0);
    world.settle();
    let kept = world.visible.as_ref().expect("what has its place");
    assert!(kept.len() >= at(PART) && world.is_over);
    assert_eq!(world.answers.len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_what_is_kept_is_an_exact_beginning(
        base in prop::option::of(0_usize..12_000_000),
        memory in prop_oneof![Just(PART), Just(3 * PART), Just(64 << 20)],
        steps in steps(),
        after in prop::collection::vec((0_usize..8, prop::bool::weighted(0.05)), 0..60),
        ends in prop::option::of(0_usize..60),
    ) {
        let base = base.map(|length| pattern(length, 3));
        let mut world = World::new(base.clone(), memory);
        let (mut came, mut end, mut unlinked) = (Vec::new(), base.as_ref().map_or(0, |base| as_u64(base.len())), false);
        for (salt, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(offset, length) => {
                    let offset = offset.unwrap_or(end);
                    let bytes = pattern(length, salt);
                    end = offset + as_u64(length);
                    let id = world.write(offset, &bytes);
                    came.push(Came::Write(id, offset, bytes));
                }
                Step::SetSize(size) => {
                    let (id, pending) = world.pending();
                    world.hear(Heard::Attributes { pending, size: Some(size), given: Given::default() });
                    if world.answers[&id] == Status::OK {
                        came.push(Came::Size(size));
                    }
                }
                Step::GoOn(which, fails) => world.go_on(which, fails),
                Step::Unlink => {
                    unlinked = true;
                    world.hear(Heard::Unlinked);
                }
            }
        }
        let kept_base = world.file.opening.base.is_some();
        let may = world.file.may_be_kept();
        let before = world.answers.clone();
        world.vanish();
        let mut failed = false;
        for (nth, (which, fails)) in after.into_iter().enumerate() {
            if ends == Some(nth) {
                break;
            }
            failed |= fails && !world.tasks.is_empty();
            world.go_on(which, fails);
        }
        if ends.is_some() {
            world.hear(Heard::SessionOver);
        }
        world.settle();
        prop_assert_eq!(world.answers.len(), at(u64::from(world.asked)), "not everything was answered");
        let base = base.filter(|_| kept_base).unwrap_or_default();
        let is_ok = |id: &u32| world.answers[id] == Status::OK;
        let least = in_sequence(&base, &came, is_ok);
        // Of what waited for memory a beginning may have its place.
        let most = in_sequence(&base, &came, |id| is_ok(id) || !before.contains_key(id));
        if let Some(visible) = &world.visible {
            prop_assert!(may && !unlinked && visible.len() > base.len());
            let lengths = (least.len(), visible.len(), most.len());
            prop_assert!(lengths.0 <= lengths.1 && lengths.1 <= lengths.2, "{lengths:?}");
            let either = |at: usize| least.get(at) == visible.get(at) || most[at] == visible[at];
            prop_assert!((0..visible.len()).all(either), "{lengths:?}");
        } else if may && !failed && ends.is_none() {
            prop_assert!(least.len() <= base.len(), "{} are lost", least.len());
        }
        prop_assert!(world.uploads.is_empty(), "{:?}", world.uploads.keys());
        prop_assert!(world.is_over || !may);
        drop(world.file);
        world.tasks.clear();
        prop_assert_eq!(world.budget.taken_bytes().0, 0);
    }
}
