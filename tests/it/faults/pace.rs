//! Users whose identity provider bounds how fast their bytes go.

use tokio::time::Instant;

use super::*;
use crate::common::fake_idp::{FakeIdp, Reply};

const RATE: usize = 512 * 1024;

#[tokio::test]
async fn a_user_goes_as_fast_as_the_provider_allows_each_way() {
    let mut answer = allowed();
    answer["limits"] = json!({"bytesPerSecond": RATE});
    let idp = FakeIdp::start([Reply::Json(200, answer)]).await;
    let set = Set {
        webhook: Some(idp.url()),
        ..Set::default()
    };
    let stage = Stage::with(set).await;
    let client = stage.client().await;
    let content = bytes(3 * RATE);
    for way in ["up", "down"] {
        let began = Instant::now();
        if way == "up" {
            client.upload("/in/file", &content).await.unwrap();
        } else {
            assert!(client.download("/in/file").await.unwrap() == content);
        }
        // The first second's bytes go at once; the last packet is not waited for.
        let least = Duration::from_millis(1_500);
        assert!(began.elapsed() >= least, "{way}: {:?}", began.elapsed());
    }
    drop(client);
    stage.end().await;
}
