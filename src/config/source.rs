//! Where values come from: the file and the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::path::ENVIRONMENT_PREFIX;
use super::problem::{Place, Problem};
use super::settings::{FAMILIES, Family, Kind, SETTINGS, Setting, is_repeated, join, variable};
use super::value::Raw;
use super::value_file::ValueFile;
use crate::causes;
use crate::secret::Secret;
use crate::spelling::nearest;

/// Everything that was written, by `section.key`.
#[derive(Default)]
pub(super) struct Sources {
    file: BTreeMap<String, Given>,
    environment: BTreeMap<String, Given>,
    /// The tables of families, such as `provider.staff`.
    members: BTreeSet<String>,
    /// The file is no TOML: nothing else that it says can be judged.
    is_no_toml: bool,
}

/// A key of the file and where it stands.
type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

/// A value and where it stands.
#[derive(Clone)]
struct Given {
    place: Place,
    raw: Raw,
}

impl Sources {
    /// Reads both sources; unknown names are problems.
    pub(super) fn read(
        toml_text: Option<&str>,
        environment: &BTreeMap<String, String>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut sources = Self::default();
        if let Some(text) = toml_text {
            sources.read_file(text, problems);
        }
        sources.read_environment(environment, problems);
        sources
    }

    /// Says whether the file cannot be read as TOML.
    pub(super) const fn is_no_toml(&self) -> bool {
        self.is_no_toml
    }

    /// Returns where a setting was written, the winning source first.
    pub(super) fn place(&self, path: &str) -> Place {
        let file = format!("{path}_file");
        let given = |all: &BTreeMap<String, Given>| {
            let given = all.get(path).or_else(|| all.get(&file))?;
            Some(given.place.clone())
        };
        given(&self.environment)
            .or_else(|| given(&self.file))
            .unwrap_or(Place::Nowhere)
    }

    /// Says whether a setting was written anywhere.
    pub(super) fn has(&self, path: &str) -> bool {
        self.place(path) != Place::Nowhere
    }

    /// Says what was written for a setting, where that can be shown.
    pub(super) fn found(&self, path: &str) -> Option<String> {
        let (setting, is_file) = find(path)?;
        let may_be_shown = !is_file
            && !matches!(
                setting.kind,
                Kind::Secret(_) | Kind::Headers(_) | Kind::FileText(_)
            );
        let given = self.environment.get(path).or_else(|| self.file.get(path))?;
        may_be_shown.then(|| given.raw.found())
    }

    /// Returns the names under which tables of a family were written.
    pub(super) fn names(&self, family: &Family) -> BTreeSet<String> {
        let name = |member: &String| {
            let name = member.strip_prefix(family.table)?.strip_prefix('.')?;
            Some(name.to_owned())
        };
        self.members.iter().filter_map(name).collect()
    }

    /// Puts the value that a setting has in a section into the configuration, if it was written
    /// anywhere.
    pub(super) fn apply(
        &self,
        setting: &Setting,
        section: &str,
        config: &mut Config,
        read_file: &dyn Fn(&str) -> io::Result<String>,
        problems: &mut Vec<Problem>,
    ) {
        let path = join(section, setting.key);
        let file_path = setting.file_key().map(|key| join(section, &key));
        let [from_environment, from_file] = [&self.environment, &self.file].map(|all| {
            let by_file = file_path.as_ref().and_then(|path| all.get(path));
            (all.get(&path), by_file)
        });
        let written = match (from_environment, from_file) {
            ((None, None), written) | (written, _) => written,
        };
        let (given, is_file_name) = match written {
            (None, None) => return,
            (Some(_), Some(twice)) => {
                let message = format!("allowed: {path} or {path}_file, not both");
                problems.push(Problem::new(twice.place.clone(), path, message));
                return;
            }
            (Some(given), None) => (given, matches!(setting.kind, Kind::FileText(_))),
            (None, Some(given)) => (given, true),
        };
        let result = if is_file_name {
            from_named_file(setting, &path, given, config, read_file)
        } else {
            setting.kind.set(given.raw.clone(), config)
        };
        if let Err(message) = result {
            problems.push(Problem::new(given.place.clone(), path, message));
        }
    }

    fn read_file(&mut self, text: &str, problems: &mut Vec<Problem>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        self.is_no_toml = !errors.is_empty();
        for error in errors {
            // The error's own text quotes the line, and that may hold a secret; a key holds none.
            let span = error.span().unwrap_or_default();
            let line = line_at(text, span.start);
            let message = match (error.message(), text.get(span)) {
                (TWICE, Some(key)) => format!("{TWICE} {key:?}"),
                (message, _) => message.to_owned(),
            };
            problems.push(Problem::new(Place::Line(line), "TOML", message));
        }
        for (key, value) in root.get_ref() {
            let name = key.get_ref().as_ref();
            let is_section = SETTINGS
                .iter()
                .any(|setting| !setting.section.is_empty() && setting.section == name);
            let family = FAMILIES.iter().find(|family| family.table == name);
            if let (Some(family), DeValue::Table(tables)) = (family, value.get_ref()) {
                for (name, table) in tables {
                    self.take_member(text, family, name, table, problems);
                }
            } else if let (true, DeValue::Table(table)) = (is_section, value.get_ref()) {
                for (key, value) in table {
                    self.take(text, name, key, value, problems);
                }
            } else {
                self.take(text, "", key, value, problems);
            }
        }
    }

    /// Takes `[table.name]`.
    fn take_member(
        &mut self,
        text: &str,
        family: &Family,
        name: &Key<'_>,
        table: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let section = join(family.table, name.get_ref());
        let place = Place::Line(line_at(text, name.span().start));
        let DeValue::Table(table) = table.get_ref() else {
            let message = format!("allowed: tables, for example [{}.main]", family.table);
            problems.push(Problem::new(place, section, message));
            return;
        };
        if !Family::takes_name(name.get_ref()) {
            let message = "allowed: a name of lower-case letters and digits, up to 32";
            problems.push(Problem::new(place, section, message));
            return;
        }
        for (key, value) in table {
            self.take(text, &section, key, value, problems);
        }
        self.members.insert(section);
    }

    fn take(
        &mut self,
        text: &str,
        section: &str,
        key: &Key<'_>,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let path = join(section, key.get_ref());
        let place = Place::Line(line_at(text, key.span().start));
        if find(&path).is_none() {
            let is_section = section.is_empty() && matches!(value.get_ref(), DeValue::Table(_));
            problems.push(if is_section {
                unknown_section(place, &path)
            } else {
                unknown(place, path)
            });
            return;
        }
        let raw = Raw::from_toml(value.get_ref());
        self.file.insert(path, Given { place, raw });
    }

    fn read_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
        problems: &mut Vec<Problem>,
    ) {
        for (name, text) in environment {
            if !name.starts_with(ENVIRONMENT_PREFIX) || is_service_link(name) {
                continue;
            }
            let place = Place::Variable(name.clone());
            let path = paths()
                .find(|path| variable(path) == *name)
                .or_else(|| member_path(name));
            let Some(path) = path else {
                problems.push(unknown(place, name.clone()));
                continue;
            };
            if let Some((member, _)) = path.rsplit_once('.').filter(|(s, _)| s.contains('.')) {
                self.members.insert(member.to_owned());
            }
            let raw = match find(&path) {
                Some((setting, false)) => Raw::from_variable(text, &setting.kind),
                Some((_, true)) | None => Raw::Text(text.clone()),
            };
            self.environment.insert(path, Given { place, raw });
        }
    }
}

fn from_named_file(
    setting: &Setting,
    path: &str,
    given: &Given,
    config: &mut Config,
    read_file: &dyn Fn(&str) -> io::Result<String>,
) -> Result<(), String> {
    let Raw::Text(name) = &given.raw else {
        let found = given.raw.found();
        return Err(format!("found {found}; allowed: the name of a file"));
    };
    let text = read_file(name)
        .map_err(|error| format!("cannot read {name:?}: {}", causes::system(&error)))?;
    config.files.push(ValueFile {
        setting: path.to_owned(),
        path: name.clone(),
        text: Secret::new(text.clone()),
    });
    if let Kind::FileText(field) = setting.kind {
        *field(config) = Some(text);
        return Ok(());
    }
    let set = setting.kind.set(Raw::Text(text), config);
    set.map_err(|message| format!("in {name:?}: {message}"))
}

/// Finds the setting of a path; `true` = the path is the one that names a file instead.
fn find(path: &str) -> Option<(&'static Setting, bool)> {
    for family in FAMILIES {
        let member = path
            .strip_prefix(family.table)
            .and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
        if let Some((_, key)) = member {
            return family.settings().find_map(|setting| is_key(setting, key));
        }
    }
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    SETTINGS
        .iter()
        .filter(|setting| setting.section == section && !is_repeated(section))
        .find_map(|setting| is_key(setting, key))
}

fn is_key<'s>(setting: &'s Setting, key: &str) -> Option<(&'s Setting, bool)> {
    if setting.key == key {
        return Some((setting, false));
    }
    (setting.file_key()? == key).then_some((setting, true))
}

/// Returns `provider.staff.url` for the variable of that setting.
fn member_path(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(ENVIRONMENT_PREFIX)?;
    FAMILIES.iter().find_map(|family| {
        let table = family.table.to_ascii_uppercase();
        let (name, key) = name
            .strip_prefix(&*table)?
            .strip_prefix('_')?
            .split_once('_')?;
        let (name, key) = (name.to_ascii_lowercase(), key.to_ascii_lowercase());
        let path = format!("{}.{name}.{key}", family.table);
        (Family::takes_name(&name) && find(&path).is_some()).then_some(path)
    })
}

/// Returns every path that may be written.
fn paths() -> impl Iterator<Item = String> {
    let once = SETTINGS
        .iter()
        .filter(|setting| !is_repeated(setting.section));
    once.flat_map(|setting| {
        let file_path = setting.file_key().map(|key| join(setting.section, &key));
        std::iter::once(setting.path()).chain(file_path)
    })
}

fn unknown_section(place: Place, name: &str) -> Problem {
    let tables = FAMILIES.iter().map(|family| family.table);
    let once = SETTINGS.iter().map(|setting| setting.section);
    let all: BTreeSet<&str> = once
        .filter(|section| !section.is_empty() && !is_repeated(section))
        .chain(tables)
        .collect();
    let message = match nearest(name, &all) {
        Some(section) => format!("unknown section; did you mean [{section}]?"),
        None => {
            let all: Vec<_> = all.iter().map(|section| format!("[{section}]")).collect();
            format!("unknown section; allowed: {}", all.join(", "))
        }
    };
    Problem::new(place, format!("[{name}]"), message)
}

fn unknown(place: Place, name: String) -> Problem {
    let message = match place {
        Place::Variable(_) => nearest(&name, paths().map(|path| variable(&path)))
            .map(|spelt| format!("unknown setting; did you mean {spelt}?")),
        Place::Line(_) | Place::Nowhere => elsewhere(&name).or_else(|| {
            let spelt = nearest(&name, paths())?;
            Some(format!("unknown setting; did you mean {spelt}?"))
        }),
    };
    let message = message
        .unwrap_or_else(|| "unknown setting; docs/configuration.md lists them all".to_owned());
    Problem::new(place, name, message)
}

/// Says where a setting belongs that stands in another section, as one does that was written below
/// the header of the next.
fn elsewhere(path: &str) -> Option<String> {
    let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
    let sections: BTreeSet<String> = paths()
        .filter_map(|path| match path.rsplit_once('.') {
            Some((section, of)) => (of == key).then(|| format!("[{section}]")),
            None => (path == key).then(|| "the top, before the first section".to_owned()),
        })
        .collect();
    let sections: Vec<_> = sections.into_iter().collect();
    let place = match &*sections {
        [] => return None,
        [one] if one.starts_with('[') => format!("under {one}"),
        [one] => format!("at {one}"),
        more => format!("in one of {}", more.join(", ")),
    };
    Some(format!("unknown setting here; it belongs {place}"))
}

/// What the library says of a key that stands there twice.
const TWICE: &str = "duplicate key";

/// Says whether Kubernetes set the variable for a Service whose name begins with `portcullis`.
fn is_service_link(name: &str) -> bool {
    let is_port = |text: &str| {
        let mut parts = text.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        let what = matches!(parts.next(), None | Some("PORT" | "PROTO" | "ADDR"));
        number && protocol && what
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| is_port(rest))
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let ends = before.iter().filter(|byte| **byte == b'\n').count();
    ends.saturating_add(1)
}
