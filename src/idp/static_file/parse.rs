//! The file of users (pure): from its text to what each login is answered.
//!
//! It is as strict as the plain answer of a webhook, whose rules it shares: a key that is misspelt
//! or of another type refuses the whole file. All problems are told at once, each with its line.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use toml::de::{DeTable, DeValue};

use super::field::{Field, Lines, fields};
use super::objects;
use super::password::PasswordHash;
use crate::config::{ConfigErrors, Place, Problem};
use crate::idp::wire::keys::{self, KEY_TYPES};
use crate::idp::wire::{self, substitute, timestamp};
use crate::idp::{ListedKey, Network, NetworkError, UserConfig, UserLimits, is_unprintable};
use crate::limits;
use crate::refusal::Refusal;
use crate::vfs::{
    Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath, with_objects,
};

/// Everybody who may enter.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) by_name: BTreeMap<Box<str>, User>,
}

/// What one user is answered.
#[derive(Debug)]
pub(super) struct User {
    pub(super) password: Option<PasswordHash>,
    /// With the public keys; the answer to a password leaves them out.
    pub(super) config: Arc<UserConfig>,
    pub(super) without_keys: Arc<UserConfig>,
}

impl Users {
    /// Reads the whole file.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line, its key and what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let lines = &Lines::of(text);
        let mut problems = Vec::new();
        let mut users = Self::default();
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            // The error's own text quotes the line, and that may hold a hash.
            let line = lines.at(error.span().map_or(0, |span| span.start));
            problems.push(Problem::new(Place::Line(line), "TOML", error.message()));
        }
        for field in fields(lines, "", root.get_ref()) {
            let read = match &*field.path {
                "users" => field.table(lines),
                _ => Err(field.unknown("users")),
            };
            for user in keep(read, &mut problems).into_iter().flatten() {
                if let Some(parsed) = read_user(lines, &user, &mut problems) {
                    users.by_name.insert(user.name.into(), parsed);
                }
            }
        }
        // What is empty is more likely half written than meant.
        if problems.is_empty() && !root.get_ref().contains_key("users") {
            let message = "missing; allowed: [users.NAME] for each user, or [users] for none";
            problems.push(Problem::new(Place::Nowhere, "users", message));
        }
        if problems.is_empty() {
            Ok(users)
        } else {
            Err(ConfigErrors::new(problems))
        }
    }
}

fn read_user(lines: &Lines, user: &Field<'_, '_>, problems: &mut Vec<Problem>) -> Option<User> {
    let before = problems.len();
    keep(user_name(user), problems);
    let (mut password, mut public_keys, mut landing) = (None, None, None);
    let (mut mappings, mut networks, mut user_limits, mut expires_at) = (None, None, None, None);
    let (mut role, mut policy, mut partial, mut stored) = (None, None, None, None);
    for field in keep(user.table(lines), problems)? {
        let f = &field;
        match field.name {
            "password_hash" => password = keep(password_hash(f), problems),
            "public_keys" => {
                public_keys = keep(f.list(lines, "public keys", public_key), problems);
            }
            "home" => landing = keep(home(f), problems),
            "mappings" => {
                let row = |row: &Field<'_, '_>| mapping(lines, row, user.name);
                mappings = keep(f.list(lines, "tables", row), problems);
            }
            "role" => role = keep(text_of(f, wire::role), problems),
            "policy" => {
                let filled = |text: &str| wire::policy_for(text, user.name);
                policy = keep(text_of(f, filled), problems);
            }
            "networks" => networks = keep(f.list(lines, "networks", network), problems),
            "limits" => user_limits = keep(limits_of(lines, f), problems),
            "partial_uploads" => partial = keep(partial_uploads(f), problems),
            "objects" => stored = keep(objects::read(lines, f), problems),
            "expires_at" => expires_at = keep(time(f), problems),
            _ => problems.push(field.unknown(USER_KEYS)),
        }
    }
    if problems.len() > before {
        return None;
    }
    let landing = landing.unwrap_or_else(VirtualPath::root);
    let home =
        whole(user, password.as_ref(), public_keys.as_ref(), mappings).and_then(|mappings| {
            let mappings = with_objects(mappings, stored.as_ref());
            HomeDirectory::logical(mappings, landing)
                .map_err(|error| user.refuse(format!("mappings: {error}")))
        });
    let mut config = UserConfig {
        public_keys: public_keys.unwrap_or_default(),
        networks: networks.unwrap_or_default(),
        limits: user_limits.unwrap_or_default(),
        partial_uploads: partial,
        objects: stored,
        expires_at,
        role,
        policy,
        ..UserConfig::new(user.name, keep(home, problems)?)
    };
    config.warnings.extend(wire::unknown_class(&config));
    let without_keys = UserConfig {
        public_keys: Vec::new(),
        ..config.clone()
    };
    Some(User {
        password,
        config: Arc::new(config),
        without_keys: Arc::new(without_keys),
    })
}

/// Refuses a user who could never enter, or would find nothing.
fn whole(
    user: &Field<'_, '_>,
    password: Option<&PasswordHash>,
    public_keys: Option<&Vec<ListedKey>>,
    mappings: Option<Vec<Mapping>>,
) -> Result<Vec<Mapping>, Problem> {
    if password.is_none() && public_keys.is_none() {
        return Err(user.refuse("no way to log in; set password_hash, public_keys or both"));
    }
    mappings.ok_or_else(|| {
        user.refuse(
            "mappings are missing; allowed: [{ entry = \"/\", target = \"/bucket/prefix\" }]",
        )
    })
}

fn user_name(user: &Field<'_, '_>) -> Result<(), Problem> {
    let length = user.name.chars().count();
    let most = limits::USER_NAME_BYTES_MAX;
    let bad = |c: char| is_unprintable(c) || c == '/';
    if !(1..=most).contains(&length) || user.name.contains(bad) || matches!(user.name, "." | "..") {
        let message = format!("not a user name; allowed: 1 to {most} visible characters, no /");
        return Err(user.refuse(message));
    }
    Ok(())
}

fn password_hash(field: &Field<'_, '_>) -> Result<PasswordHash, Problem> {
    PasswordHash::parse(field.text()?).map_err(|message| field.refuse(message))
}

/// Takes a line of `authorized_keys` without options.
fn public_key(field: &Field<'_, '_>) -> Result<ListedKey, Problem> {
    let line = field.text()?.trim();
    if !keys::is_key(line) || line.len() > limits::PUBLIC_KEY_BYTES_MAX {
        let types = KEY_TYPES.join(", ");
        let message = format!(
            "not a public key; allowed: one line of a .pub file, such as \"ssh-ed25519 AAAA…\", \
             with a key of type {types}"
        );
        return Err(field.refuse(message));
    }
    Ok(line.into())
}

fn home(field: &Field<'_, '_>) -> Result<VirtualPath, Problem> {
    let text = field.text()?;
    VirtualPath::parse(text).map_err(|error| {
        field.refuse(format!(
            "{text:?}: {error}; allowed: for example \"/inbox\""
        ))
    })
}

fn mapping(lines: &Lines, row: &Field<'_, '_>, user: &str) -> Result<Mapping, Problem> {
    let (mut entry, mut target) = (None, None);
    let (mut entry_type, mut access) = (EntryType::Directory, Access::ReadWrite);
    let (mut partial, mut stored) = (None, None);
    for field in row.table(lines)? {
        match field.name {
            "entry" => entry = Some(field.text()?),
            "target" => target = Some(field.text()?),
            "type" => {
                entry_type = match field.text()? {
                    "directory" => EntryType::Directory,
                    "file" => EntryType::File,
                    found => return Err(field.found(found, "\"directory\" or \"file\"")),
                }
            }
            "access" => {
                access = match field.text()? {
                    "read" => Access::Read,
                    "write" => Access::Write,
                    "read-write" => Access::ReadWrite,
                    found => {
                        let allowed = "\"read\", \"write\" or \"read-write\"";
                        return Err(field.found(found, allowed));
                    }
                }
            }
            "partial_uploads" => partial = Some(partial_uploads(&field)?),
            "objects" => stored = Some(objects::read(lines, &field)?),
            _ => {
                let allowed = "entry, target, type, access, partial_uploads, objects";
                return Err(field.unknown(allowed));
            }
        }
    }
    let (Some(entry), Some(target)) = (entry, target) else {
        return Err(row.refuse("allowed: a table with entry and target"));
    };
    let target = substitute::target(target, user).map_err(|error| row.refuse(error.to_string()))?;
    let mapping = Mapping::parse(entry, &target, entry_type, access);
    let mapping = mapping.map_err(|error| row.refuse(error.to_string()))?;
    Ok(mapping.with_partial_uploads(partial).with_objects(stored))
}

fn partial_uploads(field: &Field<'_, '_>) -> Result<PartialUploads, Problem> {
    let word = field.text()?;
    PartialUploads::from_word(word).ok_or_else(|| field.found(word, PartialUploads::ALLOWED))
}

/// Takes a text that is not blank, under a rule of the webhook's answers.
fn text_of(
    field: &Field<'_, '_>,
    rule: impl Fn(&str) -> Result<Box<str>, Refusal>,
) -> Result<Box<str>, Problem> {
    let text = field.text()?;
    if text.trim().is_empty() {
        return Err(field.refuse("empty; leave it out instead"));
    }
    rule(text).map_err(|error| field.refuse(error.to_string()))
}

fn network(field: &Field<'_, '_>) -> Result<Network, Problem> {
    let text = field.text()?;
    text.parse().map_err(|error| match error {
        NetworkError::Text => {
            let allowed = "for example \"203.0.113.0/24\" or \"2001:db8::1\"";
            field.found(text, allowed)
        }
        NetworkError::HostBits { .. } => field.refuse(error.to_string()),
    })
}

fn limits_of(lines: &Lines, table: &Field<'_, '_>) -> Result<UserLimits, Problem> {
    let mut limits = UserLimits::default();
    for field in table.table(lines)? {
        match field.name {
            "sessions" => {
                let sessions = u32::try_from(field.number()?).unwrap_or(u32::MAX);
                limits.sessions = Some(sessions);
            }
            "file_bytes" => limits.file_bytes = Some(field.number()?),
            "bytes_per_second" => limits.bytes_per_second = Some(field.number()?),
            _ => return Err(field.unknown("sessions, file_bytes, bytes_per_second")),
        }
    }
    Ok(limits)
}

fn time(field: &Field<'_, '_>) -> Result<SystemTime, Problem> {
    let text = if let DeValue::Datetime(time) = field.value {
        time.to_string()
    } else {
        field.text()?.to_owned()
    };
    timestamp::parse(&text).ok_or_else(|| {
        let allowed = "a time with its zone, such as 2026-12-31T00:00:00Z";
        field.found(&text, allowed)
    })
}

fn keep<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

const USER_KEYS: &str = "password_hash, public_keys, home, mappings, role, policy, networks, limits, \
    partial_uploads, objects, expires_at";

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b";

    fn user(lines: &str) -> String {
        format!("[users.ann]\npassword_hash = \"{HASH}\"\n{lines}\n")
    }

    fn problem(text: &str) -> String {
        Users::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_that_an_answer_can_say_can_be_said() {
        let text = format!(
            "[users.\"ann@example.com\"]\n\
            password_hash = \"{HASH}\"\n\
            public_keys = [\"{KEY}\"]\n\
            home = \"/in\"\n\
            mappings = [\n\
              {{ entry = \"/in\", target = \"/bucket/${{transfer:UserName}}\", access = \"write\", \
                partial_uploads = \"replace\" }},\n\
              {{ entry = \"/list.txt\", target = \"/bucket/list\", type = \"file\" }},\n\
            ]\n\
            role = \"arn:aws:iam::123456789012:role/partners\"\n\
            policy = '''{{\"Resource\": \"b/${{transfer:UserName}}/*\"}}'''\n\
            networks = [\"203.0.113.0/24\"]\n\
            limits = {{ sessions = 2, file_bytes = 1_000, bytes_per_second = 0x10 }}\n\
            partial_uploads = \"keep\"\n\
            expires_at = 2026-12-31T00:00:00Z\n"
        );
        let users = Users::parse(&text).unwrap();
        let user = &users.by_name["ann@example.com"];
        let config = &user.config;
        assert_eq!(&*config.user, "ann@example.com");
        assert_eq!(config.home.landing().as_str(), "/in");
        let mapping = &config.home.mappings()[0];
        assert_eq!(&*mapping.prefix, "ann@example.com");
        assert_eq!(mapping.access, Access::Write);
        assert_eq!(mapping.partial_uploads, Some(PartialUploads::Replace));
        assert_eq!(config.partial_uploads, Some(PartialUploads::Keep));
        let role = "arn:aws:iam::123456789012:role/partners";
        assert_eq!(config.role.as_deref(), Some(role));
        let policy = r#"{"Resource": "b/ann@example.com/*"}"#;
        assert_eq!(config.policy.as_deref(), Some(policy));
        assert_eq!(user.without_keys.policy, config.policy);
        assert_eq!(config.networks, ["203.0.113.0/24".parse().unwrap()]);
        assert_eq!(config.limits.sessions, Some(2));
        assert_eq!(config.limits.file_bytes, Some(1_000));
        assert_eq!(config.limits.bytes_per_second, Some(16));
        assert!(config.expires_at.is_some());
        assert_eq!(config.public_keys, [KEY.into()]);
        assert!(user.without_keys.public_keys.is_empty());
    }

    #[test]
    fn a_time_may_be_a_string_but_needs_its_zone() {
        let row = "mappings = [{ entry = \"/\", target = \"/b\" }]\nexpires_at = ";
        for (time, good) in [
            ("\"2026-12-31T00:00:00Z\"", true),
            ("2026-12-31T00:00:00+01:00", true),
            ("2026-12-31T00:00:00", false),
            ("2026-12-31", false),
            ("5", false),
        ] {
            let parsed = Users::parse(&user(&format!("{row}{time}")));
            assert_eq!(parsed.is_ok(), good, "{time}");
        }
    }

    #[test]
    fn a_problem_names_its_line_its_key_and_what_is_allowed() {
        for (line, key, allowed) in [
            (
                "pasword = 1",
                "users.ann.pasword",
                "allowed: password_hash,",
            ),
            (
                "public_keys = [\"x\"]",
                "users.ann.public_keys[0]",
                "ssh-ed25519",
            ),
            ("public_keys = []", "users.ann.public_keys", "at least one"),
            (
                "public_keys = 7",
                "users.ann.public_keys",
                "a list of public keys",
            ),
            ("home = \"in\"", "users.ann.home", "\"/inbox\""),
            ("mappings = []", "users.ann.mappings", "at least one"),
            (
                "mappings = [{}]",
                "users.ann.mappings[0]",
                "entry and target",
            ),
            (
                "mappings = [{ entry = \"/\", target = \"b\" }]",
                "users.ann.mappings[0]",
                "does not begin with '/'",
            ),
            (
                "mappings = [{ entry = \"/\", target = \"/b\", access = \"rw\" }]",
                "users.ann.mappings[0].access",
                "found \"rw\"; allowed: \"read\", \"write\" or \"read-write\"",
            ),
            (
                "mappings = [{ entry = \"/\", target = \"/b\", type = \"dir\" }]",
                "users.ann.mappings[0].type",
                "\"directory\" or \"file\"",
            ),
            (
                "networks = [\"10.0.0.0/40\"]",
                "users.ann.networks[0]",
                "203.0.113.0/24",
            ),
            (
                "limits = { sesions = 1 }",
                "users.ann.limits.sesions",
                "allowed: sessions,",
            ),
            (
                "limits = { sessions = -1 }",
                "users.ann.limits.sessions",
                "not negative",
            ),
            (
                "limits = { sessions = 1.5 }",
                "users.ann.limits.sessions",
                "whole number",
            ),
            (
                "expires_at = \"soon\"",
                "users.ann.expires_at",
                "2026-12-31T00:00:00Z",
            ),
        ] {
            let message = problem(&user(line));
            let place = format!(":3: {key}: ");
            assert!(message.contains(&place), "{line}: {message}");
            assert!(message.contains(allowed), "{line}: {message}");
        }
    }

    #[test]
    fn an_address_with_a_prefix_is_refused_with_the_network_that_was_meant() {
        let message = problem(&user("networks = [\"203.0.113.7/24\"]"));
        assert!(message.contains(":3: users.ann.networks[0]: "), "{message}");
        assert!(
            message.contains("write 203.0.113.0/24 for the network"),
            "{message}"
        );
    }

    #[test]
    fn roles_and_policies_are_held_to_the_rules_of_an_answer() {
        let long = format!("policy = \"{{}}{}\"", " ".repeat(2_048));
        for (line, key, why) in [
            ("role = \"\"", "role", "leave it out"),
            ("role = \"a\\u0000\"", "role", "control character"),
            ("policy = \"{\"", "policy", "policy-not-json"),
            ("policy = \"[]\"", "policy", "policy-not-an-object"),
            (&long, "policy", "policy-too-long"),
        ] {
            let message = problem(&user(line));
            let place = format!(":3: users.ann.{key}: ");
            assert!(
                message.contains(&place) && message.contains(why),
                "{message}"
            );
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_no_hash_with_them() {
        let text = "user = 1\n[users.ann]\npassword_hash = \"hunter2\"\nhome = 1\n[users.bob]\n";
        let message = problem(text);
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines.len(), 4, "{message}");
        assert!(
            lines[0].contains(":1: user: unknown key; allowed: users"),
            "{message}"
        );
        assert!(
            lines[3].contains(":5: users.bob: no way to log in"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
        assert!(!problem("[users.ann]\npassword_hash = \"hunter2").contains("hunter2"));
        assert!(problem(&user("")).contains("mappings are missing"));
        assert!(problem(&user("").repeat(2)).contains("TOML"));
    }

    #[test]
    fn names_that_no_client_can_send_are_refused() {
        for name in ["\"\"", "\"a/b\"", "\"..\"", "\"a\\u0007\"", "\"a\\u202e\""] {
            let text = user("mappings = [{ entry = \"/\", target = \"/b\" }]");
            let message = problem(&text.replace("users.ann", &format!("users.{name}")));
            assert!(message.contains("not a user name"), "{name}: {message}");
        }
    }

    #[test]
    fn a_file_without_users_lets_nobody_in() {
        assert!(problem("").contains("users: missing; allowed: [users.NAME]"));
        assert!(Users::parse("[users]\n").unwrap().by_name.is_empty());
    }

    #[test]
    fn a_mapping_says_what_its_objects_carry() {
        let mapping = |objects: &str| {
            user(&format!(
                "mappings = [{{ entry = \"/\", target = \"/b\", objects = {objects} }}]"
            ))
        };
        let text = mapping(
            "{ storage_class = \"OURS\", encryption = \"AES256\", tags = { a = \"1\" }, \
             retention = { mode = \"COMPLIANCE\", days = 7 }, legal_hold = true }",
        );
        let users = Users::parse(&text).unwrap();
        let config = &users.by_name["ann"].config;
        let objects = config.home.mappings()[0].objects.as_deref().unwrap();
        assert_eq!(objects.storage_class.as_deref(), Some("OURS"));
        assert_eq!(objects.retention.as_ref().unwrap().days, 7);
        assert!(objects.legal_hold);
        assert_eq!(config.warnings.len(), 1);
        let text = user(
            "objects = { legal_hold = true }\nmappings = [{ entry = \"/a\", target = \"/b/a\" }, \
             { entry = \"/c\", target = \"/b/c\", objects = {} }]",
        );
        let users = Users::parse(&text).unwrap();
        let mappings = users.by_name["ann"].config.home.mappings();
        let locks = mappings.iter().map(|one| one.objects.as_deref().unwrap());
        let locks: Vec<_> = locks.map(|objects| objects.legal_hold).collect();
        assert_eq!(locks, [true, false]);
        for (wrong, said) in [
            (
                "{ class = \"GLACIER\" }",
                "unknown key; allowed: storage_class",
            ),
            ("{ legal_hold = \"yes\" }", "true or false"),
            ("{ retention = { mode = \"GOVERNANCE\" } }", "either days"),
            ("\"GLACIER\"", "a table"),
        ] {
            let problem = problem(&mapping(wrong));
            assert!(problem.contains(said), "{problem}");
        }
    }
}
