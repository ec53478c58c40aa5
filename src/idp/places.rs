//! Bounds the questions that a provider is asked at once.
//!
//! Belongs below the cache, since a remembered answer needs no place, and above the breaker, since
//! a question that waits must not be the trial that others wait for. A question begins only while
//! the login has time for its answer: an attempt that the login's deadline cuts off would be
//! neither counted nor told.

mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::queue::{Asker, Queue, Ticket};
use super::{IdentityProvider, Judged, Question, host_of};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};

/// What bounds the questions to one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesSettings {
    /// Questions under way at once; half of them are kept for users that are known.
    pub questions_max: usize,
    /// What a question may take, from its beginning to its answer.
    pub total_timeout: Duration,
}

/// A provider with so many places for questions.
#[derive(Debug)]
pub struct Bounded {
    provider: Arc<dyn IdentityProvider>,
    name: Box<str>,
    total_timeout: Duration,
    places: Arc<Places>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Places(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    queue: Queue,
    calls: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Bounded {
    /// Puts places before a provider.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        name: &str,
        settings: PlacesSettings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let waiting = Waiting {
            queue: Queue::new(settings.questions_max),
            calls: HashMap::new(),
        };
        Self {
            provider,
            name: name.into(),
            total_timeout: settings.total_timeout,
            places: Arc::new(Places(Mutex::new(waiting))),
            metrics,
            clock,
        }
    }

    /// Returns how long a question can wait and still be answered in time.
    fn patience(&self, question: &Question) -> Result<Duration, Refusal> {
        let Some(answer_by) = question.asking.answer_by else {
            return Ok(Duration::MAX);
        };
        let left = answer_by.saturating_duration_since(self.clock.now());
        left.checked_sub(self.total_timeout).ok_or_else(|| {
            let detail = format!(
                "the login has {} ms left, but an answer may take {} ms",
                left.as_millis(),
                self.total_timeout.as_millis()
            );
            Reason::NoTimeLeft.because(&detail)
        })
    }

    /// Waits for a place for as long as a question can still be answered in time.
    async fn place(&self, question: &Question) -> Result<Place, Refusal> {
        let patience = self.patience(question)?;
        let (place, called) = Places::come(&self.places, question);
        let Some(called) = called else {
            return Ok(place);
        };
        tokio::select! {
            biased;
            // The sender goes only with the place.
            _ = called => Ok(place),
            () = question.asking.beginning.given_up() => Err(Reason::GivenUp.into()),
            () = tokio::time::sleep(patience) => {
                self.metrics.idp_busy(&self.name);
                let detail = format!(
                    "too many concurrent requests; {} others wait",
                    self.places.waiting().queue.waiting()
                );
                Err(Reason::ProviderBusy.because(&detail))
            }
        }
    }
}

#[async_trait]
impl IdentityProvider for Bounded {
    async fn ask(&self, question: &Question) -> Judged {
        // What is under the provider names its own refusals.
        let refused = |refusal: Refusal| refusal.of_provider(&self.name);
        let place = self.place(question).await.map_err(refused)?;
        if !question.asking.beginning.begin() {
            return Err(refused(Reason::GivenUp.into()));
        }
        let counted = self.metrics.idp_question_begun(&self.name);
        let answer = self.provider.ask(question).await;
        drop((place, counted));
        answer
    }
}

impl Places {
    /// Takes a question in; without a receiver it may go at once.
    fn come(places: &Arc<Self>, question: &Question) -> (Place, Option<oneshot::Receiver<()>>) {
        let asker = Asker {
            source: (!question.asking.stands_for_many).then(|| host_of(question.source_ip)),
            known: question.asking.known,
        };
        let mut waiting = places.waiting();
        let (ticket, goes) = waiting.queue.come(asker);
        let place = Place {
            places: Arc::clone(places),
            ticket,
        };
        if goes {
            return (place, None);
        }
        let (call, called) = oneshot::channel();
        waiting.calls.insert(ticket, call);
        (place, Some(called))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question's place, or its wait for one; given up when it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.places.waiting();
        waiting.calls.remove(&self.ticket);
        for called in waiting.queue.leave(self.ticket) {
            if let Some(call) = waiting.calls.remove(&called) {
                // Who stopped waiting in this moment gives the place up by its own drop.
                let _ = call.send(());
            }
        }
    }
}
