//! What a configuration was read from, kept to read the files again that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::path::ENVIRONMENT_PREFIX;
use super::problem::{ConfigErrors, Place, Problem};
use super::value_file::ValueFile;
use super::{Config, Identity, PROBE_PASSWORD_FILE, Purpose, read_text};
use crate::causes;
use crate::limits;
use crate::secret::Secret;

/// The text of the configuration file and the environment, as they were at the start.
pub struct Origin {
    path: Option<String>,
    text: Option<Secret>,
    environment: BTreeMap<String, String>,
}

impl Origin {
    /// Reads the file and the process's environment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: Option<&str>) -> Result<Self, ConfigErrors> {
        let text = path.map(|path| (path, read(path))).map(|(path, text)| {
            text.map(Secret::new).map_err(|error| {
                let why = causes::system(&error);
                let message = format!("the configuration cannot be read: {why}");
                ConfigErrors::new(vec![Problem::new(Place::Nowhere, path, message)])
            })
        });
        // A variable that is not UTF-8 cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .filter(|(name, _)| name != PROBE_PASSWORD_FILE)
            .collect();
        Ok(Self {
            path: path.map(str::to_owned),
            text: text.transpose()?,
            environment,
        })
    }

    /// Builds the configuration, and reads the files that it names.
    ///
    /// # Errors
    /// As [`Config::from_sources`].
    pub fn config(&self, purpose: Purpose) -> Result<Config, ConfigErrors> {
        let text = self.text.as_ref().map(Secret::expose);
        Config::from_sources(text, &self.environment, &read, purpose)
            .map_err(|errors| errors.in_file(self.path.as_deref()))
    }

    /// The same for a gateway that runs with `held`: a value is replaced there, and not taken away,
    /// since a file that is empty may be one that is just being written.
    ///
    /// # Errors
    /// As [`Config::from_sources`]; also where a file has become empty, unless it is that of a
    /// second value, which comes and goes.
    pub fn config_again(&self, held: &Config) -> Result<Config, ConfigErrors> {
        let config = self.config(Purpose::Serve)?;
        let emptied = |file: &&ValueFile| {
            let before = held
                .files
                .iter()
                .find(|other| other.setting == file.setting);
            file.is_empty() && !file.is_second() && before.is_some_and(|before| !before.is_empty())
        };
        let problems = config.files.iter().filter(emptied).map(|file| {
            let message = format!("{:?} is empty now; restart to leave it out", file.path);
            Problem::new(Place::Nowhere, &*file.setting, message)
        });
        let problems: Vec<_> = problems.collect();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors::new(problems))
        }
    }

    /// Says whether the configuration file reads otherwise by now.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let now = self.path.as_deref().map(read);
        match (now, &self.text) {
            (Some(Ok(now)), Some(then)) => now != then.expose(),
            (Some(_) | None, _) => false,
        }
    }
}

fn read(path: &str) -> io::Result<String> {
    read_text(path, limits::CONFIG_FILE_BYTES_MAX)
}

/// The environment may hold secrets.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origin").field(&self.path).finish()
    }
}

impl Config {
    /// Returns the settings whose files read otherwise than in `held`.
    #[must_use]
    pub fn values_changed_since<'c>(&'c self, held: &Self) -> Vec<&'c str> {
        let is_new = |file: &&ValueFile| !held.files.iter().any(|old| old.says_the_same_as(file));
        let changed = self.files.iter().filter(is_new);
        changed.map(|file| &*file.setting).collect()
    }
}

impl Identity {
    /// Says whether everything that may come from a file is the same in both.
    #[must_use]
    pub fn has_values_of(&self, other: &Self) -> bool {
        values(self) == values(other)
    }
}

fn values(identity: &Identity) -> (Vec<Option<&str>>, Vec<(&str, &str)>) {
    fn exposed(secret: Option<&Secret>) -> Option<&str> {
        secret.map(Secret::expose)
    }
    let identity = &identity.table;
    let headers = identity.headers.iter();
    (
        vec![
            identity.ca_pem.as_deref(),
            identity.client_certificate_pem.as_deref(),
            exposed(identity.client_key_pem.as_ref()),
            exposed(identity.hmac_secret.as_ref()),
            exposed(identity.hmac_secret_next.as_ref()),
            exposed(identity.aws.secret_access_key.as_ref()),
            exposed(identity.aws.session_token.as_ref()),
        ],
        headers
            .map(|(name, value)| (&**name, value.expose()))
            .collect(),
    )
}
