//! Users of SFTPGo, out of its JSON dump: static users and a configuration.
//!
//! What a user may do must not grow by the move: where permissions, filters or a file system of
//! SFTPGo have no counterpart, the user is left out by name, unless the operator accepts wider
//! permissions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use self::folders::{Folders, Store, mappings};
use self::user::Moved;
use super::import::Imported;
use super::input::{InputError, Node, kind};
use super::toml_text::{comment, quoted};
use crate::limits;

mod folders;
mod user;

/// What a dump holds, as far as it moves.
#[derive(Debug, Default)]
pub struct Sftpgo {
    users: BTreeMap<String, Moved>,
    /// A dump or several of them may have the folders apart from the users.
    stores: BTreeMap<Store, usize>,
    left_out: Vec<String>,
    notes: Vec<String>,
}

/// Where the files are to be, and what may become wider.
#[derive(Debug, Clone, Copy)]
pub struct SftpgoPlaces<'a> {
    pub into: &'a str,
    pub port: u16,
    /// Permissions that cannot be expressed become wider instead of leaving the user out.
    pub may_widen: bool,
}

impl Sftpgo {
    /// Takes in a dump, or one user of the REST API.
    ///
    /// # Errors
    /// It is no JSON, no dump, or a member is not as it should be.
    pub fn read(
        &mut self,
        file: &str,
        text: &str,
        places: SftpgoPlaces<'_>,
    ) -> Result<(), InputError> {
        let fault = |place: String, why: String| InputError {
            file: file.to_owned(),
            place,
            why,
        };
        let value: Value =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
                let why = format!("not JSON (column {})", error.column());
                fault(format!("line {}", error.line()), why)
            })?;
        let Value::Object(members) = &value else {
            let why = format!("expected a dump of SFTPGo, found {}", kind(&value));
            return Err(fault("top level".to_owned(), why));
        };
        let root = Node::root(file, members);
        if !root.has("users") {
            return Err(root.fault("users", "missing; expected a dump of SFTPGo (dumpdata)"));
        }
        let folders = Folders::read(&root)?;
        for user in root.nodes("users")? {
            let name = user.need("username")?;
            self.take(&name, &user, &folders, places.may_widen)?;
        }
        if self.users.len() > limits::MOVED_USERS_MAX {
            let most = limits::MOVED_USERS_MAX;
            return Err(root.fault("users", format!("more than {most} users")));
        }
        for (list, what) in [
            ("groups", "groups do not move: their members are left out"),
            (
                "admins",
                "administrators do not move: there is no web interface",
            ),
            (
                "event_rules",
                "event rules do not move: use S3's notifications",
            ),
            ("shares", "shares do not move"),
        ] {
            let count = root.nodes(list)?.len();
            if count > 0 {
                self.notes.push(format!("{count} {list}: {what}"));
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        name: &str,
        user: &Node<'_>,
        folders: &Folders,
        may_widen: bool,
    ) -> Result<(), InputError> {
        let mut hindered = Vec::new();
        let mut notes = Vec::new();
        let folders_of_user = user.nodes("virtual_folders")?;
        let entries = folders_of_user
            .iter()
            .map(|folder| folder.need("virtual_path"));
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        let rows = mappings(user, folders, &mut hindered, &mut notes)?;
        let mut moved = Moved::read(name, user, &mut hindered, &mut notes)?;
        for row in rows {
            match row.access(user, &entries)? {
                (access, None) => moved.map(&row, access),
                (access, Some(wider)) if may_widen => {
                    notes.push(format!("{}: {wider}", row.entry));
                    moved.map(&row, access);
                }
                (_, Some(wider)) => hindered.push(format!("{}: {wider} (--widen)", row.entry)),
            }
            let uses = self.stores.entry(row.store).or_default();
            *uses = uses.saturating_add(1);
        }
        if hindered.is_empty()
            && let Some(why) = moved.fault()
        {
            hindered.push(why);
        }
        let of_user = |text: String| format!("user {name}: {text}");
        self.notes.extend(notes.into_iter().map(of_user));
        if hindered.is_empty() {
            self.users.insert(name.to_owned(), moved);
        } else {
            self.left_out.push(of_user(hindered.join("; ")));
        }
        Ok(())
    }

    /// Returns the text of the users file, and the configuration beside it.
    #[must_use]
    pub fn import(self, places: SftpgoPlaces<'_>) -> (String, Imported) {
        let mut text = String::from("# Users out of a dump of SFTPGo.\n");
        if self.users.is_empty() {
            text += "\n[users]\n";
        }
        for user in self.users.values() {
            text += &user.table();
        }
        let mut notes = self.notes;
        let configuration = configuration(&self.stores, places, &mut notes);
        let imported = Imported {
            users: Vec::new(),
            configuration: Some(configuration),
            left_out: self.left_out,
            notes,
        };
        (text, imported)
    }

    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

fn configuration(
    stores: &BTreeMap<Store, usize>,
    places: SftpgoPlaces<'_>,
    notes: &mut Vec<String>,
) -> String {
    let into = places.into;
    let mut text = String::from("# The gateway in place of SFTPGo.\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "listen = \"0.0.0.0:{}\"", places.port);
    text +=
        "# Makes new host keys; name SFTPGo's in host_key_files, so that clients do not warn.\n";
    let _ = writeln!(
        text,
        "state_directory = {}",
        quoted(&format!("{into}/state"))
    );
    text += "\n[identity]\nprovider = \"static\"\n";
    let _ = writeln!(
        text,
        "users_file = {}",
        quoted(&format!("{into}/users.toml"))
    );
    let mut by_use: Vec<_> = stores.iter().collect();
    by_use.sort_by_key(|(_, uses)| std::cmp::Reverse(**uses));
    let mut by_use = by_use.into_iter();
    let Some((first, _)) = by_use.next() else {
        return text;
    };
    text += "\n[storage]\n";
    let region = first.region.as_deref().unwrap_or("us-east-1");
    let _ = writeln!(text, "region = {}", quoted(region));
    if let Some(endpoint) = &first.endpoint {
        let _ = writeln!(text, "endpoint = {}", quoted(endpoint));
        let _ = writeln!(text, "path_style = {}", first.path_style);
    }
    text += &comment("Keys are encrypted in a dump: set access_key_id and secret_access_key_file.");
    for (store, uses) in by_use {
        let endpoint = store.endpoint.as_deref().unwrap_or("AWS");
        let region = store.region.as_deref().unwrap_or("no region");
        notes.push(format!(
            "{uses} mappings are at another store ({endpoint}, {region}): add a table \
             [store.NAME] for their buckets"
        ));
    }
    text
}
