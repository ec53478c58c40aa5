//! What a client is told about its attempts to log in.

use std::borrow::Cow;
use std::sync::Arc;

use russh::keys::{Algorithm, PublicKey};
use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use tracing::{Instrument as _, Span};

use super::algorithms::{method_set, password_alone};
use super::error::ConnectionError;
use super::server::SshServer;
use super::state::{ConnectionState, EndReason};
use crate::auth::{AuthenticatedUser, ConnectionAuth, OfferedKey, Outcome, password_fault};
use crate::limits;
use crate::secret::Secret;

/// The attempts of one connection.
pub(super) struct Login {
    server: Arc<SshServer>,
    state: Arc<ConnectionState>,
    auth: ConnectionAuth,
    span: Span,
    /// The key is proven: only the password is left to try.
    password_due: bool,
    /// How a password last came. The other way is not offered any more: a client would send the
    /// same wrong password by both.
    carrier: Option<MethodKind>,
}

impl Login {
    pub(super) const fn new(
        server: Arc<SshServer>,
        state: Arc<ConnectionState>,
        auth: ConnectionAuth,
        span: Span,
    ) -> Self {
        Self {
            server,
            state,
            auth,
            span,
            password_due: false,
            carrier: None,
        }
    }

    /// Says whether a client that asks for a prompt gets one.
    pub(super) fn passwords_go(&self) -> bool {
        self.password_due || self.auth.methods().password_first()
    }

    /// Refuses in a way that lets the client go on.
    pub(super) fn refusal(&self) -> Auth {
        let mut methods = if self.password_due {
            password_alone()
        } else {
            method_set(self.auth.methods())
        };
        match self.carrier {
            Some(MethodKind::Password) => methods.remove(MethodKind::KeyboardInteractive),
            Some(_) => methods.remove(MethodKind::Password),
            None => {}
        }
        refuse(methods, false)
    }

    fn answer(&mut self, outcome: Outcome) -> Auth {
        match outcome {
            Outcome::Accepted(user) => self.enter(user),
            Outcome::Offered => Auth::Accept,
            Outcome::PasswordRequired => {
                self.password_due = true;
                refuse(password_alone(), true)
            }
            Outcome::Refused { retry } => {
                if !retry {
                    // The goodbye follows the refusal and says why.
                    self.state.dismiss(EndReason::LoginRefused);
                }
                self.refusal()
            }
        }
    }

    /// Lets a user in who has room for another connection.
    fn enter(&self, user: AuthenticatedUser) -> Auth {
        let name = &*user.config().user;
        self.span.record("user", name);
        match self.server.take_for_user(user.config()) {
            Ok(connection) => {
                self.state.authenticated(user, connection);
                Auth::Accept
            }
            Err(most) => {
                let reason = EndReason::UserLimit.as_str();
                let source_ip = user.source_ip();
                self.span.in_scope(|| {
                    tracing::warn!(reason, %source_ip, most, "connection refused: the user has too many");
                });
                self.state.dismiss(EndReason::UserLimit);
                self.refusal()
            }
        }
    }

    pub(super) async fn password_came(
        &mut self,
        carrier: MethodKind,
        user: &str,
        password: &str,
    ) -> Result<Auth, ConnectionError> {
        // Clients without a person send a blank first; that says nothing about what they prefer.
        if password_fault(password, limits::TOKEN_BYTES_MAX).is_none() {
            self.carrier = Some(carrier);
        }
        let password = Secret::new(password.to_owned());
        let verdict = Box::pin(self.auth.password(user, password));
        let outcome = Self::judged(&self.state, &self.span, verdict).await?;
        Ok(self.answer(outcome))
    }

    pub(super) async fn key_offered(
        &mut self,
        user: &str,
        key: &OfferedKey,
    ) -> Result<Auth, ConnectionError> {
        // Boxed: the library's loop, which lives as long as the connection, stays small.
        let verdict = Box::pin(self.auth.key_offered(user, key));
        let outcome = Self::judged(&self.state, &self.span, verdict).await?;
        Ok(self.answer(outcome))
    }

    pub(super) async fn key_proved(
        &mut self,
        user: &str,
        key: &OfferedKey,
    ) -> Result<Auth, ConnectionError> {
        let verdict = Box::pin(self.auth.key_proved(user, key));
        let outcome = Self::judged(&self.state, &self.span, verdict).await?;
        Ok(self.answer(outcome))
    }

    /// Waits for a verdict no longer than the connection lives.
    async fn judged(
        state: &ConnectionState,
        span: &Span,
        verdict: impl Future<Output = Outcome>,
    ) -> Result<Outcome, ConnectionError> {
        // What a line about a login says beside what every line of the connection says.
        let found = state.algorithms();
        let login = tracing::info_span!(
            parent: span,
            "login",
            kex = found.and_then(|found| found.kex.as_deref()),
            cipher = found.and_then(|found| found.cipher.as_deref()),
            mac = found.and_then(|found| found.mac.as_deref()),
        );
        tokio::select! {
            biased;
            outcome = verdict.instrument(login) => Ok(outcome),
            () = state.gone.cancelled() => Err(ConnectionError::Cut),
        }
    }
}

pub(super) fn password_prompt() -> Auth {
    Auth::Partial {
        name: Cow::Borrowed(""),
        instructions: Cow::Borrowed(""),
        prompts: Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)]),
    }
}

fn refuse(methods: MethodSet, partial_success: bool) -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(methods),
        partial_success,
    }
}

/// The key as it came over the wire; whether it proves enough is not judged here.
pub(super) fn offered(key: &PublicKey, algorithm: &Algorithm) -> Option<OfferedKey> {
    Some(OfferedKey {
        algorithm: algorithm.as_str().to_owned(),
        blob: key.to_bytes().ok()?,
        sha1_signature: matches!(algorithm, Algorithm::Rsa { hash: None }),
    })
}
