//! When a session is over its time.

use std::time::Duration;

use super::actor::Session;

impl Session {
    /// Waits until the identity provider's answer is over its time, if it ever is.
    pub(super) fn expiry(&self) -> impl Future<Output = ()> + use<> {
        let now = self.environment.clock.wall();
        let expires_at = self.user.config().expires_at;
        let left = expires_at.map(|end| end.duration_since(now).unwrap_or(Duration::ZERO));
        async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }
}
