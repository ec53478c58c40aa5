//! What an import writes: documents of users, and a configuration, each whole or not at all.

use std::fmt::Write as _;
use std::fs;
use std::io;

use bytes::Bytes;
use serde_json::json;

use crate::causes;
use crate::config::read_text;
use crate::idp::service_managed::{Directory, Document, Documents as _};
use crate::idp::whole_file;
use crate::limits::DESCRIPTION_BYTES_MAX;
use crate::migrate::{Imported, plain};

/// What became of each file.
#[derive(Debug, Default)]
pub(super) struct Written {
    configuration: String,
    /// Where the new configuration is, if another one is there already and stays.
    kept: Option<String>,
    pub(super) new: usize,
    same: usize,
    replaced: usize,
}

/// A document that is to be written.
struct Planned {
    users: Directory,
    name: String,
    text: Bytes,
    held: Option<Document>,
}

/// A file that is to be written, and what is there.
struct Place {
    path: String,
    held: Option<String>,
}

impl Place {
    fn of(into: &str, name: &str) -> Result<Self, String> {
        let path = format!("{into}/{name}");
        let held = held(&path)?;
        Ok(Self { path, held })
    }

    fn is_same(&self, text: &str) -> bool {
        self.held.as_deref() == Some(text)
    }

    fn differs(&self, text: &str) -> bool {
        self.held.is_some() && !self.is_same(text)
    }
}

impl Planned {
    fn is_same(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.text == self.text)
    }
}

impl Written {
    /// Writes everything, or nothing if users differ and may not be replaced. A configuration that
    /// differs has been changed by the operator: the new one is written beside it.
    ///
    /// # Errors
    /// Which users differ, or what cannot be written.
    pub(super) async fn write(
        imported: &Imported,
        users_file: Option<&str>,
        into: &str,
        may_replace: bool,
    ) -> Result<Self, String> {
        let planned = plan(imported, into).await?;
        let users_file = match users_file {
            Some(text) => Some((text, Place::of(into, "users.toml")?)),
            None => None,
        };
        let configuration = match imported.configuration.as_deref() {
            Some(text) => Some((text, Place::of(into, "portcullis.toml")?)),
            None => None,
        };
        let differ = planned
            .iter()
            .filter(|one| one.held.is_some() && !one.is_same());
        let mut differ: Vec<_> = differ
            .map(|one| format!("{}/{}.json", one.users.path(), one.name))
            .collect();
        if let Some((text, place)) = &users_file
            && place.differs(text)
        {
            differ.push(place.path.clone());
        }
        if !differ.is_empty() && !may_replace {
            let more = differ.len().saturating_sub(SHOWN);
            differ.truncate(SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            return Err(format!(
                "nothing was written: {}{more} are there already and differ; --replace replaces \
                 them",
                differ.join(", ")
            ));
        }
        let mut written = Self::default();
        for one in planned {
            written.put(one).await?;
        }
        if let Some((text, place)) = users_file
            && !place.is_same(text)
        {
            put_file(into, &place.path, &place.path, text)?;
        }
        // The configuration is the last one.
        if let Some((text, place)) = configuration {
            if place.differs(text) {
                let beside = format!("{}.new", place.path);
                put_file(into, &place.path, &beside, text)?;
                written.kept = Some(beside);
            } else if !place.is_same(text) {
                put_file(into, &place.path, &place.path, text)?;
            }
            written.configuration = place.path;
        }
        Ok(written)
    }

    async fn put(&mut self, one: Planned) -> Result<(), String> {
        if one.is_same() {
            self.same = self.same.saturating_add(1);
            return Ok(());
        }
        let name = &one.name;
        let put = match &one.held {
            None => {
                self.new = self.new.saturating_add(1);
                one.users.create(name, one.text).await
            }
            Some(held) => {
                self.replaced = self.replaced.saturating_add(1);
                one.users.replace(name, one.text, &held.version).await
            }
        };
        put.map(drop)
            .map_err(|failure| format!("user {name}: {failure}"))
    }

    pub(super) fn text(&self, imported: &Imported) -> String {
        let mut text = String::new();
        let Self {
            configuration,
            kept,
            new,
            same,
            replaced,
        } = self;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "users: {new} new, {replaced} replaced, {same} unchanged; {} left out",
            imported.left_out.len()
        );
        if !configuration.is_empty() {
            let _ = match kept {
                None => writeln!(text, "configuration: {configuration}"),
                Some(new) => writeln!(
                    text,
                    "configuration: {configuration} is there already, differs, and stays; the new \
                     one is {new}: compare them"
                ),
            };
        }
        for note in &imported.notes {
            let _ = writeln!(text, "note: {}", plain(note));
        }
        text
    }

    pub(super) fn json(&self, imported: &Imported) -> String {
        let told = json!({
            "new": self.new,
            "replaced": self.replaced,
            "unchanged": self.same,
            "configuration": self.configuration,
            "newConfiguration": self.kept,
            "leftOut": imported.left_out,
            "notes": imported.notes,
        });
        format!("{told:#}\n")
    }
}

async fn plan(imported: &Imported, into: &str) -> Result<Vec<Planned>, String> {
    let mut planned = Vec::new();
    for (server, user) in &imported.users {
        let name = user.user_name.clone();
        let users = Directory::of(&format!("{into}/users"), server);
        let text = user
            .document()
            .map_err(|why| format!("user {name}: {why}"))?;
        let held = users.read(&name).await;
        let held = held.map_err(|failure| format!("user {name}: {failure}"))?;
        planned.push(Planned {
            users,
            name,
            text: text.into(),
            held,
        });
    }
    Ok(planned)
}

fn held(path: &str) -> Result<Option<String>, String> {
    match read_text(path, DESCRIPTION_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{path}: {}", causes::system(&error))),
    }
}

/// Writes a file beside its place, and puts it there once it is whole; a users file has hashes in
/// it, and is for whom the one before was (`model`).
fn put_file(into: &str, model: &str, path: &str, text: &str) -> Result<(), String> {
    let put = || {
        fs::create_dir_all(into)?;
        let beside = format!("{path}.writing");
        whole_file::replace_like(model, path, &beside, text.as_bytes()).map(drop)
    };
    put().map_err(|error: io::Error| format!("{path}: {}", causes::system(&error)))
}

const SHOWN: usize = 5;
