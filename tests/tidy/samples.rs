//! Each check can fail.

use std::collections::BTreeSet;

use super::checks::{
    broken_imports, commits_abroad, crates_abroad, dead_links, empty_names, foreign_words,
    impurities, too_long, unproved_promises,
};
use super::shape::{circles, spread_types, unchecked_sums};
use super::{FOREIGN_TO_A_REPOSITORY, PURE, Text};

fn text(path: &str, text: &str) -> Vec<Text> {
    vec![(path.to_owned(), text.to_owned())]
}

#[test]
fn upward_imports_and_circles_are_found() {
    let levels: &[&[&str]] = &[&["top"], &["a", "b", "c"]];
    let broken = |sources: &[Text]| broken_imports(sources, levels, &[]).len();
    assert_eq!(broken(&text("src/a.rs", "use crate::top::X;")), 1);
    assert_eq!(
        broken(&text("src/a/b.rs", "use crate::{b::{C, D},\n top::X};")),
        1
    );
    assert_eq!(broken(&text("src/a.rs", "fn f() { crate::top::g() }")), 1);
    assert_eq!(broken(&text("src/a.rs", "use crate::nowhere::X;")), 1);
    assert_eq!(
        broken(&text("src/top.rs", "use crate::a::X; // crate::nowhere")),
        0
    );
    let mut circle = text("src/a.rs", "use crate::b::X;");
    circle.extend(text("src/b.rs", "use crate::c::X;"));
    assert_eq!(broken(&circle), 0);
    circle.extend(text("src/c/d.rs", "use crate::a::X;"));
    assert_eq!(broken(&circle), 3);
    let tests = "#[cfg(test)]\nmod tests {\nuse crate::top::X;";
    assert_eq!(broken(&text("src/a.rs", tests)), 0);
    let exceptions = [("src/a.rs", "top")];
    let used = text("src/a.rs", "use crate::top::X;");
    assert!(broken_imports(&used, levels, &exceptions).is_empty());
    assert_eq!(broken_imports(&[], levels, &exceptions).len(), 1);
}

#[test]
fn circles_of_files_are_found() {
    let back = "use super::b::{self, X};";
    let found = |a: &str, b: &str, listed: &[&[&str]]| {
        let mut sources = text("src/m/a.rs", a);
        sources.extend(text("src/m/b.rs", b));
        sources.extend(text(
            "src/m/mod.rs",
            "mod a;\nmod b;\npub use self::a::{A, Other};",
        ));
        let elsewhere = circles(&sources, &[], listed).len();
        assert_eq!(
            circles(&sources, &["src/m/"], &[]).len(),
            circles(&sources, &[], &[]).len()
        );
        elsewhere
    };
    for to_a in [
        "use super::a::A;",
        "use crate::m::a;",
        "use crate::{c::D, m::{z, a::{A, Q}}};",
        "fn f() { super::a::g() }",
        "use super::A;",
        "use crate::m::{Other as Another};",
    ] {
        assert_eq!(found(back, to_a, &[]), 1, "{to_a}");
        let both: &[&str] = &["src/m/a.rs", "src/m/b.rs"];
        assert_eq!(found(back, to_a, &[both]), 0, "{to_a}");
        assert_eq!(found("", to_a, &[both]), 1, "{to_a}");
    }
    for harmless in [
        "",
        "use super::z::A;",
        "// super::a::A",
        "fn f() { other_super::a::g() }",
        "#[cfg(test)]\nmod tests {\nuse super::super::a::A;",
    ] {
        assert_eq!(found(back, harmless, &[]), 0, "{harmless}");
    }
    let mut parent = text("src/m/mod.rs", "fn f() { c::g() }");
    parent.extend(text("src/m/c.rs", "use super::T;"));
    assert_eq!(circles(&parent, &["src/m/"], &[]).len(), 1);
    let three: Vec<Text> = [("a", "b"), ("b", "c"), ("c", "a")]
        .map(|(from, to)| (format!("src/m/{from}.rs"), format!("use super::{to}::X;")))
        .into();
    assert_eq!(circles(&three, &[], &[]).len(), 1);
}

#[test]
fn spread_types_are_found() {
    let spread = |second: &str, listed: &[(&str, usize)]| {
        let mut sources = text("src/a.rs", "pub(super) struct Foo<T>(T);\nimpl<T> Foo<T> {");
        sources.extend(text("src/b.rs", second));
        spread_types(&sources, 1, listed).len()
    };
    for bad in [
        "impl<F: Fn() -> u8> Foo<F> {",
        "impl crate::a::Foo<u8>\nwhere\n    u8: Copy,\n{",
    ] {
        assert_eq!(spread(bad, &[]), 1, "{bad}");
        assert_eq!(spread(bad, &[("Foo of src/a.rs", 2)]), 0, "{bad}");
        assert_eq!(spread(bad, &[("Foo of src/a.rs", 3)]), 1, "{bad}");
    }
    for good in [
        "impl Clone for Foo<u8> {",
        "struct Foo;\nimpl Foo {",
        "// impl Foo<u8> {",
        "#[cfg(test)]\nmod tests {\nimpl Foo<u8> {",
    ] {
        assert_eq!(spread(good, &[]), 0, "{good}");
        assert_eq!(spread(good, &[("Foo of src/a.rs", 2)]), 1, "{good}");
    }
}

#[test]
fn unchecked_sums_are_found() {
    let lint = "//! X\n\n#![warn(clippy::arithmetic_side_effects)]\n";
    let found = |parent: &str, child: &str, path: &str| {
        let mut sources = text("src/vfs/mod.rs", parent);
        sources.extend(text(path, child));
        unchecked_sums(&sources, &["src/vfs/path"]).len()
    };
    assert_eq!(found("", "", "src/vfs/path.rs"), 1);
    assert_eq!(
        found("", &lint.replace("#!", "// #!"), "src/vfs/path.rs"),
        1
    );
    assert_eq!(found("", lint, "src/vfs/path.rs"), 0);
    assert_eq!(found(lint, "", "src/vfs/path/deep.rs"), 0);
    assert_eq!(found("", "", "src/other.rs"), 0);
}

#[test]
fn commits_abroad_are_found() {
    let call = "store.put(&location, payload, PutObject { object })";
    let found = |path| commits_abroad(&text(path, call), "src/session/commit.rs").len();
    assert_eq!(found("src/session/names.rs"), 1);
    assert_eq!(found("src/session/commit.rs"), 0);
    assert_eq!(found("src/storage/probe.rs"), 0);
}

#[test]
fn crates_abroad_and_impurities_are_found() {
    let homes: &[(&str, &[&str])] = &[("russh", &["src/ssh/"])];
    assert_eq!(
        crates_abroad(&text("src/vfs/x.rs", "use russh::Y;"), homes).len(),
        1
    );
    assert!(crates_abroad(&text("src/ssh/x.rs", "use russh::Y;"), homes).is_empty());
    assert!(crates_abroad(&text("src/x.rs", "\"russh::server\""), homes).is_empty());
    for bad in [
        "async fn f() {}",
        "x.await",
        "Instant::now()",
        "use tokio::sync::X;",
    ] {
        assert_eq!(
            impurities(&text("src/vfs/x.rs", bad), PURE).len(),
            1,
            "{bad}"
        );
    }
    assert!(impurities(&text("src/ssh/x.rs", "x.await"), PURE).is_empty());
}

#[test]
fn long_files_and_empty_names_are_found() {
    assert_eq!(too_long(&text("x.rs", &"\n".repeat(701)), &[]).len(), 1);
    assert_eq!(too_long(&text("x.rs", ""), &[("x.rs", 800)]).len(), 1);
    for bad in [
        "pub struct UserData {",
        "mod utils;",
        "pub(crate) trait FooHandler: X {",
    ] {
        assert_eq!(empty_names(&text("x.rs", bad)).len(), 1, "{bad}");
    }
    assert!(
        empty_names(&text(
            "x.rs",
            "struct Database; // struct Data\nimpl Handler for X"
        ))
        .is_empty()
    );
}

#[test]
fn dead_links_missing_tests_and_foreign_words_are_found() {
    let files = BTreeSet::from(["docs/a.md".to_owned()]);
    let dead = |link: &str| dead_links(&text("docs/x/y.md", link), &files).len();
    assert_eq!(dead("[a](../b.md)"), 1);
    assert_eq!(
        dead("[a](../a.md#part) [b](https://example.com) [c](../..//docs)"),
        0
    );
    let rust = text("tests/it.rs", "fn it_holds() {}");
    let unproved = |text: &str| unproved_promises(text, &rust).len();
    assert_eq!(unproved("# S\n\n## P\n\nWords.\n"), 1);
    assert_eq!(unproved("# S\n\n## P\n\nTests: `it_does_not`\n"), 1);
    assert_eq!(unproved("# S\n\n## P\n\nTests: `it_holds`\n"), 0);
    assert_eq!(
        foreign_words(&text("x", FOREIGN_TO_A_REPOSITORY[0])).len(),
        1
    );
}
