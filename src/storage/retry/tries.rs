//! The tries of one call, within what the process repeats in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::policy::{Bucket, Patience, RetrySettings, Schedule};
use crate::clock::{Clock, random_byte};
use crate::limits::LOG_INTERVAL;
use crate::seldom::Seldom;
use crate::storage::error::{StorageError, StorageErrorKind};
use crate::storage::operation::Operation;

/// Is told of retries. Called on the caller's task: counts, and does not wait.
pub trait RetryObserver: std::fmt::Debug + Send + Sync + 'static {
    /// A call is tried again.
    fn retried(&self, operation: Operation);

    /// It was too late to try again.
    fn given_up(&self, operation: Operation);

    /// A retry has to wait: the process has repeated as many calls as it may.
    fn held_back(&self);
}

/// How the process repeats calls. Clones share one bound on retries per second and store.
#[derive(Debug, Clone)]
pub struct Retries(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: RetrySettings,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn RetryObserver>,
    /// By the numbers of the stores.
    buckets: Mutex<HashMap<u16, Bucket>>,
    line: Seldom,
    clocks: Seldom,
}

impl Retries {
    #[must_use]
    pub fn new(
        settings: RetrySettings,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn RetryObserver>,
    ) -> Self {
        Self(Arc::new(Shared {
            settings,
            clock,
            observer,
            buckets: Mutex::default(),
            line: Seldom::default(),
            clocks: Seldom::default(),
        }))
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Writes that the clock of this machine is wrong.
    fn warn_of_clock(&self, now: Instant, error: &StorageError) {
        if let Some(unlogged) = self.0.clocks.due(now, LOG_INTERVAL) {
            tracing::warn!(
                %error,
                unlogged,
                "S3 refuses requests because this machine's clock is wrong: set the clock; the next requests are signed with S3's clock"
            );
        }
    }

    /// Takes one retry of a store, if there is one.
    pub(super) fn take(&self, store: u16, now: Instant) -> bool {
        let shared = &*self.0;
        let buckets = shared.buckets.lock();
        let mut buckets = buckets.unwrap_or_else(PoisonError::into_inner);
        let new = || Bucket::new(shared.settings.per_second_max);
        if buckets.entry(store).or_insert_with(new).take(now) {
            return true;
        }
        drop(buckets);
        shared.observer.held_back();
        if let Some(unlogged) = shared.line.due(now, LOG_INTERVAL) {
            let per_second_max = shared.settings.per_second_max;
            tracing::warn!(
                per_second_max,
                unlogged,
                "retries of S3 calls wait: the rate limit storage.retries_per_second_max is reached"
            );
        }
        false
    }
}

/// The tries of one call, or of one transfer that continues where it was cut.
#[derive(Debug)]
pub struct Tries {
    /// `None`: nothing else is repeated, so that nothing is shared.
    retries: Option<Retries>,
    schedule: Schedule,
    operation: Operation,
    /// Its number.
    store: u16,
}

impl Tries {
    pub(super) fn new(
        retries: &Retries,
        patience: Patience,
        operation: Operation,
        store: u16,
    ) -> Self {
        let shared = &*retries.0;
        Self {
            schedule: Schedule::new(&shared.settings, patience, shared.clock.now()),
            retries: Some(retries.clone()),
            operation,
            store,
        }
    }

    /// Begins those of a store that stands alone, as stores in memory do.
    pub(super) fn alone(operation: Operation, now: Instant) -> Self {
        let settings = RetrySettings {
            under_way: ALONE,
            ..RetrySettings::default()
        };
        Self {
            retries: None,
            schedule: Schedule::new(&settings, Patience::UnderWay, now),
            operation,
            store: 0,
        }
    }

    /// Begins again: something came through.
    pub fn restart(&mut self, now: Instant) {
        self.schedule.restart(now);
    }

    /// Returns how long a try may take that begins now, where its call is cut at the deadline.
    pub(super) fn cut_after(&self, now: Instant) -> Option<Duration> {
        self.schedule.cut_after(now)
    }

    /// Waits until the call may be tried again. It returns `false` if it is too late for that,
    /// which the error then says.
    pub async fn again_after(&mut self, clock: &dyn Clock, error: &mut StorageError) -> bool {
        let mut retry_after = error.retry_after;
        if let (StorageErrorKind::ClockSkew, Some(retries)) = (error.kind, &self.retries) {
            retries.warn_of_clock(clock.now(), error);
        }
        loop {
            let now = clock.now();
            let spread = self
                .retries
                .as_ref()
                .map_or(u8::MAX, |_| random_byte().unwrap_or(u8::MAX));
            let Some(pause) = self.schedule.pause(now, spread, retry_after.take()) else {
                self.give_up(now, error);
                return false;
            };
            clock.sleep(pause).await;
            let Some(retries) = &self.retries else {
                return true;
            };
            if retries.take(self.store, clock.now()) {
                let operation = self.operation;
                retries.0.observer.retried(operation);
                tracing::debug!(operation = operation.name(), %error, ?pause, "trying again");
                return true;
            }
        }
    }

    fn give_up(&self, now: Instant, error: &mut StorageError) {
        let (tries, took) = (self.schedule.failures(), self.schedule.took(now));
        let detail = &error.detail;
        error.detail = format!("{detail} (given up after {took:.1?}, failure {tries})").into();
        if let Some(retries) = &self.retries {
            retries.0.observer.given_up(self.operation);
        }
    }
}

const ALONE: Duration = Duration::from_secs(2);
