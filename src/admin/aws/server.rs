//! The servers that AWS's tools see.

use std::sync::Arc;

use serde_json::Value;

use super::refusal::Refusal;
use super::shown::Transports;
use crate::auth::AuthSettings;
use crate::clock::Clock;
use crate::idp::Examined;
use crate::idp::blocks::Blocks;
use crate::idp::service_managed::{Resource, Tag, Users};
use crate::storage::credentials::Stores;

/// A Transfer Family server, as AWS's tools see it: one id, and who is asked in its name.
#[derive(Debug, Clone)]
pub struct Server {
    pub id: Box<str>,
    /// Of the provider; empty for the only one.
    pub name: Box<str>,
    pub provider: Arc<dyn Examined>,
    /// AWS's word for such a provider, if it has one.
    pub provider_type: Option<&'static str>,
    /// The users that it keeps, if it does.
    pub users: Option<Arc<Users>>,
    /// What a login has to keep to.
    pub auth: AuthSettings,
    /// The names that are this provider's alone.
    pub user_prefix: Option<Box<str>>,
    pub user_suffix: Option<Box<str>>,
    /// What its clients are shown before they log in.
    pub transports: Arc<dyn Transports>,
    /// `None` for one of the configuration.
    pub made: Option<Arc<Made>>,
}

/// What AWS's tools said of a server that they made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The members of `DescribeServer`.
    pub description: Value,
    pub tags: Vec<Tag>,
}

/// All of them, and what a login is judged with.
#[derive(Debug)]
pub struct Servers {
    /// Several may have one id: they are asked in order.
    pub all: Vec<Server>,
    pub stores: Arc<dyn Stores>,
    /// Whom the operator keeps out.
    pub blocks: Arc<Blocks>,
    pub clock: Arc<dyn Clock>,
}

impl Servers {
    /// Returns others that are judged with the same.
    pub(super) fn with(&self, all: Vec<Server>) -> Self {
        Self {
            all,
            stores: Arc::clone(&self.stores),
            blocks: Arc::clone(&self.blocks),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Returns those with an id, in order.
    pub(super) fn of(&self, id: &str) -> Result<Vec<&Server>, Refusal> {
        let all = self.all.iter().filter(|server| *server.id == *id);
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            return Err(Refusal::not_found(Resource::Server, id));
        }
        Ok(all)
    }

    /// Returns the users that a server keeps.
    pub(super) fn users(&self, id: &str) -> Result<&Users, Refusal> {
        let keeps = |server: &&Server| server.users.is_some();
        let kept = self.of(id)?.into_iter().find(keeps);
        kept.and_then(|server| server.users.as_deref())
            .ok_or_else(|| {
                Refusal::invalid(&format!(
                    "server {id} keeps no users: it has no provider = \"service-managed\""
                ))
            })
    }

    /// Returns every id once, in order.
    pub(super) fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = Vec::new();
        for server in &self.all {
            if !ids.contains(&&*server.id) {
                ids.push(&server.id);
            }
        }
        ids
    }
}
