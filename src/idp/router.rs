//! Several providers: whose name is this, and who is asked first.
//!
//! A name with a provider's suffix or prefix is that provider's alone, and is asked about without
//! it. Any other name is asked about in order until a provider does not deny it. A provider that
//! is unavailable, or whose answer cannot be used, ends the search: the user may be known to it,
//! and a namesake at the next provider is somebody else.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Credential, Denied, IdentityProvider, IdpError, Question, UserNameRule, Verdict};

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

    /// Returns whom to ask about which name.
    fn candidates<'a>(&'a self, username: &'a str) -> Vec<(&'a Route, &'a str)> {
        let own = |route: &'a Route| Some((route, route.own_name(username)?));
        let owners: Vec<_> = self.routes.iter().filter_map(own).collect();
        if !owners.is_empty() {
            return owners;
        }
        let open = self.routes.iter().filter(|route| route.takes_any_name());
        open.map(|route| (route, username)).collect()
    }
}

impl Route {
    const fn takes_any_name(&self) -> bool {
        self.suffix.is_none() && self.prefix.is_none()
    }

    /// Returns the name without its suffix and prefix, if it has what this route asks for.
    fn own_name<'n>(&self, username: &'n str) -> Option<&'n str> {
        if self.takes_any_name() {
            return None;
        }
        let name = match &self.suffix {
            Some(suffix) => username.strip_suffix(&**suffix)?,
            None => username,
        };
        match &self.prefix {
            Some(prefix) => name.strip_prefix(&**prefix),
            None => Some(name),
        }
    }
}

#[async_trait]
impl IdentityProvider for Router {
    async fn ask(&self, question: &Question) -> Result<Verdict, IdpError> {
        let mut unasked = "no-provider-for-name";
        let mut denial: Option<Denied> = None;
        for (route, name) in self.candidates(&question.username) {
            if !route.user_names.allows(name) {
                unasked = "user-name";
                continue;
            }
            if let Credential::Password(password) = &question.credential
                && password.expose().len() > route.password_bytes_max
            {
                unasked = "password-too-long";
                continue;
            }
            let question = Question {
                username: name.into(),
                ..question.clone()
            };
            match route.provider.ask(&question).await? {
                Verdict::Denied(denied) => {
                    // A 403 of the next provider must not hide that this one knows the user: that
                    // one is a wrong password, and the other is none.
                    let hides = denial.as_ref().is_some_and(Denied::is_explicit);
                    if denied.is_explicit() || !hides {
                        denial = Some(denied);
                    }
                }
                allowed @ Verdict::Allowed(_) => return Ok(allowed),
            }
        }
        let nobody = || Denied {
            reason: unasked,
            detail: None,
        };
        Ok(Verdict::Denied(denial.unwrap_or_else(nobody)))
    }
}
