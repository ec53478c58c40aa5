//! What may become of a user (pure): AWS's lengths and patterns, and what it refuses.
//!
//! Homes, mappings and policies are held against the code that reads them at login: what would be
//! refused there cannot be stored.

#![warn(clippy::arithmetic_side_effects)]

use super::super::wire::keys::is_key;
use super::super::{Oddity, UserNameRule};
use super::fault::{Fault, Resource};
use super::user::{HomeDirectoryType, MapEntry, PosixProfile, SshPublicKey, Tag, User};
use crate::limits;

/// What `CreateUser` and `UpdateUser` say of a user; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    pub role: Option<String>,
    /// An empty one takes the policy away.
    pub policy: Option<String>,
    pub home_directory_type: Option<HomeDirectoryType>,
    /// An empty one takes it away.
    pub home_directory: Option<String>,
    pub home_directory_mappings: Option<Vec<MapEntry>>,
    pub posix_profile: Option<PosixProfile>,
}

impl User {
    /// Makes a user.
    ///
    /// # Errors
    /// What AWS refuses.
    pub fn create(name: &str, fields: Fields, tags: Vec<Tag>) -> Result<Self, Fault> {
        if !UserNameRule::Aws.allows(name) {
            return invalid(format!(
                "UserName {name:?} is not allowed: 3 to 100 letters, digits and _ . @ -, beginning \
                 with a letter, a digit or _, and not root"
            ));
        }
        let Some(role) = fields.role.clone() else {
            return invalid("Role is required".to_owned());
        };
        let mut user = Self {
            user_name: name.to_owned(),
            role,
            policy: None,
            home_directory_type: HomeDirectoryType::Path,
            home_directory: None,
            home_directory_mappings: Vec::new(),
            posix_profile: None,
            tags: Vec::new(),
            ssh_public_keys: Vec::new(),
        };
        user.tag(tags)?;
        user.update(fields)?;
        Ok(user)
    }

    /// Changes what was said. A home of the other type means nothing any more, and goes.
    ///
    /// # Errors
    /// What AWS refuses; the user may be changed in part then, and is not to be stored.
    pub fn update(&mut self, fields: Fields) -> Result<(), Fault> {
        if let Some(home_type) = fields.home_directory_type
            && home_type != self.home_directory_type
        {
            self.home_directory_type = home_type;
            self.home_directory = None;
            self.home_directory_mappings.clear();
        }
        if let Some(role) = fields.role {
            self.role = role;
        }
        if let Some(policy) = fields.policy {
            self.policy = Some(policy).filter(|policy| !policy.trim().is_empty());
        }
        if let Some(home) = fields.home_directory {
            self.home_directory = Some(home).filter(|home| !home.is_empty());
        }
        if let Some(mappings) = fields.home_directory_mappings {
            self.home_directory_mappings = mappings;
        }
        if let Some(profile) = fields.posix_profile {
            self.posix_profile = Some(profile);
        }
        self.check()
    }

    /// Adds tags; those with the same key get the new value.
    ///
    /// # Errors
    /// What AWS refuses.
    pub fn tag(&mut self, tags: Vec<Tag>) -> Result<(), Fault> {
        add_tags(&mut self.tags, tags)
    }

    /// Takes tags away; those that are not there are gone already.
    pub fn untag(&mut self, keys: &[String]) {
        self.tags.retain(|tag| !keys.contains(&tag.key));
    }

    /// Adds a key.
    ///
    /// # Errors
    /// It is none, the user has it, or has too many.
    pub fn import(&mut self, mut key: SshPublicKey) -> Result<(), Fault> {
        key.ssh_public_key_body = key_line(&key.ssh_public_key_body)?.to_owned();
        let mut held = self.ssh_public_keys.iter();
        if held.any(|held| is_same(&held.ssh_public_key_body, &key.ssh_public_key_body)) {
            return Err(Fault::Exists {
                what: Resource::SshPublicKey,
                name: key.ssh_public_key_body,
            });
        }
        if self.ssh_public_keys.len() >= limits::SSH_KEYS_PER_USER_MAX {
            let most = limits::SSH_KEYS_PER_USER_MAX;
            return invalid(format!(
                "the user has {most} keys already, which is the most"
            ));
        }
        self.ssh_public_keys.push(key);
        Ok(())
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// The user has none with the id.
    pub fn remove_key(&mut self, id: &str) -> Result<(), Fault> {
        let held = self.ssh_public_keys.len();
        self.ssh_public_keys
            .retain(|key| key.ssh_public_key_id != id);
        if self.ssh_public_keys.len() == held {
            return Err(Fault::NotFound {
                what: Resource::SshPublicKey,
                name: id.to_owned(),
            });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let length = self.role.chars().count();
        if !(limits::ROLE_CHARS_MIN..=limits::ROLE_CHARS_MAX).contains(&length)
            || !is_role(&self.role)
        {
            return invalid(
                "Role is not the ARN of a role, such as arn:aws:iam::123456789012:role/sftp-user"
                    .to_owned(),
            );
        }
        let home = self.home_directory.as_deref().unwrap_or("/");
        absolute("HomeDirectory", home)?;
        let mappings = &self.home_directory_mappings;
        if mappings.len() > limits::SERVICE_MANAGED_MAPPINGS_MAX {
            return invalid(format!(
                "HomeDirectoryMappings has {} entries; at most {} are allowed",
                mappings.len(),
                limits::SERVICE_MANAGED_MAPPINGS_MAX
            ));
        }
        for row in mappings {
            absolute("Entry", &row.entry)?;
            absolute("Target", &row.target)?;
        }
        match (self.home_directory_type, mappings.is_empty()) {
            (HomeDirectoryType::Path, false) => {
                return invalid("HomeDirectoryMappings needs HomeDirectoryType LOGICAL".to_owned());
            }
            (HomeDirectoryType::Logical, true) => {
                return invalid("HomeDirectoryType LOGICAL needs HomeDirectoryMappings".to_owned());
            }
            (HomeDirectoryType::Path, true) | (HomeDirectoryType::Logical, false) => {}
        }
        let gids = self.posix_profile.as_ref();
        if gids.is_some_and(|profile| profile.secondary_gids.len() > SECONDARY_GIDS_MAX) {
            return invalid(format!("SecondaryGids has more than {SECONDARY_GIDS_MAX}"));
        }
        self.check_answer()
    }

    /// Reads the user as a login will.
    fn check_answer(&self) -> Result<(), Fault> {
        let config = self.without_keys().map_err(|refusal| {
            let why = refusal.detail.as_deref();
            Fault::Invalid(why.unwrap_or_else(|| refusal.reason.cause()).to_owned())
        })?;
        for warning in &config.warnings {
            if is_refused(warning.oddity) {
                return invalid(format!("{}: {warning}", warning.oddity.taken()));
            }
        }
        Ok(())
    }
}

/// Says whether AWS refuses what an answer of a function is forgiven.
const fn is_refused(oddity: Oddity) -> bool {
    match oddity {
        Oddity::HomeRepeatsTarget
        | Oddity::HomeWithoutSlash
        | Oddity::EfsTargetSkipped
        | Oddity::DetailsWithoutLogical => true,
        Oddity::DetailsNotStringified
        | Oddity::DetailsAsPython
        | Oddity::HomeDirectoryMissing
        | Oddity::PolicyNotStringified
        | Oddity::KeysUnreadable
        | Oddity::KeysNotInLines
        | Oddity::PublicKeysOnPassword
        | Oddity::StorageClassUnknown
        | Oddity::AnswersDiffer
        | Oddity::StaleAnswer => false,
    }
}

/// Returns the line of a key, without what stands around it.
///
/// # Errors
/// It is too long, or no key that could log in.
fn key_line(body: &str) -> Result<&str, Fault> {
    longest("SshPublicKeyBody", body, limits::SSH_KEY_BODY_CHARS_MAX)?;
    let line = body.trim();
    if line.contains(['\r', '\n']) || !is_key(line) {
        return invalid(
            "SshPublicKeyBody is not a public key: write the line of a .pub file, such as \
             ssh-ed25519 AAAA…"
                .to_owned(),
        );
    }
    Ok(line)
}

/// Says whether two lines hold the same key, whatever their comments say.
fn is_same(one: &str, other: &str) -> bool {
    fn blob(line: &str) -> Option<&str> {
        let blob = line.split_whitespace().nth(1)?;
        Some(blob.trim_end_matches('='))
    }
    blob(one) == blob(other)
}

/// AWS's `arn:.*role/\S+`.
fn is_role(text: &str) -> bool {
    let of_role = text
        .strip_prefix("arn:")
        .and_then(|rest| rest.split_once("role/"));
    of_role.is_some_and(|(_, name)| !name.is_empty()) && !text.contains(char::is_whitespace)
}

fn absolute(what: &str, text: &str) -> Result<(), Fault> {
    longest(what, text, limits::MAPPING_TEXT_MAX)?;
    if !text.starts_with('/') {
        return invalid(format!("{what} {text:?} does not begin with /"));
    }
    Ok(())
}

/// Adds tags to those of a resource; those with the same key get the new value.
///
/// # Errors
/// What AWS refuses.
pub fn add_tags(held: &mut Vec<Tag>, tags: Vec<Tag>) -> Result<(), Fault> {
    for (at, tag) in tags.iter().enumerate() {
        if tags.iter().take(at).any(|other| other.key == tag.key) {
            return invalid(format!("Tags has the key {:?} twice", tag.key));
        }
        longest("Key of a tag", &tag.key, limits::TAG_KEY_CHARS_MAX)?;
        longest("Value of a tag", &tag.value, limits::TAG_VALUE_CHARS_MAX)?;
    }
    for tag in tags {
        match held.iter_mut().find(|held| held.key == tag.key) {
            Some(held) => held.value = tag.value,
            None => held.push(tag),
        }
    }
    if held.len() > limits::TAGS_MAX {
        return invalid(format!("more than {} tags", limits::TAGS_MAX));
    }
    Ok(())
}

fn longest(what: &str, text: &str, most: usize) -> Result<(), Fault> {
    if text.chars().count() > most {
        return invalid(format!("{what} is longer than {most} characters"));
    }
    Ok(())
}

fn invalid<T>(message: String) -> Result<T, Fault> {
    Err(Fault::Invalid(message))
}

const SECONDARY_GIDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/sftp-user";
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    fn role() -> Fields {
        Fields {
            role: Some(ROLE.to_owned()),
            ..Fields::default()
        }
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<MapEntry> {
        let row = |(entry, target): &(&str, &str)| MapEntry {
            entry: (*entry).to_owned(),
            target: (*target).to_owned(),
            map_type: None,
        };
        rows.iter().map(row).collect()
    }

    fn logical(mappings: &[(&str, &str)], home: Option<&str>) -> Fields {
        Fields {
            home_directory_type: Some(HomeDirectoryType::Logical),
            home_directory_mappings: Some(rows(mappings)),
            home_directory: home.map(str::to_owned),
            ..role()
        }
    }

    fn key(id: &str, body: &str) -> SshPublicKey {
        SshPublicKey {
            ssh_public_key_id: id.to_owned(),
            ssh_public_key_body: body.to_owned(),
            date_imported: "2026-11-28T00:00:00Z".to_owned(),
        }
    }

    #[track_caller]
    fn refused(fields: Fields, why: &str) {
        let fault = User::create("ann", fields, Vec::new()).unwrap_err();
        let message = fault.to_string();
        assert!(matches!(fault, Fault::Invalid(_)), "{message}");
        assert!(message.contains(why), "{message}");
    }

    #[test]
    fn what_aws_takes_is_taken() {
        let two = [("/in", "/bucket/in"), ("/home/ann/out", "/bucket/out")];
        for home in [
            None,
            Some("/"),
            Some("/in"),
            Some("/in/deep"),
            Some("/home/ann"),
        ] {
            let user = User::create("ann", logical(&two, home), Vec::new()).unwrap();
            assert_eq!(user.home_directory.as_deref(), home);
        }
        let most: Vec<_> = (0..2_000).map(|at| format!("/d{at}")).collect();
        let most: Vec<_> = most.iter().map(|entry| (&**entry, "/bucket/x")).collect();
        assert!(User::create("ann", logical(&most, None), Vec::new()).is_ok());
        let path = Fields {
            home_directory: Some("/bucket/home/ann/".to_owned()),
            ..role()
        };
        assert!(User::create("_a.b@c-d", path, Vec::new()).is_ok());
        assert!(User::create("ann", role(), Vec::new()).is_ok());
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        let many: Vec<_> = (0..2_001).map(|at| format!("/d{at}")).collect();
        let many: Vec<_> = many.iter().map(|entry| (&**entry, "/bucket/x")).collect();
        for (mappings, why) in [
            (&[("/a", "/b/x"), ("/a/b", "/b/y")][..], "overlap"),
            (&[("/a", "/b/x"), ("/a", "/b/y")], "overlap"),
            (&[("/", "/b/x"), ("/a", "/b/y")], "must be the only one"),
            (&[("/a", "/b/x/")], "ends with '/'"),
            (&[("/a/", "/b/x")], "entry \"/a/\""),
            (&[("a", "/b/x")], "does not begin with /"),
            (&[("/a", "b/x")], "does not begin with /"),
            (&[("/a", "/b/../x")], "component"),
            (&[("/a", "/fs-01234567/x")], "EFS"),
            (&[("/a", "/b/x"), ("/e", "/fs-01234567/x")], "EFS"),
            (&[], "needs HomeDirectoryMappings"),
            (&many, "2001 entries"),
        ] {
            refused(logical(mappings, None), why);
        }
        let one = [("/in", "/bucket/in")];
        for (home, why) in [
            ("/elsewhere", "neither an entry, nor below or above one"),
            ("/bucket/in", "repeats"),
            ("in", "does not begin with /"),
        ] {
            refused(logical(&one, Some(home)), why);
        }
        let path = Fields {
            home_directory_mappings: Some(rows(&one)),
            ..role()
        };
        refused(path, "needs HomeDirectoryType LOGICAL");
        for (bad, why) in [
            ("", "Role"),
            ("arn:aws:iam::1:role/", "Role"),
            ("sftp-user-of-ann-and-bob", "Role"),
        ] {
            let fields = Fields {
                role: Some(bad.to_owned()),
                ..Fields::default()
            };
            refused(fields, why);
        }
        refused(Fields::default(), "Role is required");
        for (policy, why) in [("not a policy", "not JSON"), ("[]", "an array")] {
            let fields = Fields {
                policy: Some(policy.to_owned()),
                ..role()
            };
            refused(fields, why);
        }
        for name in [
            "",
            "an",
            "-ann",
            ".ann",
            "a b c",
            "ann/..",
            "jörg",
            "root",
            &"a".repeat(101),
        ] {
            assert!(User::create(name, role(), Vec::new()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_home_of_the_other_type_goes_with_its_type() {
        let path = Fields {
            home_directory: Some("/bucket/ann".to_owned()),
            ..role()
        };
        let mut user = User::create("ann", path, Vec::new()).unwrap();
        user.update(logical(&[("/in", "/bucket/in")], None))
            .unwrap();
        assert_eq!(user.home_directory, None);
        let home = Fields {
            home_directory: Some("/in".to_owned()),
            ..Fields::default()
        };
        user.update(home).unwrap();
        let back = Fields {
            home_directory_type: Some(HomeDirectoryType::Path),
            ..Fields::default()
        };
        user.update(back).unwrap();
        assert_eq!(
            (user.home_directory, user.home_directory_mappings),
            (None, vec![])
        );
    }

    #[test]
    fn keys_are_kept_once_and_up_to_fifty() {
        let mut user = User::create("ann", role(), Vec::new()).unwrap();
        user.import(key("key-1", &format!(" {KEY} ann@laptop\n")))
            .unwrap();
        let twice = user
            .import(key("key-2", &format!("{KEY} other")))
            .unwrap_err();
        assert!(matches!(twice, Fault::Exists { .. }), "{twice}");
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-dss AAAAB3NzaC1kc3M=",
            &format!("{KEY}\n{KEY}"),
            &"x".repeat(2_049),
        ] {
            let fault = user.import(key("key-2", bad)).unwrap_err();
            assert!(matches!(fault, Fault::Invalid(_)), "{bad}: {fault}");
        }
        let made = |at: u8| {
            use base64::Engine as _;
            let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
            blob.extend([at; 32]);
            format!(
                "ssh-ed25519 {}",
                base64::engine::general_purpose::STANDARD.encode(blob)
            )
        };
        for at in 2..=50 {
            user.import(key(&format!("key-{at}"), &made(at))).unwrap();
        }
        assert!(user.import(key("key-51", &made(51))).is_err());
        user.remove_key("key-7").unwrap();
        assert!(user.remove_key("key-7").is_err());
        user.import(key("key-51", &made(51))).unwrap();
    }

    #[test]
    fn tags_are_replaced_by_key() {
        let tag = |key: &str, value: &str| Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let mut user = User::create("ann", role(), vec![tag("team", "a")]).unwrap();
        user.tag(vec![tag("team", "b"), tag("stage", "test")])
            .unwrap();
        assert_eq!(user.tags, [tag("team", "b"), tag("stage", "test")]);
        assert!(user.tag(vec![tag("x", "1"), tag("x", "2")]).is_err());
        user.untag(&["team".to_owned(), "unknown".to_owned()]);
        assert_eq!(user.tags, [tag("stage", "test")]);
        let many = (0..50).map(|at| tag(&at.to_string(), "")).collect();
        assert!(user.tag(many).is_err());
    }
}
