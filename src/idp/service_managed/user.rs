//! A user as the service keeps it (pure): the document, and the answer that a login is given.
//!
//! The document has AWS's names for everything, so that `aws transfer describe-user` prints what
//! stands in it. The answer is written as a function of Transfer Family writes it and read by the
//! code that reads those: PATH and LOGICAL, policies and keys mean here what they mean there.

#![warn(clippy::arithmetic_side_effects)]

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::wire::{self, Asked, Transport};
use super::super::{AuthMethod, Judged, PathHomes};
use crate::clock::written;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct User {
    pub user_name: String,
    pub role: String,
    /// JSON, its variables not filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default)]
    pub home_directory_type: HomeDirectoryType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_directory: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_directory_mappings: Vec<MapEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posix_profile: Option<PosixProfile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_public_keys: Vec<SshPublicKey>,
}

/// AWS's `HomeDirectoryType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HomeDirectoryType {
    #[default]
    Path,
    Logical,
}

impl HomeDirectoryType {
    /// Returns AWS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "PATH",
            Self::Logical => "LOGICAL",
        }
    }

    /// Reads AWS's word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "PATH" => Some(Self::Path),
            "LOGICAL" => Some(Self::Logical),
            _ => None,
        }
    }
}

/// One of the `HomeDirectoryMappings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct MapEntry {
    pub entry: String,
    pub target: String,
    #[serde(default, rename = "Type", skip_serializing_if = "Option::is_none")]
    pub map_type: Option<MapType>,
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MapType {
    File,
    Directory,
}

/// Kept for who asks; it means nothing on S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PosixProfile {
    pub uid: u32,
    pub gid: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary_gids: Vec<u32>,
}

/// A tag; the gateway only keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// A key that lets the user in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SshPublicKey {
    pub ssh_public_key_id: String,
    pub ssh_public_key_body: String,
    /// Such as `2026-12-31T00:00:00Z`.
    pub date_imported: String,
}

impl User {
    /// Reads a document, which has to be that of the name.
    ///
    /// # Errors
    /// Says what is wrong; a document holds no secret.
    pub fn read(name: &str, document: &[u8]) -> Result<Self, String> {
        let user: Self = serde_json::from_slice(document).map_err(|error| error.to_string())?;
        if user.user_name != name {
            let found = user.user_name;
            return Err(format!("UserName is {found:?}, expected {name:?}"));
        }
        Ok(user)
    }

    /// Writes the document: indented, its keys always in the same order, for version control.
    ///
    /// # Errors
    /// Never with what was read or made here.
    pub fn document(&self) -> Result<Vec<u8>, String> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        text.push(b'\n');
        Ok(text)
    }

    /// Returns what a look-up of the user's keys comes to.
    pub fn judged(&self, path_homes: PathHomes) -> Judged {
        let keys = self.ssh_public_keys.iter();
        let keys: Vec<_> = keys.map(|key| key.ssh_public_key_body.as_str()).collect();
        self.parsed(AuthMethod::PublicKey, &json!(keys), path_homes)
    }

    /// Returns what everything but the keys comes to.
    pub(super) fn without_keys(&self) -> Judged {
        self.parsed(AuthMethod::Password, &Value::Null, PathHomes::Confined)
    }

    fn parsed(&self, method: AuthMethod, keys: &Value, path_homes: PathHomes) -> Judged {
        let asked = Asked {
            // Targets on EFS are refused.
            fs_ids: &[],
            username: &self.user_name,
            method,
            accept_keys_with_password: false,
            path_homes,
            transport: Transport::Http,
            function_error: false,
        };
        wire::parse(asked, 200, self.answer(keys).to_string().as_bytes())
    }

    /// Returns Transfer Family's answer.
    fn answer(&self, keys: &Value) -> Value {
        // Mappings that were read or made here are JSON.
        let details = |mappings| serde_json::to_string(mappings).unwrap_or_default();
        let mappings = &self.home_directory_mappings;
        let details = (!mappings.is_empty()).then(|| details(mappings));
        json!({
            "Role": self.role,
            "Policy": self.policy,
            "HomeDirectoryType": self.home_directory_type.as_str(),
            "HomeDirectory": self.home_directory,
            "HomeDirectoryDetails": details,
            "PublicKeys": keys,
        })
    }
}

/// Returns when a key was imported, in the form of a document, from a time of RFC 3339; one that
/// says nothing counts as the beginning of time.
#[must_use]
pub fn imported_at(text: Option<&str>) -> String {
    let time = text.and_then(wire::timestamp::parse);
    written(time.unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
  "UserName": "ann",
  "Role": "arn:aws:iam::123456789012:role/sftp",
  "HomeDirectoryType": "LOGICAL",
  "HomeDirectory": "/in",
  "HomeDirectoryMappings": [
    {
      "Entry": "/in",
      "Target": "/bucket/${transfer:UserName}/in"
    },
    {
      "Entry": "/rates.csv",
      "Target": "/bucket/rates.csv",
      "Type": "FILE"
    }
  ],
  "SshPublicKeys": [
    {
      "SshPublicKeyId": "key-0123456789abcdef0",
      "SshPublicKeyBody": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS",
      "DateImported": "2026-11-28T00:00:00Z"
    }
  ]
}
"#;

    #[test]
    fn a_document_is_written_as_it_was_read() {
        let user = User::read("ann", DOCUMENT.as_bytes()).unwrap();
        let written = user.document().unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), DOCUMENT);
        let least = br#"{"UserName": "ann", "Role": "r"}"#;
        let least = User::read("ann", least).unwrap();
        assert_eq!(least.home_directory_type, HomeDirectoryType::Path);
    }

    #[test]
    fn a_document_is_answered_as_a_function_would_answer() {
        let user = User::read("ann", DOCUMENT.as_bytes()).unwrap();
        let config = user.judged(PathHomes::Confined).unwrap();
        let prefixes: Vec<_> = config.home.mappings().iter().map(|m| &*m.prefix).collect();
        assert_eq!(prefixes, ["ann/in", "rates.csv"]);
        assert_eq!(config.home.landing().as_str(), "/in");
        assert_eq!(config.public_keys.len(), 1);
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn what_is_no_document_of_the_user_is_refused() {
        for (document, why) in [
            ("", "EOF"),
            ("[]", "invalid length"),
            (r#"{"UserName": "ann"}"#, "Role"),
            (r#"{"UserName": "bob", "Role": "r"}"#, "UserName is \"bob\""),
            (r#"{"UserName": "ann", "Role": "r", "Rolle": "r"}"#, "Rolle"),
            (
                r#"{"UserName": "ann", "Role": "r", "Role": "s"}"#,
                "duplicate",
            ),
            (
                r#"{"UserName": "ann", "Role": "r", "HomeDirectoryType": "path"}"#,
                "path",
            ),
        ] {
            let message = User::read("ann", document.as_bytes()).unwrap_err();
            assert!(message.contains(why), "{document}: {message}");
        }
    }
}
