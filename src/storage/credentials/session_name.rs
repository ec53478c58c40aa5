//! `RoleSessionName` (pure): what S3's logs call a session.

#![warn(clippy::arithmetic_side_effects)]

use crate::limits::ROLE_SESSION_NAME_CHARS_MAX;

/// Returns `user.session@server`, as Transfer Family writes it, in what STS takes: at most 64 of
/// `[A-Za-z0-9_+=,.@-]`. Too long a name loses the end of the server's name first, then the end of
/// the user's; the session's id always stays whole.
#[must_use]
pub fn session_name(user: &str, session_id: &str, server_id: &str) -> Box<str> {
    // Every character of these is one byte.
    let (user, session, server) = (plain(user), plain(session_id), plain(server_id));
    let fixed = session.len().saturating_add(SEPARATORS);
    let room = ROLE_SESSION_NAME_CHARS_MAX.saturating_sub(fixed);
    let of_user = first(&user, room);
    let of_server = first(&server, room.saturating_sub(of_user.len()));
    format!("{of_user}.{session}@{of_server}").into()
}

/// Says whether STS takes a character in the name of a session and in a source identity.
#[must_use]
pub fn is_of_sts_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if is_of_sts_name(c) { c } else { '_' })
        .collect()
}

fn first(text: &str, bytes: usize) -> &str {
    text.get(..bytes).unwrap_or(text)
}

/// `.` and `@`.
const SEPARATORS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_session_is_named_as_transfer_family_names_it() {
        let name = |user, server| session_name(user, "0123456789abcdef0", server);
        assert_eq!(
            &*name("ann", "s-1234567890abcdef0"),
            "ann.0123456789abcdef0@s-1234567890abcdef0"
        );
        assert_eq!(
            &*name("zoë müller/x", "s 1"),
            "zo__m_ller_x.0123456789abcdef0@s_1"
        );
    }

    #[test]
    fn a_long_name_loses_the_server_first_then_the_user_and_never_the_session() {
        let session = "0123456789abcdef0";
        for (user, server) in [(1, 100), (30, 19), (44, 19), (45, 19), (46, 1), (200, 19)] {
            let user = "u".repeat(user);
            let name = session_name(&user, session, &"s".repeat(server));
            assert_eq!(name.len(), 64_usize.min(user.len() + 19 + server), "{name}");
            assert!(name.contains(&format!(".{session}@")), "{name}");
            assert!(name.starts_with(first(&user, 45)), "{name}");
        }
        assert_eq!(
            &*session_name("ann", session, &"s".repeat(100)),
            format!("ann.{session}@{}", "s".repeat(42))
        );
        assert_eq!(
            &*session_name(&"u".repeat(100), session, "server"),
            format!("{}.{session}@", "u".repeat(45))
        );
    }
}
