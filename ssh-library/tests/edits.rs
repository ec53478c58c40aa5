//! What the edits of the library may be.

#[path = "../build/edits.rs"]
mod edits;

use std::path::Path;

use edits::Edit;

/// Lines of all edits together: anchors and what stands there instead.
const LINES_MAX: usize = 300;

const HEAD: &str = "why: a\ntest: b\nupstream: c";

fn all() -> Vec<Edit> {
    edits::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("edits")).unwrap()
}

#[test]
fn the_edits_are_few_and_short() {
    let mut sum = 0;
    for edit in all() {
        for place in &edit.places {
            let (anchor, text) = place.lines();
            assert!(anchor <= edits::ANCHOR_LINES_MAX, "{}", edit.name);
            sum += anchor + text;
        }
    }
    assert!(sum <= LINES_MAX, "{sum} lines of edits");
}

#[test]
fn every_edit_has_a_test() {
    let mut sources = String::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests"),
        &mut sources,
    );
    for edit in all() {
        for test in &edit.tests {
            assert!(
                sources.contains(&format!("fn {test}()")),
                "{}: no test `{test}`",
                edit.name
            );
        }
    }
}

fn read(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The library is compiled with the dependencies of this package: they must be its own.
#[test]
fn dependencies_are_those_of_the_library() {
    let table = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        text.parse::<toml::Table>().unwrap()
    };
    let library = table(concat!(env!("OUT_DIR"), "/russh/Cargo.toml"));
    let mut wanted = library["dependencies"].as_table().unwrap().clone();
    // What no feature that we build with switches on.
    wanted.retain(|name, about| {
        about.get("optional").is_none() || ["aws-lc-rs", "pkcs1", "rsa"].contains(&name)
    });
    let everywhere = &library["target"]["cfg(not(target_arch = \"wasm32\"))"]["dependencies"];
    let mut own = table(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))["dependencies"]
        .as_table()
        .unwrap()
        .clone();
    own.remove("original");
    own.remove("tracing");
    let about = |name: &str, about: &toml::Value| {
        let version = match name {
            // A later one is needed by a module of ours.
            "aws-lc-rs" => "",
            _ => about.get("version").unwrap_or(about).as_str().unwrap(),
        };
        let mut features = strings(about.get("features"));
        if name == "tokio" {
            features.extend(strings(everywhere["tokio"].get("features")));
        }
        if name == "ssh-key" {
            features.push("rsa".to_owned());
        }
        features.sort();
        features.dedup();
        let defaults = about.get("default-features").and_then(toml::Value::as_bool);
        (
            name.to_owned(),
            version.to_owned(),
            features,
            defaults.unwrap_or(true),
        )
    };
    let wanted: Vec<_> = wanted.iter().map(|(name, it)| about(name, it)).collect();
    let own: Vec<_> = own.iter().map(|(name, it)| about(name, it)).collect();
    assert_eq!(own, wanted);
}

fn strings(list: Option<&toml::Value>) -> Vec<String> {
    let list = list.and_then(toml::Value::as_array);
    let texts = list.into_iter().flatten().filter_map(toml::Value::as_str);
    texts.map(str::to_owned).collect()
}

#[test]
fn an_edit_changes_the_one_place_that_it_names() {
    for (position, expected) in [
        ("before", "one\nnew\ntwo\nthree\n"),
        ("after", "one\ntwo\nnew\nthree\n"),
        ("replace", "one\nnew\nthree\n"),
    ] {
        let edit = format!("{HEAD}\n@@ {position} src/x.rs\ntwo\n==\nnew\n");
        let mut files = [("src/x.rs".to_owned(), "one\ntwo\nthree\n".to_owned())];
        Edit::parse("01", &edit).unwrap().apply(&mut files).unwrap();
        assert_eq!(files[0].1.trim_end(), expected.trim_end());
    }
}

#[test]
fn an_edit_that_does_not_fit_is_named() {
    for (place, text) in [
        ("src/x.rs\ntwo", "one\nthree\n"),
        ("src/x.rs\ntwo", "two\none\ntwo\n"),
        ("src/x.rs\ntwo", "  two\n"),
        ("src/y.rs\ntwo", "two\n"),
        ("src/x.rs\na\nb\nc\nd", "a\nb\nc\nd\n"),
    ] {
        let edit = format!("{HEAD}\n@@ before {place}\n==\nnew\n");
        let mut files = [("src/x.rs".to_owned(), text.to_owned())];
        let edit = Edit::parse("07-the-name", &edit).unwrap();
        let error = edit.apply(&mut files).unwrap_err().to_string();
        assert!(error.contains("`07-the-name`"), "{error}");
    }
    for text in [
        "",
        "why: a\n@@ before x\n",
        "why: \ntest: b\nupstream: c\n@@ before x\na\n==\n",
    ] {
        assert!(Edit::parse("08", text).is_err(), "{text}");
    }
}
