//! Several providers: whose name is this, and who is asked first.
//!
//! A name with a provider's suffix or prefix is that provider's alone, and is asked about without
//! it. Any other name is asked about in order until a provider does not deny it. A provider that
//! is unavailable, or whose answer cannot be used, ends the search: the user may be known to it,
//! and a namesake at the next provider is somebody else.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Credential, IdentityProvider, Judged, Question, UserNameRule};
use crate::refusal::{Reason, Refusal, Verdict};

/// One provider and the names that it is asked about.
#[derive(Debug, Clone)]
pub struct Route {
    pub provider: Arc<dyn IdentityProvider>,
    pub user_names: UserNameRule,
    /// The names that end like this are this provider's alone.
    pub suffix: Option<Box<str>>,
    pub prefix: Option<Box<str>>,
    /// The port may take longer ones for another provider.
    pub password_bytes_max: usize,
}

/// Asks the providers whose business a name is.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Route>,
}

impl Router {
    /// Takes the providers in the order in which they are to be asked.
    #[must_use]
    pub const fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }
}

/// What a name has to begin and to end with to be one provider's alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark<'r> {
    pub prefix: Option<&'r str>,
    pub suffix: Option<&'r str>,
}

/// Returns whom to ask about which name (pure).
pub fn candidates<'r, 'n, R>(
    routes: impl Iterator<Item = &'r R> + Clone,
    mark: impl Fn(&'r R) -> Mark<'r>,
    username: &'n str,
) -> Vec<(&'r R, &'n str)> {
    let own = |route: &'r R| Some((route, mark(route).own_name(username)?));
    let owners: Vec<_> = routes.clone().filter_map(own).collect();
    if !owners.is_empty() {
        return owners;
    }
    let open = routes.filter(|route| mark(route).takes_any_name());
    open.map(|route| (route, username)).collect()
}

impl Mark<'_> {
    const fn takes_any_name(self) -> bool {
        self.suffix.is_none() && self.prefix.is_none()
    }

    /// Returns the name without its suffix and prefix, if it has what is asked for.
    fn own_name(self, username: &str) -> Option<&str> {
        if self.takes_any_name() {
            return None;
        }
        let name = username.strip_suffix(self.suffix.unwrap_or(""))?;
        name.strip_prefix(self.prefix.unwrap_or(""))
    }
}

impl Route {
    fn mark(&self) -> Mark<'_> {
        Mark {
            prefix: self.prefix.as_deref(),
            suffix: self.suffix.as_deref(),
        }
    }
}

#[async_trait]
impl IdentityProvider for Router {
    async fn ask(&self, question: &Question) -> Judged {
        let mut unasked = Reason::NoProviderForName;
        let mut denial: Option<Refusal> = None;
        for (route, name) in candidates(self.routes.iter(), Route::mark, &question.username) {
            if !route.user_names.allows(name) {
                unasked = Reason::UserName;
                continue;
            }
            if let Credential::Password(password) = &question.credential
                && password.expose().len() > route.password_bytes_max
            {
                unasked = Reason::PasswordTooLong;
                continue;
            }
            let question = Question {
                username: name.into(),
                ..question.clone()
            };
            let refusal = match route.provider.ask(&question).await {
                Ok(config) => return Ok(config),
                Err(refusal) => refusal,
            };
            match refusal.verdict() {
                Verdict::Denied => {
                    // A 403 of the next provider must not hide that this one knows the user: that
                    // one is a wrong password, and the other is none.
                    let is_explicit = |denial: &Refusal| {
                        denial.reason.may_be_cached() && !denial.reason.is_of_a_stranger()
                    };
                    // Nor must who does not know the user hide the 403 of the one who might.
                    let hides = |denial: &Refusal| {
                        is_explicit(denial)
                            || denial.reason == Reason::StatusDenied
                                && refusal.reason.is_of_a_stranger()
                    };
                    if is_explicit(&refusal) || !denial.as_ref().is_some_and(hides) {
                        denial = Some(refusal);
                    }
                }
                // Asked or not, the one before has said no, and that counts.
                Verdict::Invalid | Verdict::Unavailable => {
                    return Err(match denial {
                        Some(denial) if refusal.reason == Reason::GivenUp => denial,
                        Some(denial) => refusal.after(denial),
                        None => refusal,
                    });
                }
            }
        }
        Err(denial.unwrap_or_else(|| Refusal::new(unasked)))
    }
}
