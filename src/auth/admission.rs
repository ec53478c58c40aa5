//! Who may not enter whatever the provider says (pure): rules for names, passwords and answers.

#![warn(clippy::arithmetic_side_effects)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::idp::{Network, Oddity, UserConfig, UserNameRule};
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;

/// The ways to log in: AWS's `SftpAuthenticationMethods`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Methods {
    #[default]
    KeyOrPassword,
    Password,
    Key,
    /// A key first, then a password: two questions, both answered in full.
    KeyAndPassword,
}

impl Methods {
    /// Says whether a key may be offered.
    #[must_use]
    pub const fn key(self) -> bool {
        matches!(self, Self::KeyOrPassword | Self::Key | Self::KeyAndPassword)
    }

    /// Says whether a password has a part in it.
    #[must_use]
    pub const fn password(self) -> bool {
        matches!(
            self,
            Self::KeyOrPassword | Self::Password | Self::KeyAndPassword
        )
    }

    /// Says whether a password may be the first thing that is tried.
    #[must_use]
    pub const fn password_first(self) -> bool {
        matches!(self, Self::KeyOrPassword | Self::Password)
    }
}

/// Whose credentials a session uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Roles {
    /// The gateway's own: a session policy cannot be enforced with them.
    #[default]
    Gateway,
    /// Keys for each role: neither can it with these.
    Map,
    /// STS's, narrowed by the answer's session policy.
    Assume,
}

/// Drops the provider's words when they repeat the password.
pub(super) fn without(mut refusal: Refusal, password: &Secret) -> Refusal {
    let detail = refusal.detail;
    refusal.detail = detail.filter(|text| password.taken_out_of(text).is_none());
    refusal
}

/// Checks a name before anybody is asked about it.
pub(super) fn check_name(rule: UserNameRule, name: &str) -> Result<(), Reason> {
    if rule.allows(name) {
        Ok(())
    } else {
        Err(Reason::UserName)
    }
}

/// Checks a password before anybody is asked about it.
///
/// Many published handlers take a blank password for the sign of a key look-up and answer with the
/// role, unchecked: asking them would let anybody in.
pub(super) fn check_password(password: &str, bytes_max: usize) -> Result<(), Reason> {
    if password.len() > bytes_max {
        return Err(Reason::PasswordTooLong);
    }
    if password.chars().all(is_invisible) {
        return Err(Reason::PasswordBlank);
    }
    // Databases and shells behind services fail at these; who types a password types none.
    if password.chars().any(char::is_control) {
        return Err(Reason::PasswordControlCharacters);
    }
    Ok(())
}

/// Says whether a character leaves no mark: what some language's `trim` might remove.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{00AD}' // soft hyphen
            | '\u{034F}' // combining grapheme joiner
            | '\u{061C}' // Arabic letter mark
            | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' // Hangul fillers
            | '\u{17B4}' | '\u{17B5}' // Khmer inherent vowels
            | '\u{180B}'..='\u{180F}' // Mongolian separators
            | '\u{200B}'..='\u{200F}' // zero width, direction marks
            | '\u{202A}'..='\u{202E}' // direction embedding
            | '\u{2060}'..='\u{206F}' // word joiner, invisible operators
            | '\u{2800}' // blank Braille pattern
            | '\u{FE00}'..='\u{FE0F}' // variation selectors
            | '\u{FEFF}' // byte order mark
            | '\u{FFF9}'..='\u{FFFB}' // interlinear annotation
            | '\u{E0000}'..='\u{E0FFF}') // tags, variation selectors
}

/// Holds the answers to a key and to a password of one login against each other.
///
/// The password's answer builds the session, as the later one. What it says of the user's home,
/// role and policy may differ from what the key's said, and is noted; another user, or another
/// provider's, is nobody who has proven both.
pub(super) fn agree(
    key: &UserConfig,
    mut password: Arc<UserConfig>,
) -> Result<Arc<UserConfig>, Reason> {
    if (&key.user, &key.provider) != (&password.user, &password.provider) {
        return Err(Reason::AnswersDisagree);
    }
    let differ =
        (&key.home, &key.role, &key.policy) != (&password.home, &password.role, &password.policy);
    let ends = [key.expires_at, password.expires_at]
        .into_iter()
        .flatten()
        .min();
    if differ || ends != password.expires_at {
        let config = Arc::make_mut(&mut password);
        config.expires_at = ends;
        if differ {
            config.warnings.push(Oddity::AnswersDiffer.into());
        }
    }
    Ok(password)
}

/// Checks an answer that says yes against what the gateway can keep, now and from here.
pub(super) fn admit(
    config: &UserConfig,
    roles: Roles,
    source_ip: IpAddr,
    now: SystemTime,
) -> Result<(), Reason> {
    if config.expires_at.is_some_and(|end| end <= now) {
        return Err(Reason::AnswerExpired);
    }
    match roles {
        Roles::Gateway | Roles::Map if config.policy.is_some() => {
            return Err(Reason::PolicyNotEnforceable);
        }
        Roles::Gateway | Roles::Map | Roles::Assume => {}
    }
    let inside = |network: &Network| network.contains(source_ip);
    if !config.networks.is_empty() && !config.networks.iter().any(inside) {
        return Err(Reason::SourceNotInNetworks);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vfs::{Access, HomeDirectory};

    #[test]
    fn passwords_without_a_visible_character_are_refused() {
        for blank in [
            "",
            " ",
            "\t",
            "\r\n",
            "\u{a0}",
            "\u{2003}",
            "\u{feff}",
            "\u{200b}",
            "\u{200b} \u{2060}",
            "\0",
            "\u{3164}\u{ad}",
            "\u{1680}\u{200f}",
        ] {
            let refused = check_password(blank, 1_024);
            assert_eq!(refused, Err(Reason::PasswordBlank), "{blank:?}");
        }
        assert_eq!(check_password(" x ", 1_024), Ok(()));
        assert_eq!(check_password("\u{200d}é", 1_024), Ok(()));
    }

    #[test]
    fn passwords_with_control_characters_are_refused() {
        for bad in [
            "a\0b",
            "a\r",
            "a\nb",
            "\u{1b}[31m",
            "a\u{7f}",
            "a\u{85}b",
            "a\tb",
        ] {
            let refused = check_password(bad, 1_024);
            assert_eq!(refused, Err(Reason::PasswordControlCharacters), "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_bounded() {
        assert_eq!(check_password(&"x".repeat(1_024), 1_024), Ok(()));
        assert!(check_password(&"x".repeat(1_025), 1_024).is_err());
    }

    #[test]
    fn an_answer_is_held_to_its_own_bounds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let home = HomeDirectory::path("/bucket/ann", Access::ReadWrite).unwrap();
        let plain = UserConfig::new("ann", home);
        let judge =
            |config: &UserConfig, ip: &str| admit(config, Roles::Gateway, ip.parse().unwrap(), now);
        assert_eq!(judge(&plain, "192.0.2.1"), Ok(()));
        let ended = UserConfig {
            expires_at: Some(now),
            ..plain.clone()
        };
        assert_eq!(judge(&ended, "192.0.2.1"), Err(Reason::AnswerExpired));
        let policy = UserConfig {
            policy: Some("{}".into()),
            ..plain.clone()
        };
        for (roles, expected) in [
            (Roles::Gateway, Err(Reason::PolicyNotEnforceable)),
            (Roles::Map, Err(Reason::PolicyNotEnforceable)),
            (Roles::Assume, Ok(())),
        ] {
            let judged = admit(&policy, roles, "192.0.2.1".parse().unwrap(), now);
            assert_eq!(judged, expected, "{roles:?}");
        }
        let networks = vec![
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        let bound = UserConfig { networks, ..plain };
        assert_eq!(judge(&bound, "192.0.2.200"), Ok(()));
        assert_eq!(judge(&bound, "2001:db8:1::2"), Ok(()));
        assert_eq!(judge(&bound, "192.0.3.1"), Err(Reason::SourceNotInNetworks));
    }

    #[test]
    fn words_that_repeat_the_password_are_dropped() {
        let password = Secret::new("walnut-39".to_owned());
        let detail = |text: &str| without(Reason::NotAllowed.because(text), &password).detail;
        assert_eq!(detail("no user with walnut-39"), None);
        assert_eq!(detail("expired").as_deref(), Some("expired"));
        let short = Secret::new("x".to_owned());
        let kept = without(Reason::NotAllowed.because("expired"), &short).detail;
        assert_eq!(kept.as_deref(), Some("expired"));
    }
}
