//! How many logged-in connections each user has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::idp::{UserConfig, folded};
use crate::limits::Limits;

/// The provider, and the canonical name in one spelling: namesakes are not the same user.
type Person = (Box<str>, Box<str>);

/// The logged-in connections of the process, by user.
#[derive(Debug, Clone, Default)]
pub(super) struct PerUser(Arc<Mutex<HashMap<Person, usize>>>);

/// One connection of a user, until it is dropped.
#[derive(Debug)]
pub(super) struct UserConnection {
    users: PerUser,
    user: Person,
}

impl PerUser {
    /// Counts a connection in, or says how many the user may have and has.
    pub(super) fn take(
        &self,
        config: &UserConfig,
        limits: &Limits,
    ) -> Result<UserConnection, usize> {
        let most = limits.connections_of_user(config.limits.sessions);
        let user: Person = (config.provider.clone(), folded(&config.user));
        let mut users = self.users();
        let connections = users.get(&user).copied().unwrap_or_default();
        if connections >= most {
            return Err(most);
        }
        users.insert(user.clone(), connections.saturating_add(1));
        Ok(UserConnection {
            users: self.clone(),
            user,
        })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Person, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        let mut users = self.users.users();
        if let Some(connections) = users.get_mut(&self.user) {
            *connections = connections.saturating_sub(1);
            if *connections == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idp::UserLimits;
    use crate::vfs::{Access, HomeDirectory};

    fn user(name: &str, sessions: Option<u32>) -> UserConfig {
        let home = HomeDirectory::path("/bucket/home", Access::ReadWrite).unwrap();
        UserConfig {
            limits: UserLimits {
                sessions,
                ..UserLimits::default()
            },
            ..UserConfig::new(name, home)
        }
    }

    #[test]
    fn a_user_has_a_tenth_of_all_connections_or_two_more_than_sessions() {
        let limits = |connections_max, connections_per_user_max| Limits {
            connections_max,
            connections_per_user_max,
            ..Limits::default()
        };
        for (limits, sessions, most) in [
            (Limits::default(), None, 200),
            (limits(50, 0), None, 5),
            (limits(3, 0), None, 1),
            (limits(50, 7), None, 7),
            (limits(50, 7), Some(1), 3),
            (limits(50, 7), Some(20), 22),
            (limits(50, 7), Some(u32::MAX), 4_294_967_297),
        ] {
            assert_eq!(limits.connections_of_user(sessions), most, "{limits:?}");
        }
    }

    #[test]
    fn the_one_too_many_is_refused_and_namesakes_are_others() {
        let limits = Limits {
            connections_per_user_max: 1,
            ..Limits::default()
        };
        let users = PerUser::default();
        let first = users.take(&user("ann", None), &limits).unwrap();
        assert_eq!(users.take(&user("Ann", None), &limits).unwrap_err(), 1);
        let namesake = UserConfig {
            provider: "staff".into(),
            ..user("ann", None)
        };
        let _namesake = users.take(&namesake, &limits).unwrap();
        drop(first);
        assert!(users.take(&user("ANN", None), &limits).is_ok());
        assert_eq!(users.users().len(), 1);
    }
}
