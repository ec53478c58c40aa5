//! What the operator can have done: end a user's sessions, forget answers, unlock, keep somebody
//! out for a while.
//!
//! A command is a POST of JSON. Its content type cannot be sent by a page in a browser without
//! asking first, so no page can give commands to a port on its reader's own machine. Nor can one
//! whose name was made to mean that machine (DNS rebinding): without a token, the host that is
//! asked for has to be this machine by name or by address.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::request;
use hyper::http::uri::Authority;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::clock::{Clock as _, SystemClock, written};
use crate::endpoint::is_loopback;
use crate::idp::blocks::{Blocked, Blocks};
use crate::limits::LOG_INTERVAL;
use crate::secret::Secret;
use crate::seldom::Seldom;

/// Does what the operator asks for.
#[async_trait]
pub trait AdminActions: Debug + Send + Sync + 'static {
    /// Forgets a user's answers and ends their sessions without committing what is open.
    async fn revoke(&self, user: &str) -> Revoked;

    /// Forgets the answers about one user, or all; returns how many there were.
    async fn forget(&self, user: Option<&str>) -> usize;

    /// Forgets failed logins of a user, a source, both together, or all; returns how many
    /// entries there were.
    fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize;

    /// Returns whom the operator keeps out.
    fn blocks(&self) -> Arc<Blocks>;

    /// Ends the connections of whom the operator keeps out from now on; returns how many there
    /// were.
    async fn end_blocked(&self, blocked: &Blocked) -> usize;
}

/// What a revocation found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Connections that were ended.
    pub connections: usize,
    /// Answers that were forgotten.
    pub answers: usize,
}

/// The tokens of which a command must bring one: two stand side by side while one replaces the
/// other.
#[derive(Debug, Default)]
pub struct AdminTokens(RwLock<Arc<[Secret]>>);

impl AdminTokens {
    #[must_use]
    pub fn new(tokens: [Option<Secret>; 2]) -> Self {
        Self(RwLock::new(tokens.into_iter().flatten().collect()))
    }

    /// Asks for others from the next command on.
    pub fn replace(&self, tokens: [Option<Secret>; 2]) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = tokens.into_iter().flatten().collect();
    }

    fn current(&self) -> Arc<[Secret]> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }
}

/// Takes commands.
#[derive(Debug)]
pub(super) struct Commands {
    actions: Arc<dyn AdminActions>,
    tokens: Arc<AdminTokens>,
    refusals: Seldom,
}

/// The keys of all commands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    user: Option<String>,
    source: Option<IpAddr>,
    network: Option<String>,
    /// Empty for the only one.
    provider: Option<String>,
    /// How long; without it until it is lifted.
    seconds: Option<u64>,
}

impl Order {
    /// Returns what a block is about.
    fn blocked(&self) -> Result<Blocked, &'static str> {
        match (&self.user, &self.network, &self.provider, self.source) {
            (Some(user), None, None, None) if !user.is_empty() => Ok(Blocked::user(user)),
            (None, Some(network), None, None) => {
                let network = network
                    .parse()
                    .map_err(|_| "\"network\" is not an IP network")?;
                Ok(Blocked::Network(network))
            }
            (None, None, Some(name), None) => Ok(Blocked::Provider(name.as_str().into())),
            _ => Err("a block needs exactly one of \"user\", \"network\" and \"provider\""),
        }
    }
}

impl Commands {
    pub(super) fn new(actions: Arc<dyn AdminActions>, tokens: Arc<AdminTokens>) -> Self {
        Self {
            actions,
            tokens,
            refusals: Seldom::default(),
        }
    }

    /// Says whether there is a command of that path.
    pub(super) fn takes(path: &str) -> bool {
        matches!(
            path,
            "/revoke" | "/forget" | "/unlock" | "/block" | "/unblock" | "/blocks"
        )
    }

    /// Does what is ordered, or says why not.
    pub(super) async fn run(
        &self,
        head: &request::Parts,
        body: &[u8],
        peer: IpAddr,
    ) -> (StatusCode, String) {
        if let Err((status, why)) = self.check(head, peer) {
            if let Some(unlogged) = self.refusals.due(SystemClock.now(), LOG_INTERVAL) {
                tracing::warn!(source_ip = %peer, command = head.uri.path(), why, unlogged, "admin command refused");
            }
            return (status, json!({"error": why}).to_string());
        }
        let Ok(order) = serde_json::from_slice::<Order>(body) else {
            return unusable("the body must be JSON with the keys of the command and no others");
        };
        let done = match head.uri.path() {
            "/block" => self.block(&order).await,
            "/unblock" => self.unblock(&order).await,
            // A look changes nothing, and needs no line.
            "/blocks" => return (StatusCode::OK, self.blocks().to_string()),
            path => self.other(path, &order).await,
        };
        let done = match done {
            Ok(done) => done,
            Err(why) => return unusable(&why),
        };
        tracing::warn!(
            target: "portcullis::audit",
            source_ip = %peer, command = head.uri.path(), user = order.user,
            source = order.source.map(|ip| ip.to_string()), network = order.network,
            provider = order.provider, seconds = order.seconds, %done, "admin command executed"
        );
        (StatusCode::OK, done.to_string())
    }

    /// Keeps somebody out.
    async fn block(&self, order: &Order) -> Result<Value, String> {
        let blocked = order.blocked()?;
        let now = SystemClock.wall();
        let until = match order.seconds {
            Some(seconds) if !(1..=BLOCK_SECONDS_MAX).contains(&seconds) => {
                return Err("\"seconds\" must be 1 to 3153600000 (100 years)".to_owned());
            }
            Some(seconds) => now.checked_add(Duration::from_secs(seconds)),
            None => None,
        };
        // Blocked first: a login that is not found below is refused by the block.
        let blocks = self.actions.blocks();
        let made = blocks.block(blocked.clone(), until, now);
        made.map_err(|error| error.to_string())?;
        let ended = self.actions.end_blocked(&blocked).await;
        // It holds: that it may not outlive the process is for the answer and the line of record.
        let (are_kept, why) = (blocks.are_kept(), keep(blocks).await);
        let kept = are_kept && why.is_none();
        Ok(json!({
            "connections": ended,
            "until": until.map(written),
            "kept": kept,
            "why": why,
        }))
    }

    async fn unblock(&self, order: &Order) -> Result<Value, String> {
        let blocks = self.actions.blocks();
        let lifted = blocks.lift(&order.blocked()?);
        Ok(json!({"lifted": lifted, "why": keep(blocks).await}))
    }

    fn blocks(&self) -> Value {
        let blocks = self.actions.blocks().list(SystemClock.wall());
        let rows = blocks.iter().map(|(blocked, until)| {
            json!({(blocked.kind()): blocked.to_string(), "until": until.map(written)})
        });
        json!({"blocks": rows.collect::<Vec<_>>()})
    }

    /// Does what is about answers, sessions and locks.
    async fn other(&self, path: &str, order: &Order) -> Result<Value, String> {
        if order.network.is_some() || order.provider.is_some() || order.seconds.is_some() {
            return Err("this command needs a \"user\" or a \"source\"".to_owned());
        }
        Ok(match (path, order.user.as_deref(), order.source) {
            ("/revoke", Some(user), None) if !user.is_empty() => {
                let Revoked {
                    connections,
                    answers,
                } = self.actions.revoke(user).await;
                json!({"connections": connections, "answers": answers})
            }
            ("/revoke", ..) => {
                return Err("revoke needs a \"user\" and no \"source\"".to_owned());
            }
            ("/forget", user, None) => json!({"answers": self.actions.forget(user).await}),
            ("/forget", ..) => return Err("forget does not accept a \"source\"".to_owned()),
            (_, user, source) => json!({"entries": self.actions.unlock(user, source)}),
        })
    }

    fn check(&self, head: &request::Parts, peer: IpAddr) -> Result<(), (StatusCode, &'static str)> {
        let header = |name| head.headers.get(name).map_or(&b""[..], |v| v.as_bytes());
        let tokens = self.tokens.current();
        if tokens.is_empty() {
            if !peer.to_canonical().is_loopback() {
                let why = "commands from other machines need the setting admin.token";
                return Err((StatusCode::FORBIDDEN, why));
            }
            if !asks_this_machine(head) {
                let why = "without admin.token, the host must be localhost or a loopback address";
                return Err((StatusCode::FORBIDDEN, why));
            }
        } else {
            let brought = header(AUTHORIZATION);
            let is_brought = |token: &Secret| {
                let wanted = Secret::new(format!("Bearer {}", token.expose()));
                bool::from(brought.ct_eq(wanted.expose().as_bytes()))
            };
            // Each is compared, so that time does not tell which one it was.
            if tokens.iter().filter(|token| is_brought(token)).count() == 0 {
                let why = "send admin.token as Authorization: Bearer …";
                return Err((StatusCode::UNAUTHORIZED, why));
            }
        }
        if !header(CONTENT_TYPE).starts_with(b"application/json") {
            let why = "the content type must be application/json";
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        Ok(())
    }
}

/// Writes the blocks down; says why they do not outlive the process, though they are to.
async fn keep(blocks: Arc<Blocks>) -> Option<String> {
    let kept = tokio::task::spawn_blocking(move || blocks.keep()).await;
    let kept = kept.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let error = kept.err()?;
    Some(format!(
        "the block is active but could not be saved: {error}"
    ))
}

/// A hundred years: for longer, leave it out.
const BLOCK_SECONDS_MAX: u64 = 3_153_600_000;

/// Says whether the host that a request is for can be no other machine's.
fn asks_this_machine(head: &request::Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().ok().and_then(|host| host.parse().ok());
    let is_local = |authority: &Authority| is_loopback(authority.host());
    host.as_ref().is_some_and(is_local) && head.uri.authority().is_none_or(is_local)
}

fn unusable(why: &str) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, json!({"error": why}).to_string())
}
