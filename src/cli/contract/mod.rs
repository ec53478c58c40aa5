//! `test-identity-provider --contract`: everything that a gateway may ask, and what a service
//! gets wrong about it.
//!
//! The judge is the gateway's own parser. A trial is *wrong* where users, or people who should not
//! be users, would notice; *advice* where it works but costs something.

mod slow;
mod trials;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Exit, output, secrets};
use crate::auth::{OfferedKey, UserNameRule};
use crate::clock::SystemClock;
use crate::idp::webhook::{Event, WebhookSettings};
use crate::idp::{Asking, Credential, Examined, Exchange, Judged, Question};
use crate::refusal::{Reason, Verdict};
use crate::secret::Secret;

/// Who is known to the service, and by what.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) key: Option<OfferedKey>,
    pub(super) source_ip: IpAddr,
}

/// Who is asked.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) provider: Arc<dyn Examined>,
    /// What further clients are made of; only a webhook has any.
    pub(super) webhook: Option<WebhookSettings>,
    /// The names that the gateway asks about; `None`: any, as other gateways may.
    pub(super) user_names: Option<UserNameRule>,
    pub(super) total_timeout: Duration,
}

/// How a trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    Advice,
    Wrong,
    Skipped,
}

/// One line of the report.
#[derive(Debug)]
struct Trial {
    name: &'static str,
    grade: Grade,
    /// What the service did.
    found: String,
    /// Why it matters; shown unless all is good.
    why: &'static str,
}

/// Answers with another status than 200, while one trial ran.
#[derive(Debug, Default)]
struct Statuses(Mutex<BTreeMap<u16, u32>>);

/// Asks on behalf of the trials.
struct Bench<'a> {
    tried: &'a Tried,
    subject: &'a Subject,
    questions: AtomicU64,
    slowest_ms: AtomicU64,
    statuses: Statuses,
}

/// Runs every trial and prints what came of it.
pub(super) async fn run(tried: &Tried, subject: &Subject) -> Exit {
    let bench = Bench {
        tried,
        subject,
        questions: AtomicU64::new(0),
        slowest_ms: AtomicU64::new(0),
        statuses: Statuses::default(),
    };
    let first = trials::right_password(&bench).await;
    let (mut wrong, mut advice, mut told) = (0_u32, 0_u32, false);
    let mut count = |trial: &Trial| {
        let statuses = bench.statuses.take();
        let grade = if statuses.is_some() {
            Grade::Wrong
        } else {
            trial.grade
        };
        // A service may repeat what it was asked.
        let line = trial.line(grade, statuses.as_deref(), !told);
        told |= statuses.is_some();
        output::print_verdicts(&secrets::redacted(&line, &subject.password));
        match grade {
            Grade::Wrong => wrong = wrong.saturating_add(1),
            Grade::Advice => advice = advice.saturating_add(1),
            Grade::Good | Grade::Skipped => {}
        }
    };
    count(&first.trial);
    if let Some(why) = first.nothing_else {
        output::print(&format!("the other tests were skipped: {why}\n"));
        return if first.unreachable {
            Exit::Unavailable
        } else {
            Exit::Failed
        };
    }
    macro_rules! trial {
        ($($run:path),* $(,)?) => { $( count(&$run(&bench).await); )* };
    }
    trial!(
        trials::wrong_passwords,
        trials::blank_passwords,
        trials::padded_password,
        trials::key_look_up,
        trials::unknown_user,
        trials::odd_names,
        trials::other_case,
        trials::other_addresses,
        trials::repeated_password,
        trials::repeated_look_ups,
        trials::parallel_questions,
        trials::optional_keys,
        slow::slow_question,
        trials::speed,
    );
    let asked = bench.questions.load(Ordering::Relaxed);
    output::print(&format!(
        "{asked} requests · {wrong} wrong · {advice} advice\n"
    ));
    if wrong == 0 { Exit::Done } else { Exit::Failed }
}

impl Tried {
    /// Says whether the question is Transfer Family's, in which a blank password is none.
    fn is_transfer_family(&self) -> bool {
        let webhook = self.webhook.as_ref();
        webhook.is_none_or(|webhook| webhook.event == Event::TransferFamily)
    }
}

impl Bench<'_> {
    async fn ask(&self, user: &str, credential: Credential) -> Exchange {
        let provider = &*self.tried.provider;
        self.ask_from(provider, user, credential, self.subject.source_ip)
            .await
    }

    async fn ask_from(
        &self,
        provider: &dyn Examined,
        user: &str,
        credential: Credential,
        source_ip: IpAddr,
    ) -> Exchange {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let question = Question {
            request_id: format!("contract-{number}").into(),
            username: user.into(),
            credential,
            source_ip,
            session_id: "contract".into(),
            asking: Asking::default(),
        };
        let exchange = provider.examine(&question, &SystemClock).await;
        self.note(exchange.total);
        self.statuses.note(exchange.status);
        exchange
    }

    async fn password(&self, user: &str, password: &str) -> Exchange {
        let password = Secret::new(password.to_owned());
        self.ask(user, Credential::Password(password)).await
    }

    async fn right(&self) -> Exchange {
        let password = self.subject.password.clone();
        self.ask(&self.subject.user, Credential::Password(password))
            .await
    }

    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
    }
}

impl Trial {
    /// Writes the trial's line, and why it matters; `statuses` make any trial wrong, for a reason
    /// that is told once.
    fn line(&self, grade: Grade, statuses: Option<&str>, explained: bool) -> String {
        let Self {
            name, found, why, ..
        } = self;
        let word = match grade {
            Grade::Good => "ok",
            Grade::Advice => "advice",
            Grade::Wrong => "WRONG",
            Grade::Skipped => "skipped",
        };
        let found = found.replace(char::is_control, " ");
        let mut line = format!("{word:<8}{name:<32} {found}\n");
        if let Some(statuses) = statuses {
            line.extend(["        ", statuses]);
            if explained {
                line.extend(["; ", STATUS_WHY]);
            }
            line.push('\n');
        }
        if matches!(self.grade, Grade::Advice | Grade::Wrong) {
            line.extend(["        why it matters: ", why, "\n"]);
        }
        line
    }
}

impl Statuses {
    /// Notes how an answer came; none is no status.
    fn note(&self, status: Option<u16>) {
        if let Some(status) = status.filter(|status| *status != 200) {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = seen.entry(status).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Returns what came since the last time, in words.
    fn take(&self) -> Option<String> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::take(&mut *seen);
        let words = seen.iter().map(|(status, count)| {
            let answers = if *count == 1 { "answer" } else { "answers" };
            format!("{count} {answers} with status {status}")
        });
        (!seen.is_empty()).then(|| words.collect::<Vec<_>>().join(", "))
    }
}

/// What the gateway would make of an answer.
fn word(judged: &Judged) -> String {
    let Err(refusal) = judged else {
        return "allowed".to_owned();
    };
    let (verdict, reason) = (refusal.verdict().as_str(), refusal.reason);
    match (refusal.verdict(), &refusal.detail) {
        // A no is expected, and says enough.
        (Verdict::Denied, _) | (Verdict::Invalid | Verdict::Unavailable, None) => {
            format!("{verdict} ({reason})")
        }
        (Verdict::Invalid | Verdict::Unavailable, Some(detail)) => {
            format!("{verdict} ({reason}): {detail}")
        }
    }
}

/// Grades an answer to somebody who must not enter.
fn refusal(judged: &Judged) -> Grade {
    match judged.as_ref().map_err(|refusal| refusal.reason) {
        Err(Reason::StatusDenied) => Grade::Advice,
        Err(reason) if reason.verdict() == Verdict::Denied => Grade::Good,
        Ok(_) | Err(_) => Grade::Wrong,
    }
}

const STATUS_WHY: &str = "answer every request with 200 and deny in the body: to the gateway \
                          another status is an outage of the service, or a failure of its own \
                          authorization, not a denial of one user, and strangers who cause such \
                          requests can disturb other users' logins";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_why_only_where_something_is_to_be_done() {
        let mut trial = Trial {
            name: "blank password",
            grade: Grade::Good,
            found: "denied\u{1b}[2J".to_owned(),
            why: "anybody could enter",
        };
        let line = trial.line(trial.grade, None, true);
        assert!(
            !line.contains("anybody") && !line.contains('\u{1b}'),
            "{line}"
        );
        trial.grade = Grade::Wrong;
        let line = trial.line(trial.grade, None, true);
        assert!(
            line.starts_with("WRONG") && line.contains("anybody"),
            "{line}"
        );
    }

    #[test]
    fn a_status_that_is_no_answer_is_counted_until_it_is_told() {
        let statuses = Statuses::default();
        for status in [Some(200), Some(500), None, Some(401), Some(500)] {
            statuses.note(status);
        }
        let words = "1 answer with status 401, 2 answers with status 500";
        assert_eq!(statuses.take().as_deref(), Some(words));
        assert_eq!(statuses.take(), None);
    }
}
