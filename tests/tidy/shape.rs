//! The checks of shape: which files import each other, in how many files a type is written, which
//! are compiled with a lint of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::Text;
use super::checks::{is_of_name, occurrences, reachable, without_tests};

const ARITHMETIC_LINT: &str = "\n#![warn(clippy::arithmetic_side_effects)]";

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Circles of files under `src/`: none where `none_in` says so, elsewhere exactly those listed.
pub(crate) fn circles(sources: &[Text], none_in: &[&str], listed: &[&[&str]]) -> Vec<String> {
    let found = strongly_connected(&files_imported(sources));
    let mut complaints = Vec::new();
    for circle in &found {
        let names = circle.join(", ");
        if let Some(folder) = none_in
            .iter()
            .find(|folder| circle.iter().any(|file| file.starts_with(**folder)))
        {
            complaints.push(format!("{folder} has a circle of files: {names}"));
        } else if !listed.iter().any(|allowed| allowed == circle) {
            complaints.push(format!("a circle of files that is not listed: {names}"));
        }
    }
    for allowed in listed {
        if !found.iter().any(|circle| circle == allowed) {
            complaints.push(format!(
                "the listed circle is not there any more as it stands: {}",
                allowed.join(", ")
            ));
        }
    }
    complaints
}

fn strongly_connected(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> = graph
        .keys()
        .map(|file| (file, reachable(graph, file)))
        .collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if !others.contains(*file) {
            continue;
        }
        let members = others.iter().filter(|other| {
            reached
                .get(other)
                .is_some_and(|back| back.contains(file.as_str()))
        });
        circles.insert(members.cloned().collect::<Vec<_>>());
    }
    circles.into_iter().collect()
}

/// Who imports whom. What a module only passes on (`pub use self::x::Y`) is imported from where
/// it is written.
fn files_imported(sources: &[Text]) -> Graph {
    let texts: Vec<(&str, Vec<String>, String)> = sources
        .iter()
        .map(|(path, text)| (path.as_str(), module_path(path), without_tests(text)))
        .collect();
    let files: BTreeMap<&[String], &str> = texts
        .iter()
        .map(|(path, module, _)| (module.as_slice(), *path))
        .collect();
    let mut passed_on = BTreeMap::new();
    for (_, module, text) in &texts {
        for path in re_exports(text).flat_map(expand) {
            if let Some(name) = path.last() {
                let mut alias = module.clone();
                alias.push(name.clone());
                passed_on.insert(alias, absolute(module, &path));
            }
        }
    }
    let mut graph = Graph::new();
    for (path, module, text) in &texts {
        for import in paths_named(text, module, &files) {
            let mut import = absolute(module, &import);
            // A name may be passed on more than once on its way up.
            for _ in 0..4 {
                let alias = (1..=import.len())
                    .rev()
                    .find_map(|n| passed_on.get_key_value(import.split_at(n).0));
                let Some((alias, target)) = alias.filter(|(alias, target)| alias != target) else {
                    break;
                };
                let rest = import.split_off(alias.len());
                import = target.iter().cloned().chain(rest).collect();
            }
            let file = (1..=import.len())
                .rev()
                .find_map(|n| files.get(import.split_at(n).0));
            if let Some(file) = file.filter(|file| *file != path) {
                let imported = graph.entry((*path).to_owned()).or_default();
                imported.insert((*file).to_owned());
            }
        }
    }
    graph
}

/// `src/session/list.rs` is `session`, `list`; `src/session/mod.rs` is `session`.
fn module_path(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    inside.split('/').map(str::to_owned).collect()
}

/// The trees behind `pub use self::`, beginning with `self`.
fn re_exports(text: &str) -> impl Iterator<Item = &str> {
    text.split("\npub").skip(1).filter_map(|rest| {
        let rest = match rest.strip_prefix('(') {
            Some(scoped) => scoped.split_once(')')?.1,
            None => rest,
        };
        let tree = rest.trim_start().strip_prefix("use ")?;
        tree.starts_with("self::").then_some(tree)
    })
}

/// Every path of the text that leads to a module of the crate, as it is written.
fn paths_named(
    text: &str,
    module: &[String],
    files: &BTreeMap<&[String], &str>,
) -> Vec<Vec<String>> {
    let passed_on: Vec<*const u8> = re_exports(text).map(str::as_ptr).collect();
    let mut roots = vec!["crate".to_owned(), "super".to_owned(), "self".to_owned()];
    roots.extend(files.keys().filter_map(|file| {
        let (name, parent) = file.split_last()?;
        (parent == module).then(|| name.clone())
    }));
    let mut found = Vec::new();
    for root in &roots {
        for (before, _) in occurrences(text, &format!("{root}::")) {
            let tree = text.split_at(before.len()).1;
            let begins = !before.ends_with(|c: char| is_of_name(c) || c == ':');
            if begins && !passed_on.contains(&tree.as_ptr()) {
                found.extend(expand(tree));
            }
        }
    }
    found
}

/// `a::{b::C, d}` is `a::b::C` and `a::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    expand_after(&[], tree, &mut found);
    found
}

/// Returns what follows the tree.
fn expand_after<'a>(prefix: &[String], tree: &'a str, found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = tree.trim_start();
    loop {
        if let Some(mut group) = rest.strip_prefix('{') {
            while !group.is_empty() {
                group = expand_after(&path, group, found).trim_start();
                // A name may be given another: `a as b`.
                let end = group.find([',', '}']).unwrap_or(group.len());
                let (_, after) = group.split_at(end);
                match after.strip_prefix(',') {
                    Some(next) if !next.trim_start().starts_with('}') => group = next,
                    Some(_) | None => {
                        let (_, after) = after.split_once('}').unwrap_or_default();
                        return after;
                    }
                }
            }
            return group;
        }
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !name.is_empty() && (name != "self" || path.is_empty()) {
            path.push(name.to_owned());
        }
        match after.strip_prefix("::") {
            Some(next) if !name.is_empty() => rest = next,
            Some(_) | None => {
                found.push(path);
                return after;
            }
        }
    }
}

fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut whole = module.to_vec();
    for (at, name) in path.iter().enumerate() {
        match (at, name.as_str()) {
            (0, "crate") => whole.clear(),
            (_, "super") => drop(whole.pop()),
            (_, "self") => {}
            (_, _) => whole.push(name.clone()),
        }
    }
    whole
}

/// A pure module is compiled with the lint against sums that overflow, or one above it is.
pub(crate) fn unchecked_sums(sources: &[Text], pure: &[&str]) -> Vec<String> {
    let checked: BTreeSet<Vec<String>> = sources
        .iter()
        .filter(|(_, text)| text.contains(ARITHMETIC_LINT))
        .map(|(path, _)| module_path(path))
        .collect();
    let mut complaints = Vec::new();
    for (path, _) in sources {
        let module = module_path(path);
        let is_pure = pure.iter().any(|prefix| path.starts_with(prefix));
        if is_pure && !(1..=module.len()).any(|n| checked.contains(module.split_at(n).0)) {
            complaints.push(format!("{path}: a pure module without {ARITHMETIC_LINT}"));
        }
    }
    complaints
}

/// A type whose methods are spread over more than two files has no file of its own.
pub(crate) fn spread_types(sources: &[Text], most: usize, listed: &[(&str, usize)]) -> Vec<String> {
    let texts: Vec<(&str, String)> = sources
        .iter()
        .map(|(path, text)| (path.as_str(), without_tests(text)))
        .collect();
    let mut homes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (path, text) in &texts {
        for name in types_defined(text) {
            homes.entry(name).or_default().push(path);
        }
    }
    let mut written: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in &texts {
        for name in types_implemented(text) {
            let of_name = homes.get(&name).into_iter().flatten();
            let home = of_name.max_by_key(|home| in_common(home, path));
            let key = format!("{name} of {}", home.unwrap_or(&"elsewhere"));
            written.entry(key).or_default().insert(path);
        }
    }
    let mut complaints = Vec::new();
    for (key, files) in &written {
        let exception = listed.iter().find(|(name, _)| name == key);
        let allowed = exception.map_or(most, |(_, files)| *files);
        if files.len() > allowed {
            let files: Vec<&str> = files.iter().copied().collect();
            complaints.push(format!("{key}: methods in {}", files.join(", ")));
        }
    }
    for (key, files) in listed {
        if written.get(*key).map_or(0, BTreeSet::len) < *files || *files <= most {
            complaints.push(format!("{key}: the exception is larger than needed"));
        }
    }
    complaints
}

fn in_common(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    if a == b { usize::MAX } else { same }
}

fn types_defined(text: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| word.starts_with("pub"));
        matches!(words.next(), Some("struct" | "enum" | "union")).then(|| name_at(words.next()?))?
    };
    text.lines().filter_map(of_line).collect()
}

/// The types of `impl X {`, without those of `impl Y for X {`.
fn types_implemented(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (before, rest) in occurrences(text, "impl") {
        let line = before.rsplit('\n').next().unwrap_or_default();
        if !line.trim().is_empty() || rest.starts_with(is_of_name) {
            continue;
        }
        let header = rest.split('{').next().unwrap_or_default();
        let header = after_generics(header).trim_start();
        let header = header.split("where").next().unwrap_or_default();
        if header.split_whitespace().any(|word| word == "for") {
            continue;
        }
        let name = header.split('<').next().unwrap_or_default();
        found.extend(name_at(name.rsplit("::").next().unwrap_or_default()));
    }
    found
}

fn after_generics(header: &str) -> &str {
    if !header.starts_with('<') {
        return header;
    }
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, c) in header.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if last != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return header.split_at(at + 1).1;
        }
        last = c;
    }
    header
}

fn name_at(text: &str) -> Option<String> {
    let name: String = text.trim().chars().take_while(|c| is_of_name(*c)).collect();
    (!name.is_empty()).then_some(name)
}
