//! What the next start remembers of servers: a directory for each, with a document, its host keys
//! and its users.

use std::fs;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::admin::server_settings::ServerSettings;
use crate::config;
use crate::idp::service_managed::{Directory, Documents, Fault, InMemory, Tag, TakenRoom};
use crate::idp::whole_file;
use crate::limits;
use crate::ssh::{HostKey, HostKeys};

/// The document of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct KeptServer {
    pub(super) port: u16,
    /// Receives clients, unless something is in the way.
    pub(super) online: bool,
    pub(super) settings: ServerSettings,
    pub(super) tags: Vec<Tag>,
}

/// Where servers are remembered; nowhere without a directory.
#[derive(Debug)]
pub(super) struct State {
    root: Option<String>,
    taken: TakenRoom,
}

impl State {
    pub(super) fn of(state: Option<&str>) -> Self {
        let root = state.map(|state| format!("{}/servers", state.trim_end_matches('/')));
        let taken = TakenRoom::default();
        Self { root, taken }
    }

    fn place(&self, id: &str) -> Option<String> {
        self.root.as_ref().map(|root| format!("{root}/{id}"))
    }

    /// Returns every server that is remembered, in the order of their ids.
    ///
    /// # Errors
    /// Names the document that cannot be read.
    pub(super) fn all(&self) -> anyhow::Result<Vec<(String, KeptServer)>> {
        let Some(root) = &self.root else {
            return Ok(Vec::new());
        };
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {root:?}"))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {root:?}"))?;
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            let document = format!("{root}/{id}/{DOCUMENT}");
            // One that was being made, or deleted, when the process ended.
            if !fs::exists(&document).unwrap_or(true) {
                continue;
            }
            let read = || -> anyhow::Result<KeptServer> {
                let text = config::read_text(&document, limits::CONFIG_FILE_BYTES_MAX)?;
                let kept: KeptServer = serde_json::from_str(&text)?;
                kept.settings.check()?;
                Ok(kept)
            };
            let kept = read().with_context(|| format!("{document:?} cannot be used"))?;
            all.push((id, kept));
        }
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// Remembers a server as it is now.
    pub(super) fn keep(&self, id: &str, kept: &KeptServer) -> Result<(), Fault> {
        let Some(place) = self.place(id) else {
            return Ok(());
        };
        let write = || -> io::Result<()> {
            fs::create_dir_all(&place)?;
            let (document, beside) = (format!("{place}/{DOCUMENT}"), format!("{place}/.new"));
            let mut text = serde_json::to_vec_pretty(kept)?;
            text.push(b'\n');
            whole_file::replace(&document, &beside, &text).map(drop)
        };
        write().map_err(|error| unwritable(&place, &error))
    }

    /// Forgets a server; what cannot be removed means nothing without its document.
    pub(super) fn forget(&self, id: &str) -> Result<(), Fault> {
        let Some(place) = self.place(id) else {
            return Ok(());
        };
        match fs::remove_file(format!("{place}/{DOCUMENT}")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unwritable(&place, &error));
            }
            Ok(()) | Err(_) => {}
        }
        if let Err(error) = fs::remove_dir_all(&place)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(place, %error, "the rest of a deleted server cannot be removed");
        }
        Ok(())
    }

    /// Returns where the users of a server are.
    pub(super) fn users(&self, id: &str) -> Arc<dyn Documents> {
        match self.place(id) {
            Some(place) => Arc::new(Directory::of(&format!("{place}/users"), id)),
            None => Arc::new(InMemory::new(self.taken.clone())),
        }
    }

    /// Returns the host keys of a server: the one that was given, or made ones.
    pub(super) fn host_keys(&self, id: &str) -> Result<HostKeys, Fault> {
        let keys = || {
            let Some(place) = self.place(id) else {
                return HostKey::generate_all();
            };
            let given = format!("{place}/{GIVEN}");
            let files = match fs::exists(&given)? {
                true => vec![given],
                false => HostKey::kept_in(&place)?,
            };
            files.iter().map(|file| HostKey::load(file)).collect()
        };
        let keys = keys().and_then(HostKeys::new);
        keys.map_err(|error| Fault::Unavailable(format!("host keys: {error}")))
    }

    /// Remembers a host key that was given.
    pub(super) fn keep_host_key(&self, id: &str, key: &HostKey) -> Result<(), Fault> {
        let Some(place) = self.place(id) else {
            return Ok(());
        };
        let beside = format!("{place}/{GIVEN}.new");
        let write = || {
            fs::create_dir_all(&place)?;
            // Left by a process that ended in the middle.
            if fs::exists(&beside)? {
                fs::remove_file(&beside)?;
            }
            key.save(&beside)?;
            Ok(fs::rename(&beside, format!("{place}/{GIVEN}"))?)
        };
        write().map_err(|error: crate::ssh::HostKeyError| {
            Fault::Unavailable(format!("host key in {place:?}: {error}"))
        })
    }
}

fn unwritable(place: &str, error: &io::Error) -> Fault {
    Fault::Unavailable(format!("{place:?} cannot be written: {error}"))
}

const DOCUMENT: &str = "server.json";
const GIVEN: &str = "given_host_key";
