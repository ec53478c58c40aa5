//! Home directories and virtual folders, as mappings.

use std::collections::BTreeMap;

use super::super::input::{InputError, Node};

/// Virtual folders by their names.
#[derive(Debug, Default)]
pub(super) struct Folders(BTreeMap<String, Filesystem>);

/// Where files are.
#[derive(Debug, Clone)]
enum Filesystem {
    S3 {
        bucket: String,
        prefix: String,
        store: Store,
        path_style: bool,
    },
    Local(String),
    /// One that the gateway does not have.
    Other(&'static str),
}

/// An S3 that users are on.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Store {
    /// None: AWS.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
}

/// A bucket of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) store: Store,
    pub(super) bucket: String,
    pub(super) path_style: bool,
}

impl Store {
    /// Names the store for the operator.
    pub(super) fn name(&self) -> String {
        let endpoint = self.endpoint.as_deref().unwrap_or("AWS");
        format!("{endpoint}, {}", self.region)
    }
}

/// One mapping of a user.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) entry: String,
    /// Where permissions are looked up: SFTPGo's path.
    path: String,
    pub(super) target: String,
    pub(super) at: At,
}

impl Folders {
    pub(super) fn read(root: &Node<'_>) -> Result<Self, InputError> {
        let mut folders = BTreeMap::new();
        for folder in root.nodes("folders")? {
            let name = folder.need("name")?;
            folders.insert(name, Filesystem::read(&folder, "mapped_path")?);
        }
        Ok(Self(folders))
    }
}

impl Filesystem {
    fn read(node: &Node<'_>, local: &str) -> Result<Self, InputError> {
        let path = node.filled(local)?.unwrap_or_default();
        let Some(filesystem) = node.node("filesystem")? else {
            return Ok(Self::Local(path));
        };
        Ok(match filesystem.number("provider")? {
            0 => Self::Local(path),
            1 => {
                let Some(s3) = filesystem.node("s3config")? else {
                    return Err(filesystem.fault("s3config", "missing"));
                };
                let prefix = s3.filled("key_prefix")?.unwrap_or_default();
                let endpoint = s3.filled("endpoint")?;
                let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
                let region = s3.filled("region")?;
                Self::S3 {
                    bucket: s3.need("bucket")?,
                    prefix: prefix.trim_matches('/').to_owned(),
                    store: Store {
                        endpoint: endpoint.filter(|url| !url.is_empty()),
                        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
                    },
                    path_style: s3.is_true("force_path_style"),
                }
            }
            2 => Self::Other("Google Cloud Storage"),
            3 => Self::Other("Azure Blob Storage"),
            4 => Self::Other("an encrypted local file system"),
            5 => Self::Other("another SFTP server"),
            6 => Self::Other("an HTTP file system"),
            _ => Self::Other("an unknown file system"),
        })
    }

    fn row(&self, entry: &str, path: &str) -> Result<Row, String> {
        match self {
            Self::S3 {
                bucket,
                prefix,
                store,
                path_style,
            } => Ok(Row {
                entry: entry.to_owned(),
                path: path.to_owned(),
                target: match &**prefix {
                    "" => format!("/{bucket}"),
                    prefix => format!("/{bucket}/{prefix}"),
                },
                at: At {
                    store: store.clone(),
                    bucket: bucket.clone(),
                    path_style: *path_style,
                },
            }),
            Self::Local(place) => Err(format!(
                "{path} is the local directory {place}: serve it as a store \
                 (docs/stores.md#directories), or copy it to S3"
            )),
            Self::Other(what) => Err(format!("{path} is on {what}")),
        }
    }
}

/// Returns what a user sees. Where there are virtual folders, the home cannot be `/` as well.
pub(super) fn mappings(
    user: &Node<'_>,
    folders: &Folders,
    hindered: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Vec<Row>, InputError> {
    let mut rows = Vec::new();
    for folder in user.nodes("virtual_folders")? {
        let path = folder.need("virtual_path")?;
        let name = folder.filled("name")?.unwrap_or_default();
        // Older dumps have the folder's file system in the user.
        let own = Filesystem::read(&folder, "mapped_path")?;
        let filesystem = folders.0.get(&name).unwrap_or(&own);
        match filesystem.row(&path, &path) {
            Ok(row) => rows.push(row),
            Err(why) => hindered.push(why),
        }
    }
    let has_folders = !user.nodes("virtual_folders")?.is_empty();
    let home = Filesystem::read(user, "home_dir")?;
    let entry = if has_folders { HOME } else { "/" };
    match (home.row(entry, "/"), has_folders) {
        (Ok(_), true) if rows.iter().any(|row| row.entry == HOME) => {
            hindered.push(format!(
                "a virtual folder is named {HOME}, where the home would be"
            ));
        }
        (Ok(row), true) => {
            notes.push(format!(
                "the home is at {HOME}, beside the virtual folders, and sessions begin there"
            ));
            rows.push(row);
        }
        (Ok(row), false) => rows.push(row),
        (Err(why), false) => hindered.push(why),
        // The home of a user of virtual folders is often empty.
        (Err(why), true) => notes.push(format!("the home does not move: {why}")),
    }
    Ok(rows)
}

impl Row {
    /// Returns what the user may do there, and what of it is more than before; `entries` are all
    /// virtual folders, which have permissions of their own.
    pub(super) fn access(
        &self,
        user: &Node<'_>,
        entries: &[String],
    ) -> Result<(&'static str, Option<String>), InputError> {
        // Nobody may do anything without permissions.
        let Some(permissions) = user.node("permissions")? else {
            return Ok(access_of(&[]));
        };
        let above = permissions.names().filter(|path| covers(path, &self.path));
        let given = match above.max_by_key(|path| path.len()) {
            Some(path) => permissions.texts(path)?,
            None => Vec::new(),
        };
        for path in permissions.names() {
            let is_below = path != self.path && covers(&self.path, path);
            let is_of_other = |entry: &String| *entry != self.path && covers(entry, path);
            if is_below && !entries.iter().any(is_of_other) && permissions.texts(path)? != given {
                let (access, _) = access_of(&given);
                return Ok((access, Some(format!("{path} has permissions of its own"))));
            }
        }
        Ok(access_of(&given))
    }
}

/// Returns the access that is nearest to permissions, and what of it they do not say.
fn access_of(given: &[String]) -> (&'static str, Option<String>) {
    let has = |name: &str| given.iter().any(|one| one == name || one == "*");
    let is_given = |names: &&&[&str]| names.iter().any(|name| has(name));
    let access = match (has("download"), has("upload")) {
        (true, true) => "read-write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => {
            let why = "neither download nor upload is permitted";
            return ("read", Some(why.to_owned()));
        }
    };
    // Whatever a mapping allows, its names are shown.
    let mut missing = if has("list") { vec![] } else { vec!["list"] };
    if has("upload") {
        let changes = CHANGES.iter().filter(|names| !is_given(names));
        missing.extend(changes.filter_map(|names| names.last().copied()));
    }
    if !missing.is_empty() {
        let wider = format!("would also permit {}", missing.join(", "));
        return (access, Some(wider));
    }
    if has("upload") {
        return (access, None);
    }
    let changes = CHANGES.iter().any(|names| is_given(&names));
    let narrower = "would permit no change, where SFTPGo permits some without upload";
    (access, changes.then(|| narrower.to_owned()))
}

/// Says which permissions are about paths that a pattern stands for: no mapping is.
pub(super) fn patterns(user: &Node<'_>, hindered: &mut Vec<String>) -> Result<(), InputError> {
    let Some(permissions) = user.node("permissions")? else {
        return Ok(());
    };
    let patterns = permissions
        .names()
        .filter(|path| path.contains(['*', '?', '[']));
    for path in patterns {
        hindered.push(format!(
            "permissions of the pattern {path} have no counterpart"
        ));
    }
    Ok(())
}

/// Says whether a path is another one, or above it.
fn covers(above: &str, path: &str) -> bool {
    let above = above.trim_end_matches('/');
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What write access permits, by SFTPGo's names; any of a row is enough.
const CHANGES: &[&[&str]] = &[
    &["overwrite"],
    &["delete", "delete_files"],
    &["delete", "delete_dirs"],
    &["rename", "rename_files"],
    &["rename", "rename_dirs"],
    &["create_dirs"],
];

/// Where the home is if it cannot be everything.
const HOME: &str = "/home";
