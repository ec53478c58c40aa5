//! How many logged-in connections each user has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::{Pool, Share};
use crate::idp::{UserConfig, folded};
use crate::limits::Limits;

/// The provider, and the canonical name in one spelling: namesakes are not the same user.
type Person = (Box<str>, Box<str>);

/// The logged-in connections of the process, by user.
#[derive(Debug, Clone)]
pub(super) struct PerUser {
    users: Arc<Mutex<HashMap<Person, Connections>>>,
    account: Arc<Pool>,
}

/// What a user has.
#[derive(Debug)]
struct Connections {
    count: usize,
    /// Of the account of bytes, for all of them together.
    share: Share,
}

/// One connection of a user, until it is dropped.
#[derive(Debug)]
pub(super) struct UserConnection {
    users: PerUser,
    user: Person,
    share: Share,
}

impl PerUser {
    pub(super) fn new(account: Arc<Pool>) -> Self {
        Self {
            users: Arc::default(),
            account,
        }
    }

    /// Counts a connection in, or says how many the user may have and has.
    pub(super) fn take(
        &self,
        config: &UserConfig,
        limits: &Limits,
    ) -> Result<UserConnection, usize> {
        let most = limits.connections_of_user(config.limits.sessions);
        let user: Person = (config.provider.clone(), folded(&config.user));
        let mut users = self.users();
        if users.get(&user).map_or(0, |user| user.count) >= most {
            return Err(most);
        }
        let connections = users.entry(user.clone()).or_insert_with(|| Connections {
            count: 0,
            share: self.account.share(),
        });
        connections.count = connections.count.saturating_add(1);
        let share = connections.share.clone();
        drop(users);
        Ok(UserConnection {
            users: self.clone(),
            user,
            share,
        })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Person, Connections>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserConnection {
    /// Returns what the user's connections may have of the account of bytes.
    pub(super) const fn share(&self) -> &Share {
        &self.share
    }
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        let mut users = self.users.users();
        if let Some(connections) = users.get_mut(&self.user) {
            connections.count = connections.count.saturating_sub(1);
            if connections.count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
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
        let budget = Budget::new(&Limits::default());
        let users = PerUser::new(Arc::clone(budget.account()));
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
