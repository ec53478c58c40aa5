//! The checks: from texts to complaints.

use std::collections::{BTreeMap, BTreeSet};

use super::{BANNED_WORDS, FOREIGN_TO_A_REPOSITORY, IMPURE, LINES_MAX, NAMES_OF_AWS, Text};

pub(crate) fn broken_imports(
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
        for import in imports(&without_tests(text), &module) {
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
                    complaints.push(format!("{path}: {import} is above {module}"));
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

pub(crate) fn reachable(
    graph: &BTreeMap<String, BTreeSet<String>>,
    start: &str,
) -> BTreeSet<String> {
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

/// Finds the first segment after `crate::`, also in `use crate::{a::B, c}`; the binary calls the
/// library by its name.
fn imports(text: &str, module: &str) -> BTreeSet<String> {
    let root = if module == "main" {
        "portcullis::"
    } else {
        "crate::"
    };
    let mut found = BTreeSet::new();
    for (before, rest) in occurrences(text, root) {
        if before.ends_with(is_of_name) {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(head(rest)),
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
                heads.extend(head(group.split_at(at).1));
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

pub(crate) fn crates_abroad(sources: &[Text], homes: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in sources {
        let text = without_tests(text);
        for (name, homes) in homes {
            let root = format!("{name}::");
            let named = occurrences(&text, &root).any(|(before, _)| {
                !before.ends_with(|c: char| is_of_name(c) || matches!(c, ':' | '"'))
            });
            if named && !homes.iter().any(|home| path.starts_with(home)) {
                complaints.push(format!("{path}: {name} lives in {}", homes.join(", ")));
            }
        }
    }
    complaints
}

/// What makes something visible in a bucket is said in the storage and in one file beside it.
pub(crate) fn commits_abroad(sources: &[Text], door: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in sources {
        if path == door || path.starts_with("src/storage/") {
            continue;
        }
        let text = without_tests(text);
        for call in ["PutObject {", "CopyObject {", "CompleteUpload {"] {
            if text.contains(call) {
                complaints.push(format!("{path}: {call} … belongs to {door}"));
            }
        }
    }
    complaints
}

pub(crate) fn impurities(sources: &[Text], pure: &[&str]) -> Vec<String> {
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

pub(crate) fn too_long(texts: &[Text], longer: &[(&str, usize)]) -> Vec<String> {
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

pub(crate) fn empty_names(texts: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in texts {
        for line in without_comments(text).lines() {
            // An associated type has the name that its trait gave it.
            if line.trim_start().starts_with("type") && line.starts_with(' ') {
                continue;
            }
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
            let name = name.unwrap_or_default();
            if NAMES_OF_AWS.contains(&name) {
                continue;
            }
            let parts = name_words(name);
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

pub(crate) fn dead_links(documents: &[Text], files: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (_, rest) in occurrences(text, "](") {
            let target = rest.split(')').next().unwrap_or_default();
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

pub(crate) fn resolve(folder: &str, target: &str) -> String {
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
pub(crate) fn unproved_promises(semantics: &str, rust: &[Text]) -> Vec<String> {
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

pub(crate) fn foreign_words(texts: &[Text]) -> Vec<String> {
    let found = texts.iter().flat_map(|(path, text)| {
        let words = FOREIGN_TO_A_REPOSITORY.iter();
        let words = words.filter(|word| text.to_ascii_lowercase().contains(**word));
        words.map(move |word| format!("{path}: {word}"))
    });
    found.collect()
}

pub(crate) fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    without_comments(code.unwrap_or_default())
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| match line.split_once("//") {
        Some((code, _)) if !code.ends_with(':') => code,
        Some(_) | None => line,
    });
    code.collect::<Vec<_>>().join("\n")
}

/// Returns what stands before and after each place where the needle is.
pub(crate) fn occurrences<'a>(
    text: &'a str,
    needle: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.match_indices(needle).map(move |(at, _)| {
        let (before, rest) = text.split_at(at);
        (before, rest.strip_prefix(needle).unwrap_or_default())
    })
}

pub(crate) fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
