//! What the operator's port shows of a gateway, and does to it.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::listeners::Listeners;
use crate::admin::{AdminActions, AdminStatus, Readiness, Revoked};
use crate::auth::Shared;
use crate::budget::Budget;
use crate::clock::{Clock as _, SystemClock};
use crate::idp::blocks::{Blocked, Blocks};
use crate::idp::cache::Cached;
use crate::idp::signature::{self, Keys};
use crate::metrics::{Metrics, Readings};
use crate::session::UploadRecords;
use crate::ssh::SshServer;
use crate::storage::health::StoreHealth;
use crate::telemetry;

/// What the operator's port shows of a gateway.
#[derive(Debug)]
pub(super) struct View {
    pub(super) ssh: Arc<SshServer>,
    pub(super) listeners: Arc<Listeners>,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: CancellationToken,
    pub(super) caches: Vec<Arc<Cached>>,
    pub(super) shared: Shared,
    pub(super) upload_records: UploadRecords,
    pub(super) signing_keys: Vec<Arc<Keys>>,
    pub(super) store_health: StoreHealth,
}

#[async_trait]
impl AdminActions for View {
    async fn revoke(&self, user: &str) -> Revoked {
        // Forgotten first: nobody comes back in with an answer from before.
        let answers = self.forget(Some(user)).await;
        // Whoever was thrown out is no witness of an outage.
        self.shared.history.known().forget(user);
        let connections = self.shared.logged_in.revoke(user);
        self.upload_records.revoked(user, SystemClock.wall());
        Revoked {
            connections,
            answers,
        }
    }

    async fn forget(&self, user: Option<&str>) -> usize {
        let mut answers = 0_usize;
        for cache in &self.caches {
            answers = answers.saturating_add(match user {
                Some(user) => cache.flush_user(user).await,
                None => cache.flush_all(),
            });
        }
        answers
    }

    fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.shared.blocks)
    }

    async fn end_blocked(&self, blocked: &Blocked) -> usize {
        match blocked {
            Blocked::User(user) => self.revoke(user).await.connections,
            Blocked::Network(network) => self.shared.logged_in.revoke_from(network),
            // Whoever is in stays: their provider has answered.
            Blocked::Provider(_) => 0,
        }
    }

    fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize {
        self.shared.throttle.unlock(user, source)
    }
}

impl AdminStatus for View {
    fn readiness(&self) -> Readiness {
        let draining = self.drain.is_cancelled();
        Readiness {
            listening: !draining && !self.listeners.any_failed(),
            draining,
            stores_away: self.store_health.away(),
        }
    }

    fn metrics(&self) -> String {
        let tally = self.ssh.tally();
        let (uploads, read_ahead) = self.budget.taken_bytes();
        let (uploads_max, read_ahead_max) = self.budget.limit_bytes();
        self.metrics.observe(&Readings {
            connections_open: tally.connections,
            connections_before_login: tally.unauthenticated,
            connections_accepted: tally.accepted_total,
            connections_refused: [
                ("limit", tally.refused_total),
                ("displaced", tally.displaced_total),
                ("user-limit", tally.over_user_limit_total),
                ("blocked", tally.blocked_total),
                ("proxy-untrusted", tally.untrusted_total),
                ("proxy-header", tally.without_proxy_header_total),
            ],
            connections_without_data: tally.without_data_total,
            upload_memory_taken_bytes: uploads,
            upload_memory_limit_bytes: uploads_max,
            uploads_waiting: self.budget.uploads().waiting(),
            upload_memory_is_strict: self.budget.uploads().is_strict(),
            read_ahead_taken_bytes: read_ahead,
            read_ahead_limit_bytes: read_ahead_max,
            session_memory_taken_bytes: self.budget.account().taken_bytes(),
            session_memory_limit_bytes: self.budget.account().limit_bytes(),
            session_memory_waiting: self.budget.account().waiting(),
            session_memory_refused: self.budget.account().refused(),
            blocks: self.shared.blocks.list(SystemClock.wall()).len(),
            log_lines_lost: telemetry::lost_lines(),
            log_waiting_bytes: telemetry::waiting_bytes(),
        });
        self.metrics.connections_ended(&self.ssh.ended());
        self.metrics.listeners(&self.listeners.readings());
        self.metrics.encode()
    }

    fn jwks(&self) -> Option<String> {
        signature::published(&self.signing_keys)
    }
}
