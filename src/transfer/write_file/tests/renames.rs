//! A file that gets another name while it is written.

use super::*;

fn to(moved: Option<(&str, &str)>, is_where_begun: bool) -> Heard {
    let etag = |text: &str| ETag(text.into());
    Heard::Renamed(Some(Renamed {
        location: Location {
            key: Key::parse("new").unwrap(),
            ..location()
        },
        condition: Precondition::IfMatch(etag("\"there\"")),
        alone: None,
        partial: None,
        moved: moved.map(|(before, after)| (etag(before), etag(after))),
        is_where_begun,
    }))
}

#[test]
fn no_upload_begins_while_its_name_is_not_known() {
    let content = pattern(at(PART) * 2 + 5, 3);
    for renamed in [Heard::Renamed(None), to(None, true)] {
        let mut world = World::new(None, 64 << 20);
        world.hear(Heard::Renaming);
        world.write(0, &content);
        world.settle();
        assert!(!world.file.is_begun());
        world.hear(renamed);
        world.settle();
        assert!(world.file.is_begun() && world.file.renames.begun_elsewhere.is_none());
        let close = world.close();
        world.settle();
        assert_eq!(world.answers[&close], Status::OK);
        assert!(world.visible.unwrap() == content);
    }
}

#[test]
fn what_is_kept_of_a_client_that_vanishes_waits_for_the_name() {
    let mut world = World::new(None, 64 << 20);
    world.hear(Heard::Renaming);
    world.write(0, b"abc");
    world.settle();
    world.hear(Heard::ClientGone);
    world.hear(Heard::Vanished);
    assert!(world.tasks.is_empty() && !world.is_over);
    world.hear(Heard::Renamed(None));
    world.settle();
    assert_eq!(world.visible.as_deref(), Some(&b"abc"[..]));
}

#[test]
fn an_upload_that_was_begun_completes_there_if_nothing_else_is() {
    let mut world = World::new(None, 64 << 20);
    world.write(0, &pattern(at(PART) * 2 + 5, 3));
    world.settle();
    assert!(world.file.is_begun());
    for (back, expected) in [
        (false, Some(Precondition::IfNoneMatch)),
        (true, None),
        (false, Some(Precondition::IfNoneMatch)),
    ] {
        world.hear(Heard::Renaming);
        world.hear(to(None, back));
        assert_eq!(world.file.renames.begun_elsewhere, expected);
    }
    let close = world.close();
    world.settle();
    assert_eq!(world.answers[&close], Status::OK);
    assert!(world.visible.is_some());
}
