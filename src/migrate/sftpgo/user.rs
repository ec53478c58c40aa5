//! One user of SFTPGo, and the table of a users file.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::input::{InputError, Node};
use super::super::toml_text::{list, quoted};
use super::folders::{At, Row};
use crate::clock::written;
use crate::idp::static_file;

/// A user who moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Moved {
    name: String,
    password_hash: Option<String>,
    public_keys: Vec<String>,
    home: Option<String>,
    mappings: Vec<String>,
    /// Of the mappings.
    pub(super) places: Vec<At>,
    networks: Vec<String>,
    limits: Vec<String>,
    expires_at: Option<String>,
}

impl Moved {
    /// Reads everything but the mappings.
    pub(super) fn read(
        name: &str,
        user: &Node<'_>,
        hindered: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, InputError> {
        let mut moved = Self {
            name: name.to_owned(),
            public_keys: user.texts("public_keys")?,
            ..Self::default()
        };
        if user.number("status")? != 1 {
            hindered.push("disabled".to_owned());
        }
        if !user.nodes("groups")?.is_empty() {
            hindered.push("a member of groups, whose settings do not move".to_owned());
        }
        moved.take_password(user, notes)?;
        moved.take_times(user, hindered)?;
        moved.take_limits(user, notes)?;
        if let Some(filters) = user.node("filters")? {
            moved.take_filters(&filters, hindered, notes)?;
        }
        let is_keyless = moved.public_keys.is_empty();
        if moved.password_hash.is_none() && is_keyless && hindered.is_empty() {
            hindered.push("no public key, and no password hash that can move".to_owned());
        }
        Ok(moved)
    }

    fn take_password(
        &mut self,
        user: &Node<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), InputError> {
        let Some(hash) = user.filled("password")? else {
            return Ok(());
        };
        let is_known = ["$argon2id$", "$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|beginning| hash.starts_with(beginning));
        if is_known {
            self.password_hash = Some(hash);
        } else {
            // Nothing of the hash itself: it may be the password.
            notes.push(
                "the password does not move: its hash is neither bcrypt nor argon2id".to_owned(),
            );
        }
        Ok(())
    }

    fn take_times(
        &mut self,
        user: &Node<'_>,
        hindered: &mut Vec<String>,
    ) -> Result<(), InputError> {
        let milliseconds = user.number("expiration_date")?;
        if milliseconds <= 0 {
            return Ok(());
        }
        let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
        match SystemTime::UNIX_EPOCH.checked_add(since) {
            Some(end) => self.expires_at = Some(written(end)),
            None => hindered.push("expiration_date is no time".to_owned()),
        }
        Ok(())
    }

    fn take_limits(&mut self, user: &Node<'_>, notes: &mut Vec<String>) -> Result<(), InputError> {
        let sessions = user.number("max_sessions")?;
        if sessions > 0 {
            self.limits.push(format!("sessions = {sessions}"));
        }
        let (up, down) = (
            user.number("upload_bandwidth")?,
            user.number("download_bandwidth")?,
        );
        let least = [up, down].into_iter().filter(|kib| *kib > 0).min();
        if let Some(bytes) = least.and_then(|kib| kib.checked_mul(1_024)) {
            self.limits.push(format!("bytes_per_second = {bytes}"));
            if up != down {
                notes.push("one rate limit holds both ways: the lower one".to_owned());
            }
        }
        for quota in [
            "quota_size",
            "quota_files",
            "total_data_transfer",
            "upload_data_transfer",
            "download_data_transfer",
        ] {
            if user.number(quota)? > 0 {
                notes.push(format!("{quota} does not move: the gateway has no quotas"));
            }
        }
        Ok(())
    }

    fn take_filters(
        &mut self,
        filters: &Node<'_>,
        hindered: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<(), InputError> {
        self.networks = filters.texts("allowed_ip")?;
        if !filters.texts("denied_ip")?.is_empty() {
            hindered.push("denied_ip has no counterpart".to_owned());
        }
        let denied = filters.texts("denied_login_methods")?;
        let is_denied = |method: &str| denied.iter().any(|one| one == method);
        if is_denied("password") || is_denied("password-over-SSH") {
            self.password_hash = None;
        }
        if is_denied("publickey") {
            self.public_keys.clear();
        }
        if denied.iter().any(|method| method.contains('+')) && !is_denied("publickey") {
            notes.push("logins with several methods: set identity.methods for all".to_owned());
        }
        if filters
            .texts("denied_protocols")?
            .iter()
            .any(|one| one == "SSH")
        {
            hindered.push("denied the protocol SSH".to_owned());
        }
        for list in ["file_patterns", "file_extensions"] {
            if !filters.nodes(list)?.is_empty() {
                hindered.push(format!("{list} have no counterpart"));
            }
        }
        if let Some(totp) = filters.node("totp_config")?
            && totp.is_true("enabled")
        {
            hindered.push("a second factor (TOTP) has no counterpart".to_owned());
        }
        let is_asked = |one: &String| one == "SSH";
        if filters.texts("two_factor_protocols")?.iter().any(is_asked) {
            hindered.push("a second factor is asked for over SSH".to_owned());
        }
        if filters
            .filled("start_directory")?
            .is_some_and(|path| path != "/")
        {
            hindered.push("start_directory has no counterpart".to_owned());
        }
        // Whatever else is set may be there to keep somebody out.
        for name in filters.names().filter(|name| !FILTERS.contains(name)) {
            if filters.value(name).is_some_and(says_something) {
                hindered.push(format!("the filter {name} has no counterpart"));
            }
        }
        let largest = filters.number("max_upload_file_size")?;
        if largest > 0 {
            self.limits.push(format!("file_bytes = {largest}"));
        }
        Ok(())
    }

    /// Adds a mapping.
    pub(super) fn map(&mut self, row: &Row, access: &str) {
        if row.entry == "/home" {
            self.home = Some(row.entry.clone());
        }
        self.places.push(row.at.clone());
        let (entry, target) = (quoted(&row.entry), quoted(&row.target));
        self.mappings.push(format!(
            "{{ entry = {entry}, target = {target}, access = \"{access}\" }}"
        ));
    }

    /// Returns the table of the users file.
    pub(super) fn table(&self) -> String {
        let mut text = format!("\n[users.{}]\n", quoted(&self.name));
        // Writing to a string does not fail.
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        if let Some(hash) = &self.password_hash {
            line("password_hash", &quoted(hash));
        }
        if !self.public_keys.is_empty() {
            line(
                "public_keys",
                &list(self.public_keys.iter().map(String::as_str)),
            );
        }
        if let Some(home) = &self.home {
            line("home", &quoted(home));
        }
        line("mappings", &format!("[{}]", self.mappings.join(", ")));
        if !self.networks.is_empty() {
            line("networks", &list(self.networks.iter().map(String::as_str)));
        }
        if !self.limits.is_empty() {
            line("limits", &format!("{{ {} }}", self.limits.join(", ")));
        }
        if let Some(end) = &self.expires_at {
            line("expires_at", end);
        }
        text
    }

    /// Says why the gateway would refuse the user.
    pub(super) fn fault(&self) -> Option<String> {
        let checked = static_file::check(&self.table());
        let problems = checked.err()?.to_string();
        let problem = problems.lines().next().unwrap_or_default();
        // The line and the key of a table that is not written are of no use.
        let why = problem.split_once(": ").map_or(problem, |(_, why)| why);
        Some(why.to_owned())
    }
}

/// Says whether a member is set: an object is if one of its own is.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_something),
    }
}

/// Filters that are read, and those that are about FTP, `WebDAV`, the web client, the API, or hooks
/// that the gateway does not call.
const FILTERS: &[&str] = &[
    "allowed_ip",
    "denied_ip",
    "denied_login_methods",
    "denied_protocols",
    "file_patterns",
    "file_extensions",
    "max_upload_file_size",
    "start_directory",
    "totp_config",
    "two_factor_protocols",
    "additional_emails",
    "allow_api_key_auth",
    "default_shares_expiration",
    "disable_fs_checks",
    "enforce_secure_algorithms",
    "external_auth_cache_time",
    "ftp_security",
    "hooks",
    "max_shares_expiration",
    "password_strength",
    "recovery_codes",
    "tls_certs",
    "tls_username",
    "user_type",
    "web_client",
];
