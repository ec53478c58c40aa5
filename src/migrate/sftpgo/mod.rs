//! Users of SFTPGo, out of its JSON dump: static users and a configuration.
//!
//! What a user may do must not grow by the move: where permissions, filters or a file system of
//! SFTPGo have no counterpart, the user is left out by name, unless the operator accepts wider
//! permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use self::folders::{Folders, Store, mappings, patterns};
use self::user::Moved;
use super::import::Imported;
use super::input::{InputError, Node, kind};
use super::toml_text::{comment, list, quoted};
use crate::limits;

mod folders;
mod user;

/// What a dump holds, as far as it moves.
#[derive(Debug, Default)]
pub struct Sftpgo {
    users: BTreeMap<String, Taken>,
    notes: Vec<String>,
}

/// A user of a dump.
#[derive(Debug)]
struct Taken {
    file: String,
    /// Or why not.
    moved: Result<Moved, String>,
}

/// What is at a store.
#[derive(Debug, Default)]
struct Uses {
    mappings: usize,
    buckets: BTreeSet<String>,
    path_style: bool,
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
        for name in root.names().filter(|name| !TAKEN.contains(name)) {
            let count = match root.value(name) {
                Some(Value::Array(items)) => items.len(),
                Some(Value::Object(members)) => members.len(),
                _ => 0,
            };
            if count > 0 {
                let known = NOT_MOVED.iter().find(|(list, _)| *list == name);
                let what = known.map_or("nothing of it moves", |(_, what)| what);
                self.notes.push(format!("{count} {name}: {what}"));
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
        patterns(user, &mut hindered)?;
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
        }
        if hindered.is_empty()
            && let Some(why) = moved.fault()
        {
            hindered.push(why);
        }
        let moved = if hindered.is_empty() {
            Ok(moved)
        } else {
            Err(hindered.join("; "))
        };
        if let Some(held) = self.users.get(name) {
            if held.moved == moved {
                return Ok(());
            }
            let why = format!(
                "user {name} is described otherwise in {}; leave one of them out",
                held.file
            );
            return Err(user.fault("username", why));
        }
        let of_user = |text: String| format!("user {name}: {text}");
        self.notes.extend(notes.into_iter().map(of_user));
        let file = user.file().to_owned();
        self.users.insert(name.to_owned(), Taken { file, moved });
        Ok(())
    }

    /// Returns the text of the users file, what is beside it, and the number of users who move.
    #[must_use]
    pub fn import(self, places: SftpgoPlaces<'_>) -> (String, Imported, usize) {
        let mut users = BTreeMap::new();
        let mut left_out = Vec::new();
        for (name, taken) in self.users {
            match taken.moved {
                Ok(moved) => drop(users.insert(name, moved)),
                Err(why) => left_out.push(format!("user {name}: {why}")),
            }
        }
        without_ambiguous(&mut users, &mut left_out);
        let mut text = String::from("# Users out of a dump of SFTPGo.\n");
        if users.is_empty() {
            text += "\n[users]\n";
        }
        for user in users.values() {
            text += &user.table();
        }
        let mut stores: BTreeMap<Store, Uses> = BTreeMap::new();
        for at in users.values().flat_map(|user| &user.places) {
            let uses = stores.entry(at.store.clone()).or_default();
            uses.mappings = uses.mappings.saturating_add(1);
            uses.buckets.insert(at.bucket.clone());
            uses.path_style |= at.path_style;
        }
        let mut notes = self.notes;
        let configuration = configuration(&stores, places, &mut notes);
        let imported = Imported {
            users: Vec::new(),
            configuration: Some(configuration),
            left_out,
            notes,
        };
        (text, imported, users.len())
    }
}

/// Takes users away whose bucket has the name of one at another store: a mapping names the bucket
/// only, and would lead some of them to the files of others.
fn without_ambiguous(users: &mut BTreeMap<String, Moved>, left_out: &mut Vec<String>) {
    let mut stores: BTreeMap<String, BTreeSet<Store>> = BTreeMap::new();
    for at in users.values().flat_map(|user| &user.places) {
        let of_name = stores.entry(at.bucket.clone()).or_default();
        of_name.insert(at.store.clone());
    }
    stores.retain(|_, of_name| of_name.len() > 1);
    users.retain(|name, user| {
        let mut places = user.places.iter();
        let Some((bucket, of_name)) = places.find_map(|at| stores.get_key_value(&at.bucket)) else {
            return true;
        };
        let of_name: Vec<_> = of_name.iter().map(Store::name).collect();
        left_out.push(format!(
            "user {name}: several stores have a bucket {bucket} ({}), and a mapping cannot tell \
             them apart",
            of_name.join("; ")
        ));
        false
    });
}

/// Lists of a dump that are read.
const TAKEN: &[&str] = &["users", "folders"];

const NOT_MOVED: &[(&str, &str)] = &[
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
    (
        "ip_lists",
        "lists of addresses do not move: whom they kept out can connect; use a firewall, or \
         networks of the users",
    ),
    (
        "configs",
        "settings of SFTPGo itself do not move: compare them with docs/configuration.md",
    ),
];

fn configuration(
    stores: &BTreeMap<Store, Uses>,
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
    by_use.sort_by_key(|(_, uses)| std::cmp::Reverse(uses.mappings));
    for (at, (store, uses)) in (1_usize..).zip(by_use) {
        if at == 1 {
            text += "\n[storage]\n";
        } else {
            let name = format!("store{at}");
            let buckets = list(uses.buckets.iter().map(String::as_str));
            let _ = writeln!(text, "\n[store.{name}]\nbuckets = {buckets}");
            notes.push(format!(
                "{} mappings are at another store ({}): [store.{name}] needs its keys",
                uses.mappings,
                store.name()
            ));
        }
        let _ = writeln!(text, "region = {}", quoted(&store.region));
        if let Some(endpoint) = &store.endpoint {
            let _ = writeln!(text, "endpoint = {}", quoted(endpoint));
            let _ = writeln!(text, "path_style = {}", uses.path_style);
        }
        text += &comment(KEYS);
    }
    text
}

const KEYS: &str = "Keys are encrypted in a dump: set access_key_id and secret_access_key_file.";
