//! What the memory of answers keeps to itself.

use super::*;
use crate::clock::SystemClock;
use crate::idp::Asking;

#[derive(Debug)]
struct Nobody;

#[async_trait]
impl IdentityProvider for Nobody {
    async fn ask(&self, _question: &Question) -> Judged {
        Err(Refusal::new(Reason::NotAllowed))
    }
}

#[tokio::test]
async fn an_answer_is_used_only_once_no_flush_came_before_it() {
    let settings = CacheSettings {
        provider: "".into(),
        server_id: "".into(),
        user_prefix: None,
        user_suffix: None,
        allowed_for: Duration::from_secs(60),
        denied_for: Duration::from_secs(60),
        stale_for: Duration::ZERO,
        spread_percent: 0,
        bytes_max: 1 << 20,
    };
    let (metrics, clock) = (Arc::new(Metrics::default()), Arc::new(SystemClock));
    let state = Cached::new(Arc::new(Nobody), settings, metrics, clock)
        .unwrap()
        .state;
    let question = Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential: Credential::PublicKey,
        source_ip: IpAddr::from([192, 0, 2, 7]),
        session_id: "c1".into(),
        asking: Asking::default(),
    };
    let key = state.key(&question);
    let judged = state.provider.ask(&question).await;
    let entry = || state.entry(&key, &question, &judged, state.clock.now());
    // As between the insertion and the look at the flushes.
    let inserted = Arc::new(entry().unwrap());
    state.entries.insert(key, inserted).await;
    assert!(state.known(&key).await.is_none());
    state.remember(key, 1, entry().unwrap()).await;
    assert!(state.known(&key).await.is_none());
    state.remember(key, 0, entry().unwrap()).await;
    assert!(state.known(&key).await.is_some());
}
