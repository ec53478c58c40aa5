//! Several providers: who is asked about which name, and what ends the search.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis::clock::SystemClock;
use portcullis::idp::metered::Metered;
use portcullis::idp::router::{Route, Router};
use portcullis::idp::{Asking, Credential, IdentityProvider, Judged, Question, UserNameRule};
use portcullis::metrics::Metrics;
use portcullis::refusal::{Reason, Verdict};
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::common::login::allowed;
use crate::common::provider::RecordingProvider;
use crate::common::refusals::is;

struct Bench {
    router: Router,
    asked: Vec<Arc<RecordingProvider>>,
}

/// Routes to providers of these names, suffixes and standing answers.
fn bench(providers: &[(&str, Option<&str>, Value)]) -> Bench {
    let (mut routes, mut asked) = (Vec::new(), Vec::new());
    for (name, suffix, answer) in providers {
        let provider = RecordingProvider::new(answer.clone());
        asked.push(Arc::clone(&provider));
        let metrics = Arc::new(Metrics::default());
        let named = Metered::new(name, provider, metrics, Arc::new(SystemClock));
        routes.push(Route {
            provider: Arc::new(named),
            user_names: UserNameRule::Open,
            suffix: suffix.map(Into::into),
            prefix: None,
            password_bytes_max: 1_024,
        });
    }
    let router = Router::new(routes);
    Bench { router, asked }
}

impl Bench {
    /// Gives the providers from here on the rule of AWS for names.
    fn strict_from(&mut self, first: usize) {
        let routes = self.asked.iter().enumerate().map(|(at, provider)| Route {
            provider: provider.clone(),
            user_names: if at < first {
                UserNameRule::Open
            } else {
                UserNameRule::Aws
            },
            suffix: None,
            prefix: None,
            password_bytes_max: 1_024,
        });
        self.router = Router::new(routes.collect());
    }

    async fn ask(&self, user: &str) -> Judged {
        let question = Question {
            request_id: "c1-1".into(),
            username: user.into(),
            credential: Credential::Password(Secret::new("right".to_owned())),
            source_ip: "192.0.2.7".parse().unwrap(),
            session_id: "c1".into(),
            asking: Asking::default(),
        };
        self.router.ask(&question).await
    }

    fn calls(&self) -> Vec<Vec<String>> {
        let names = |provider: &Arc<RecordingProvider>| {
            provider
                .calls()
                .into_iter()
                .map(|call| call.username)
                .collect()
        };
        self.asked.iter().map(names).collect()
    }
}

fn from(judged: Judged) -> String {
    match judged {
        Ok(config) => format!("{} {}", config.provider, config.user),
        Err(refusal) => refusal.reason.to_string(),
    }
}

#[tokio::test]
async fn a_name_with_a_suffix_is_asked_about_without_it_and_nowhere_else() {
    let bench = bench(&[
        ("staff", Some("@@staff"), allowed()),
        ("others", None, allowed()),
    ]);
    assert_eq!(from(bench.ask("ann@@staff").await), "staff ann");
    assert_eq!(from(bench.ask("ann").await), "others ann");
    assert_eq!(bench.calls(), [vec!["ann"], vec!["ann"]]);
}

#[tokio::test]
async fn nothing_is_left_of_a_name_that_is_all_suffix() {
    let bench = bench(&[("staff", Some("@@staff"), allowed())]);
    assert_eq!(from(bench.ask("@@staff").await), "user-name");
    assert_eq!(from(bench.ask("ann").await), "no-provider-for-name");
    assert_eq!(bench.calls(), [Vec::<String>::new()]);
}

#[tokio::test]
async fn providers_are_asked_in_order_until_one_knows_the_user() {
    let denied = || json!({"allow": false});
    let bench = bench(&[
        ("one", None, denied()),
        ("two", None, allowed()),
        ("three", None, allowed()),
    ]);
    assert_eq!(from(bench.ask("ann").await), "two ann");
    assert_eq!(bench.calls(), [vec!["ann"], vec!["ann"], vec![]]);
    for provider in &bench.asked {
        provider.answer_from_now_on(denied());
    }
    let refusal = bench.ask("ann").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NotAllowed);
    assert_eq!(refusal.provider.as_deref(), Some("three"), "the last one");
}

#[tokio::test]
async fn an_outage_or_an_unusable_answer_ends_the_search() {
    let bench = bench(&[("one", None, allowed()), ("two", None, allowed())]);
    bench.asked[0].then(500, json!({}));
    let outage = bench.ask("ann").await;
    assert!(is(&outage, Verdict::Unavailable), "{outage:?}");
    bench.asked[0].then(200, json!({"allow": true}));
    let unusable = bench.ask("ann").await;
    assert!(is(&unusable, Verdict::Invalid), "{unusable:?}");
    assert!(bench.asked[1].calls().is_empty());
}

#[tokio::test]
async fn what_says_nothing_about_the_user_hides_no_denial() {
    let bench = bench(&[
        ("one", None, json!({"allow": false})),
        ("two", None, allowed()),
    ]);
    // The next provider keeps the gateway out: the first one's no is still a wrong password.
    bench.asked[1].then(403, json!({}));
    assert_eq!(from(bench.ask("ann").await), "not-allowed");
    bench.asked[0].then(401, json!({}));
    bench.asked[1].then(200, json!({"allow": false}));
    assert_eq!(from(bench.ask("ann").await), "not-allowed");
    bench.asked[0].then(401, json!({}));
    bench.asked[1].then(403, json!({}));
    assert_eq!(from(bench.ask("ann").await), "status-denied");
}

#[tokio::test]
async fn a_denial_counts_whatever_ends_the_search_after_it() {
    let bench = bench(&[
        ("one", None, json!({"allow": false})),
        ("two", None, allowed()),
    ]);
    for status in [404, 500, 503] {
        bench.asked[1].then(status, json!({}));
        let refusal = bench.ask("ann").await.unwrap_err();
        assert_eq!(refusal.verdict(), Verdict::Unavailable, "{status}");
        assert_eq!(refusal.counting().reason, Reason::NotAllowed, "{status}");
        assert_eq!(refusal.counting().provider.as_deref(), Some("one"));
    }
    bench.asked[0].then(404, json!({}));
    let refusal = bench.ask("ann").await.unwrap_err();
    assert_eq!(refusal.counting().reason, Reason::StatusRefused);
}

/// Refuses everybody for one reason.
#[derive(Debug)]
struct Says(Reason);

#[async_trait]
impl IdentityProvider for Says {
    async fn ask(&self, _question: &Question) -> Judged {
        Err(self.0.into())
    }
}

#[tokio::test]
async fn who_does_not_know_the_user_hides_no_other_refusal() {
    let reason = async |first: Reason, second: Reason| {
        let route = |reason| Route {
            provider: Arc::new(Says(reason)),
            user_names: UserNameRule::Open,
            suffix: None,
            prefix: None,
            password_bytes_max: 1_024,
        };
        let router = Router::new(vec![route(first), route(second)]);
        let question = Question {
            request_id: "c1-1".into(),
            username: "ann".into(),
            credential: Credential::Password(Secret::new("x".to_owned())),
            source_ip: "192.0.2.7".parse().unwrap(),
            session_id: "c1".into(),
            asking: Asking::default(),
        };
        router.ask(&question).await.unwrap_err().reason
    };
    for stranger in [Reason::UnknownUser, Reason::TokenMalformed] {
        for says in [Reason::StatusDenied, Reason::NotAllowed] {
            assert_eq!(reason(stranger, says).await, says);
            assert_eq!(reason(says, stranger).await, says);
        }
    }
    // Nobody is asked any more, and the first one has said no.
    let first = reason(Reason::NotAllowed, Reason::GivenUp).await;
    assert_eq!(first, Reason::NotAllowed);
}

#[tokio::test]
async fn a_provider_that_was_not_asked_gives_no_reason() {
    let mut bench = bench(&[
        ("one", None, json!({"allow": false})),
        ("two", None, allowed()),
    ]);
    bench.strict_from(1);
    assert_eq!(from(bench.ask("a b").await), "not-allowed");
    bench.strict_from(0);
    assert_eq!(from(bench.ask("a b").await), "user-name");
}
