//! What goes wrong around the gateway, situation by situation: what the client sees, what the log
//! says, and that nothing is lost or left over.
//!
//! Everything but the network is real: a webhook over HTTP, an S3 over HTTP, SSH clients.

use std::sync::Arc;
use std::time::Duration;

use embedded_s3::{Action, Alteration, EmbeddedS3, Fault};
use portcullis::admin::AdminStatus;
use portcullis::auth::{AuthSettings, Roles};
use portcullis::aws::AccessKey;
use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::clock::{Clock, SystemClock};
use portcullis::config::{Sftp, Ssh};
use portcullis::gateway::{Gateway, GatewayParts, ListenerParts};
use portcullis::idp::PathHomes;
use portcullis::idp::webhook::{Webhook, WebhookSettings};
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use portcullis::ssh::{HostKey, HostKeys, Listener, Transport};
use portcullis::storage::credentials::{Assumed, Keyring, Own, RoleKeys, Stores, StsSettings};
use portcullis::storage::metered::Meter;
use portcullis::storage::retry::{Persistent, Retries, RetrySettings};
use portcullis::storage::s3::{S3Store, Settings, Timeouts};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::stores::s3_settings;

mod answers;
mod client;
mod clients;
mod commits;
mod composite;
mod downloads;
mod every_call;
mod lines;
mod listings;
mod log;
mod login;
mod lost;
mod openssh;
mod pace;
mod rekeys;
mod revocation;
mod roles;
mod rotation;
mod scp;
mod shutdown;
mod storage;
mod storms;
mod stuck_log;
mod uploads;
mod walks;

use client::{Client, Refused};
use log::Log;

const USER: &str = "ann";
const PASSWORD: &str = "tidal-fern-41";
const WRONG_PASSWORD: &str = "windy-kelp-77";
/// Stands in the URL of [`crate::common::fake_idp::FakeIdp`].
const URL_KEY: &str = "walnut-39";
const S3_SECRET: &str = "umber-secret-58";
const BUCKET: &str = "bucket";
const PART: usize = 5 * 1024 * 1024;

/// What a test sets apart from the rest.
struct Set {
    limits: Limits,
    timeouts: Timeouts,
    retries: RetrySettings,
    /// Instead of the bundled webhook.
    webhook: Option<String>,
    webhook_timeout: Duration,
    /// Of the bundled webhook.
    answer: Value,
    roles: Roles,
    /// Where roles are assumed.
    sts: Option<StsSettings>,
    path_homes: PathHomes,
    /// The gateway's own access key and its secret, instead of those that S3 takes.
    own: Option<(String, &'static str)>,
    /// A second key of the gateway's own.
    next: Option<AccessKey>,
    /// What stands for roles.
    keys: Vec<RoleKeys>,
    sftp: Sftp,
    /// Bytes one way after which the gateway asks for new keys.
    rekey_bytes: u64,
}

impl Default for Set {
    fn default() -> Self {
        Self {
            limits: Limits {
                refusal_delay: Duration::ZERO,
                part_bytes: PART as u64,
                ..Limits::default()
            },
            timeouts: Timeouts::default(),
            retries: RetrySettings::default(),
            webhook: None,
            webhook_timeout: Duration::from_secs(30),
            answer: allowed(),
            roles: Roles::Gateway,
            sts: None,
            path_homes: PathHomes::default(),
            own: None,
            next: None,
            keys: Vec::new(),
            sftp: Sftp::default(),
            rekey_bytes: Ssh::default().rekey_bytes,
        }
    }
}

impl Set {
    /// Gives up on a silent S3 soon.
    fn impatient() -> Self {
        let soon = Duration::from_secs(1);
        let timeouts = Timeouts {
            connect: soon,
            call: soon,
            payload: soon,
            payload_bytes_per_second: u64::MAX,
            store_work: soon,
            body_idle: soon,
        };
        Self {
            timeouts,
            ..Self::default()
        }
    }

    /// Gives up soon on what fails again and again.
    fn resigned() -> Self {
        Self::resigned_after(Duration::from_secs(1))
    }

    fn resigned_after(soon: Duration) -> Self {
        let retries = RetrySettings {
            look: soon,
            under_way: soon,
            ..RetrySettings::default()
        };
        Self {
            retries,
            ..Self::default()
        }
    }
}

/// A gateway between a webhook and an S3.
struct Stage {
    s3: EmbeddedS3,
    log: Log,
    gateway: Gateway,
    admin_status: Arc<dyn AdminStatus>,
    files: tempfile::TempDir,
    _webhook: BundledWebhook,
}

impl Stage {
    async fn start() -> Self {
        Self::with(Set::default()).await
    }

    async fn with(set: Set) -> Self {
        // What it takes to begin is large, and most tests are one future.
        Box::pin(Self::begin(set)).await
    }

    async fn begin(set: Set) -> Self {
        let log = Log::begin();
        let s3 = start_s3().await;
        let webhook = start_webhook(set.answer).await;
        let url = set.webhook.unwrap_or_else(|| webhook.url());
        let mut asking = WebhookSettings::new(&url, "s-faults");
        asking.total_timeout = set.webhook_timeout;
        asking.path_homes = set.path_homes;
        let of_s3 = || (s3.access_key().to_owned(), s3.secret_key().to_owned());
        let own = set.own.map(|(key, secret)| (key, secret.to_owned()));
        let (access_key, secret_key) = own.unwrap_or_else(of_s3);
        let settings = Settings {
            timeouts: set.timeouts,
            ..s3_settings(s3.endpoint(), &access_key, &secret_key)
        };
        let metrics = Arc::new(Metrics::default());
        let meter = Meter::new(Arc::new(SystemClock), Arc::<Metrics>::clone(&metrics));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = S3Store::connect(settings).await.unwrap();
        let observer = Arc::<Metrics>::clone(&metrics);
        let retries = Retries::new(set.retries, Arc::new(SystemClock), observer);
        let next = set.next.as_ref();
        let stores: Arc<dyn Stores> = match set.sts {
            None if !set.keys.is_empty() => {
                Arc::new(Keyring::new(&store, set.keys, None, &meter, &clock))
            }
            None => Arc::new(Own::rotating(store, (next, "storage"), meter, clock)),
            Some(sts) => {
                let next = (next, "storage");
                let assumed = Assumed::rotating(store, next, sts, meter, clock);
                Arc::new(assumed.unwrap())
            }
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await;
        let provider = Arc::new(Webhook::new(asking).unwrap());
        let host_keys = HostKeys::new(vec![HostKey::generate().unwrap()]).unwrap();
        let mut transport = Transport::from(host_keys.clone());
        transport.rekey_bytes = set.rekey_bytes;
        let stores = Arc::new(Persistent::new(stores, retries));
        let banner = set.sftp.banner.clone();
        let gateway = Gateway::start(
            GatewayParts {
                limits: set.limits,
                sftp: set.sftp,
                ..GatewayParts::new(stores, metrics)
            },
            ListenerParts {
                auth: AuthSettings {
                    roles: set.roles,
                    ..AuthSettings::default()
                },
                transport,
                banner: banner.map(Into::into),
                ..ListenerParts::new(listener.unwrap(), provider, host_keys)
            },
        )
        .unwrap();
        Self {
            s3,
            log,
            admin_status: gateway.admin_status(),
            gateway,
            files: tempfile::tempdir().unwrap(),
            _webhook: webhook,
        }
    }

    /// Logs in with the scripted client.
    async fn client(&self) -> Client {
        Client::connect(self.gateway.address(), PASSWORD)
            .await
            .unwrap()
    }

    /// Lets S3 refuse an operation so many times.
    fn refuse(&self, operation: &str, status: u16, code: &str, times: u32) {
        let action = Action::Status(status, code.to_owned());
        self.s3.script(Fault::on(operation, action).times(times));
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.s3
            .object(BUCKET, key)
            .map(|object| object.body.to_vec())
    }

    /// Stops the gateway once its sessions and what outlives them have ended, and returns the log.
    ///
    /// Then no upload may be unfinished, no memory taken, and no secret written down.
    async fn end(self) -> Log {
        let Self {
            s3,
            log,
            gateway,
            admin_status,
            ..
        } = self;
        within(gateway.drain()).await;
        assert_eq!(s3.uploads(BUCKET), [], "{}", log.text());
        // The HTTP client may still have to notice that nobody waits for an answer.
        until(|| {
            let metrics = admin_status.metrics();
            ["upload_memory_taken_bytes", "read_ahead_taken_bytes"]
                .iter()
                .all(|gauge| metrics.contains(&format!("portcullis_{gauge} 0\n")))
        })
        .await;
        for secret in [PASSWORD, WRONG_PASSWORD, URL_KEY, S3_SECRET] {
            assert!(!log.text().contains(secret), "{}", log.text());
        }
        log.every_line_names_its_session();
        log
    }
}

async fn start_s3() -> EmbeddedS3 {
    let settings = embedded_s3::Settings {
        secret_key: S3_SECRET.to_owned(),
        buckets: vec![BUCKET.to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    };
    EmbeddedS3::start(settings).await.unwrap()
}

async fn start_webhook(mut answer: Value) -> BundledWebhook {
    answer.as_object_mut().unwrap().remove("allow");
    let password = Secret::new(PASSWORD.to_owned());
    BundledWebhook::start(USER, password, answer).await.unwrap()
}

/// One mapped directory below a virtual root.
fn allowed() -> Value {
    json!({"allow": true, "mappings": [{"entry": "/in", "target": "/bucket/in"}]})
}

/// Bytes that tell their place.
fn bytes(length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_be_bytes())
        .take(length)
        .collect()
}

/// Bounds every wait: a test that hangs must fail.
async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), waiting)
        .await
        .expect("took too long")
}

/// Waits for what is going to happen by itself.
async fn until(mut happened: impl FnMut() -> bool) {
    within(async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
