//! What the compiler does not check: the import law, homes of foreign crates, purity, sizes, names,
//! links. Each check is a function from texts to complaints, and has a sample that it complains of.

use std::collections::{BTreeMap, BTreeSet};

/// A text and its path in the repository.
type Text = (String, String);

// ---- the laws ----

/// Modules by level, highest first: imports point down, or sideways without a circle.
const LEVELS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["gateway", "admin"],
    &["ssh"],
    &["session", "auth"],
    &["idp", "audit", "reaper"],
    &["vfs", "config"],
    &[
        "sftp",
        "transfer",
        "storage",
        "budget",
        "limits",
        "clock",
        "secret",
        "metrics",
        "telemetry",
    ],
];

/// Imports that break the law for a reason; one that is no longer there is a complaint too.
const IMPORT_EXCEPTIONS: &[(&str, &str)] = &[
    // The order of requests is about virtual paths; both are pure.
    ("src/transfer/order.rs", "vfs"),
    // The sizes of slots follow the schedule of parts, and parts are filled slots.
    ("src/budget.rs", "transfer"),
];

/// The one place of each foreign crate that stands for a boundary.
const HOMES: &[(&str, &[&str])] = &[
    ("russh", &["src/ssh/", "src/cli/probe.rs"]),
    ("russh_sftp", &["src/cli/probe.rs"]),
    ("aws_config", &["src/storage/"]),
    ("aws_credential_types", &["src/storage/"]),
    ("aws_sdk_s3", &["src/storage/"]),
    ("aws_smithy_http_client", &["src/storage/"]),
    ("aws_smithy_runtime_api", &["src/storage/"]),
    ("aws_smithy_types", &["src/storage/"]),
    ("reqwest", &["src/idp/webhook"]),
    ("moka", &["src/idp/cache"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("hyper", &["src/admin.rs", "src/cli/bundled_webhook.rs"]),
    (
        "hyper_util",
        &[
            "src/admin.rs",
            "src/cli/bundled_webhook.rs",
            "src/storage/s3/",
        ],
    ),
    ("prometheus_client", &["src/metrics"]),
    ("tracing_subscriber", &["src/telemetry.rs"]),
    ("toml", &["src/config/"]),
    ("socket2", &["src/ssh/"]),
    ("embedded_s3", &["src/cli/quickstart"]),
];

const PURE: &[&str] = &[
    "src/vfs/",
    "src/sftp/",
    "src/transfer/",
    "src/session/plan.rs",
    "src/idp/wire",
    "src/auth/keys.rs",
];

const IMPURE: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::thread",
    "TcpStream",
];

const LINES_MAX: usize = 500;

/// Files that are longer than they should be; they may only shrink.
const LONGER: &[(&str, usize)] = &[];

const BANNED_WORDS: &[&str] = &[
    "Manager",
    "Helper",
    "Helpers",
    "Util",
    "Utils",
    "Common",
    "Handler",
    "Processor",
    "Service",
    "Wrapper",
    "Impl",
    "Factory",
    "Data",
    "Info",
    "Context",
    "Ctx",
    "Backend",
    "Misc",
];

/// What says where the text was written rather than what it is about.
const FOREIGN_TO_A_REPOSITORY: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("../sha", "red"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("arti", "factory"),
];

#[test]
fn imports_point_down() {
    let sources = sources();
    assert_clean(broken_imports(&sources, LEVELS, IMPORT_EXCEPTIONS));
}

#[test]
fn foreign_crates_stay_at_home() {
    assert_clean(crates_abroad(&sources(), HOMES));
}

#[test]
fn pure_modules_have_no_effects() {
    assert_clean(impurities(&sources(), PURE));
}

#[test]
fn files_are_short() {
    let rust = repository(|path| path.ends_with(".rs"));
    assert_clean(too_long(&rust, LONGER));
}

#[test]
fn names_say_something() {
    let rust = repository(|path| path.ends_with(".rs") && !path.starts_with("tests/"));
    assert_clean(empty_names(&rust));
}

#[test]
fn links_of_documents_lead_somewhere() {
    let documents = repository(|path| path.ends_with(".md"));
    let files = repository(|_| true).into_iter().map(|(path, _)| path);
    assert_clean(dead_links(&documents, &files.collect()));
}

#[test]
fn every_promise_names_its_tests() {
    let rust = repository(|path| path.ends_with(".rs"));
    for (_, text) in repository(|path| path == "docs/semantics.md") {
        assert_clean(unproved_promises(&text, &rust));
    }
}

#[test]
fn the_repository_speaks_of_itself_alone() {
    assert_clean(foreign_words(&repository(|path| path != "Cargo.lock")));
}

// ---- the checks ----

fn broken_imports(
    sources: &[Text],
    levels: &[&[&str]],
    exceptions: &[(&str, &str)],
) -> Vec<String> {
    let level = |module: &str| levels.iter().position(|names| names.contains(&module));
    let mut complaints = Vec::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (path, text) in sources.iter().filter(|(path, _)| path != "src/lib.rs") {
        let module = module_of(path);
        for import in imports(&without_tests(text)) {
            if import == module {
                continue;
            }
            if let Some(at) = exceptions
                .iter()
                .position(|e| *e == (path.as_str(), import.as_str()))
            {
                used.insert(at);
                continue;
            }
            match (level(&module), level(&import)) {
                (Some(from), Some(to)) if to >= from => {
                    graph.entry(module.clone()).or_default().insert(import);
                }
                (Some(_), Some(_)) => {
                    complaints.push(format!("{path}: {import} is above {module}"))
                }
                _ => complaints.push(format!("{path}: {module} or {import} has no level")),
            }
        }
    }
    for (at, (path, import)) in exceptions.iter().enumerate() {
        if !used.contains(&at) {
            complaints.push(format!(
                "{path}: the exception for {import} is not needed any more"
            ));
        }
    }
    for start in graph.keys() {
        if reachable(&graph, start).contains(start) {
            complaints.push(format!("{start} imports itself through others"));
        }
    }
    complaints
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![start.to_owned()];
    while let Some(module) = next.pop() {
        for import in graph.get(&module).into_iter().flatten() {
            if seen.insert(import.clone()) {
                next.push(import.clone());
            }
        }
    }
    seen
}

/// Finds the first segment after `crate::`, also in `use crate::{a::B, c}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::", "portcullis::"] {
        for (at, _) in text.match_indices(root) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &text[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group)),
                None => found.extend(head(rest)),
            }
        }
    }
    found
}

fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut begins = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && !c.is_whitespace() => {
                heads.extend(head(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

fn head(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

fn module_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside
        .split(['/', '.'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn crates_abroad(sources: &[Text], homes: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in sources {
        let text = without_tests(text);
        for (name, homes) in homes {
            let root = format!("{name}::");
            let named = text.match_indices(&root).any(|(at, _)| {
                !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '"'))
            });
            if named && !homes.iter().any(|home| path.starts_with(home)) {
                complaints.push(format!("{path}: {name} lives in {}", homes.join(", ")));
            }
        }
    }
    complaints
}

fn impurities(sources: &[Text], pure: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in sources {
        if !pure.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        let text = without_tests(text);
        for word in IMPURE.iter().filter(|word| text.contains(**word)) {
            complaints.push(format!("{path}: {word} in a pure module"));
        }
    }
    complaints
}

fn too_long(texts: &[Text], longer: &[(&str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in texts {
        let exception = longer.iter().find(|(name, _)| name == path);
        let most = exception.map_or(LINES_MAX, |(_, lines)| *lines);
        let lines = text.lines().count();
        if lines > most {
            complaints.push(format!("{path}: {lines} lines; allowed: {most}"));
        } else if exception.is_some() && lines <= LINES_MAX {
            complaints.push(format!("{path}: needs no exception any more"));
        }
    }
    complaints
}

fn empty_names(texts: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in texts {
        for line in without_comments(text).lines() {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| word.starts_with("pub"));
            if !matches!(
                words.next(),
                Some("struct" | "enum" | "trait" | "type" | "mod")
            ) {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let name = name
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            let parts = name_words(name.unwrap_or_default());
            if let Some(word) = parts
                .iter()
                .find(|word| BANNED_WORDS.contains(&word.as_str()))
            {
                complaints.push(format!("{path}: {word} says nothing: {}", line.trim()));
            }
        }
    }
    complaints
}

/// Splits `FooBar` and `foo_bar` into `Foo` and `Bar`.
fn name_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for c in name.chars() {
        if c == '_' {
            begins = true;
        } else if begins || c.is_uppercase() {
            words.push(c.to_uppercase().collect());
            begins = false;
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words
}

fn dead_links(documents: &[Text], files: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let full = resolve(folder, target);
            let below = format!("{full}/");
            let exists = files.contains(&full) || files.iter().any(|file| file.starts_with(&below));
            if !exists {
                complaints.push(format!("{path}: {target} is not there"));
            }
        }
    }
    complaints
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Each `## heading` has a line `Tests: ...` that names test functions.
fn unproved_promises(semantics: &str, rust: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for section in semantics.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap_or_default();
        let names: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("Tests: "))
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .collect();
        if names.is_empty() {
            complaints.push(format!("docs/semantics.md: {heading}: no line `Tests: …`"));
        }
        for name in names {
            let function = format!("fn {name}(");
            if !rust.iter().any(|(_, text)| text.contains(&function)) {
                complaints.push(format!("docs/semantics.md: {heading}: no test {name}"));
            }
        }
    }
    complaints
}

fn foreign_words(texts: &[Text]) -> Vec<String> {
    let found = texts.iter().flat_map(|(path, text)| {
        let words = FOREIGN_TO_A_REPOSITORY.iter();
        let words = words.filter(|word| text.to_ascii_lowercase().contains(**word));
        words.map(move |word| format!("{path}: {word}"))
    });
    found.collect()
}

// ---- reading ----

fn assert_clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn sources() -> Vec<Text> {
    let is_source = |path: &str| path.starts_with("src/") && path.ends_with(".rs");
    repository(|path| is_source(path) && !path.ends_with("/tests.rs"))
}

/// Returns the files of the repository that are text, without what is built or ignored.
fn repository(wanted: impl Fn(&str) -> bool) -> Vec<Text> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(format!("{root}/{folder}")).expect("a folder can be read");
        for entry in entries {
            let entry = entry.expect("a folder can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = resolve(&folder, &name);
            let kind = entry.file_type().expect("a file has a type");
            if matches!(&*name, "target" | ".git" | ".venv" | "__pycache__") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if wanted(&path)
                && let Ok(text) = std::fs::read_to_string(format!("{root}/{path}"))
            {
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    without_comments(code.unwrap_or_default())
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| match line.find("//") {
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    code.collect::<Vec<_>>().join("\n")
}

// ---- each check can fail ----

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
    assert_eq!(too_long(&text("x.rs", &"\n".repeat(501)), &[]).len(), 1);
    assert_eq!(too_long(&text("x.rs", ""), &[("x.rs", 600)]).len(), 1);
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
