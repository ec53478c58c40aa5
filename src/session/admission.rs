//! Who gets a session: a user whose login is not over, and who has fewer than allowed.

use super::environment::Environment;
use super::expiry;
use super::shell;
use super::user_sessions::UserSession;
use crate::auth::AuthenticatedUser;

/// Gives a user a place for one more session, or says why there is none.
pub(super) fn admit(
    environment: &Environment,
    user: &AuthenticatedUser,
) -> Result<UserSession, &'static str> {
    let (config, clock) = (user.config(), &*environment.clock);
    let line_due = || shell::due(&environment.user_sessions.failures(config), clock);
    if expiry::is_over(config, clock.wall()) {
        if let Some(unlogged) = line_due() {
            tracing::warn!(target: "portcullis::audit", unlogged, "session refused: the identity provider's answer has expired");
        }
        return Err("your login has expired: log in again\n");
    }
    environment.user_sessions.take(config, clock.now()).ok_or_else(|| {
        if let Some(unlogged) = line_due() {
            tracing::warn!(target: "portcullis::audit", max = config.limits.sessions, unlogged, "session refused: the user has reached the limit");
        }
        "too many sessions: close another one first\n"
    })
}
