//! `portcullis quickstart`: the whole thing in one process, with nothing to install.
//!
//! An S3 in memory, a webhook that is really asked over HTTP, and the gateway between them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use clap::Args;
use embedded_s3::EmbeddedS3;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::demo_files::DemoFiles;
use self::listen::{first_free, reachable};
use self::state_lock::StateLock;
use self::transfer_api::{TransferApi, TransferApiParts};
use super::bundled_webhook::BundledWebhook;
use super::{Failure, output, signals};
use crate::clock::SystemClock;
use crate::config;
use crate::gateway::{Gateway, GatewayParts, ListenerParts};
use crate::idp::webhook::{Webhook, WebhookSettings};
use crate::idp::{IdentityProvider, Judged, Question};
use crate::limits;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::ssh::{HostKey, HostKeys, Listener};
use crate::storage::SharedStore;
use crate::storage::credentials::{Own, Stores};
use crate::storage::metered::Meter;
use crate::telemetry::{self, Format};

mod demo_files;
mod listen;
mod state_lock;
mod transfer_api;

/// Options of `quickstart`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Address and port for SSH, port 0 for any; otherwise 127.0.0.1:2222 or the next free port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Keep the host key in this directory for the next start; one process at a time has it.
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<String>,
    /// Keep the files in this directory, one for each bucket, instead of in memory.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<String>,
    /// Name of the demo user.
    #[arg(long, value_name = "NAME", default_value = "demo")]
    user: String,
    /// Read the demo user's password from a file instead of generating one.
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Print one line of JSON, for scripts, once everything is ready.
    #[arg(long)]
    json: bool,
    /// Use this webhook instead of the built-in demo user.
    #[arg(long, value_name = "URL", conflicts_with_all = ["user", "password_file"])]
    webhook: Option<String>,
    /// Answer AWS's tools too: `CreateServer`, `CreateUser` and the others make SFTP servers here;
    /// otherwise on 127.0.0.1:8022 or the next free port.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true)]
    #[expect(
        clippy::option_option,
        reason = "the option and its value may each be left out"
    )]
    transfer_api: Option<Option<SocketAddr>>,
    /// Invoke the Lambda functions of such servers at this URL.
    #[arg(long, value_name = "URL", requires = "transfer_api")]
    lambda_endpoint: Option<String>,
    /// Address and port of the S3 in memory; otherwise any on 127.0.0.1.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "data")]
    s3_listen: Option<SocketAddr>,
    /// Read the secret of the access key AKIAQUICKSTART from a file instead of generating one.
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<String>,
}

/// Serves until Ctrl-C.
///
/// # Errors
/// The port is taken, a file cannot be read, or serving failed.
pub fn run(options: Options) -> Result<(), Failure> {
    telemetry::start(Format::Readable, "", "info")?;
    signals::run(|stop| serve(options, stop))
}

async fn serve(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    // Two of them would write the same documents and show the same host keys at two ports.
    let _lock = options.state.as_deref().map(StateLock::take).transpose()?;
    let data = options.data.as_deref();
    let files = start_files(&options).await?;
    let user = options.user.clone();
    let password = password(options.password_file.as_deref())?;
    let bundled = BundledWebhook::start(&user, password.clone(), answer()).await?;
    let webhook = options.webhook.clone().unwrap_or_else(|| bundled.url());
    let listener = listen(options.listen).await?;
    let address = listener.local_addr()?;
    let host_keys = host_keys(options.state.as_deref())?;
    let known_hosts = known_hosts(options.state.as_deref(), &host_keys, address)?;
    // The first one is the one that almost every client takes.
    let fingerprint = host_keys.first().map(HostKey::fingerprint);
    let fingerprint = fingerprint.unwrap_or_default();
    let settings = WebhookSettings::new(&webhook, SERVER_ID);
    let provider = Webhook::new(settings).context("--webhook cannot be used")?;
    let (metrics, clock) = (Arc::new(Metrics::default()), Arc::new(SystemClock));
    let meter = Meter::new(clock.clone(), Arc::<Metrics>::clone(&metrics));
    let stores = Arc::new(own(&files, meter, clock).await?);
    let key = access_key(&options, &files)?;
    let provider = Arc::new(WithBuckets {
        provider,
        files: files.clone(),
    });
    let gateway = Gateway::start(
        GatewayParts::new(Arc::<Own>::clone(&stores), Arc::clone(&metrics)),
        ListenerParts::new(listener, provider, HostKeys::new(host_keys)?),
    )?;
    let named = (&*key.0, key.1.clone());
    let transfer_api = transfer_api(&options, named, stores, metrics, &gateway).await?;
    let transfer_endpoint = transfer_api.as_ref().map(TransferApi::endpoint);
    let has_key = transfer_api.is_some() || files.s3().is_some();
    if options.json {
        let line = json!({
            "address": address.to_string(),
            "user": user,
            "password": password.expose(),
            "fingerprint": fingerprint,
            "known_hosts": known_hosts,
            "webhook": webhook,
            "data": data,
            "s3_endpoint": files.s3().map(EmbeddedS3::endpoint),
            "transfer_endpoint": transfer_endpoint,
            "access_key": has_key.then_some(&*key.0),
            "secret_key": has_key.then(|| key.1.expose()),
        });
        output::announce(format!("{line}\n"));
    } else {
        let login = options.webhook.is_none().then_some((&*user, &password));
        let text = welcome(
            address,
            data,
            known_hosts.as_deref(),
            &fingerprint,
            &webhook,
            login,
        );
        let bucket = files.s3().map(bucket_line);
        let transfer = transfer_endpoint.map(|endpoint| transfer_line(&key, &endpoint));
        output::announce(text + &bucket.unwrap_or_default() + &transfer.unwrap_or_default());
    }
    stop.cancelled().await;
    if let Some(api) = transfer_api {
        api.stop().await;
    }
    gateway.drain().await;
    Ok(())
}

/// Starts what answers AWS's tools, if it is asked for.
async fn transfer_api(
    options: &Options,
    key: (&str, Secret),
    stores: Arc<dyn Stores>,
    metrics: Arc<Metrics>,
    gateway: &Gateway,
) -> anyhow::Result<Option<TransferApi>> {
    let Some(listen) = options.transfer_api else {
        return Ok(None);
    };
    let parts = TransferApiParts {
        listen,
        servers_on: gateway.address().ip(),
        state: options.state.as_deref(),
        lambda_endpoint: options.lambda_endpoint.clone(),
        key,
        stores,
        metrics,
    };
    TransferApi::start(parts, gateway).await.map(Some)
}

/// What the newcomer reads; the `sftp` line can be pasted.
fn welcome(
    address: SocketAddr,
    data: Option<&str>,
    known_hosts: Option<&str>,
    fingerprint: &str,
    webhook: &str,
    login: Option<(&str, &Secret)>,
) -> String {
    let user = login.map_or("USER", |(user, _)| user);
    let port = address.port();
    let host = reachable(address);
    let trust = match known_hosts {
        Some(file) => format!("UserKnownHostsFile={file}"),
        None => "UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=accept-new".to_owned(),
    };
    let password = match login {
        Some((_, password)) => format!("password: {}", password.expose()),
        None => "users and passwords: as your webhook decides".to_owned(),
    };
    let files = match data {
        Some(root) => format!("files in {root}"),
        None => "in memory, gone at Ctrl-C".to_owned(),
    };
    format!(
        "listening on {address} · {files}\n  \
           sftp -P {port} -o {trust} {user}@{host}\n  \
           {password}\n  \
           host key: {fingerprint} · webhook: {webhook}\n"
    )
}

/// Shows how to look at what arrived.
fn bucket_line(s3: &EmbeddedS3) -> String {
    let (access, secret, endpoint) = (s3.access_key(), s3.secret_key(), s3.endpoint());
    let [bucket, ..] = BUCKETS;
    format!(
        "  s3: AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={REGION} \
         aws s3 ls --recursive s3://{bucket} --endpoint-url {endpoint}\n"
    )
}

/// Shows how to make a server.
fn transfer_line((access, secret): &(String, Secret), endpoint: &str) -> String {
    let secret = secret.expose();
    format!(
        "  transfer: AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} \
         AWS_DEFAULT_REGION={REGION} aws transfer create-server --endpoint-url {endpoint}\n"
    )
}

/// Returns the access key of the S3 in memory, which is that of AWS's tools as well.
fn access_key(options: &Options, files: &DemoFiles) -> anyhow::Result<(String, Secret)> {
    match files.s3() {
        Some(s3) => Ok((
            s3.access_key().to_owned(),
            Secret::new(s3.secret_key().to_owned()),
        )),
        None => Ok((ACCESS_KEY.to_owned(), Secret::new(secret_key(options)?))),
    }
}

fn secret_key(options: &Options) -> anyhow::Result<String> {
    match &options.secret_key_file {
        Some(file) => Ok(secret_in(file, "--secret-key-file")?.expose().to_owned()),
        None => Ok(format!("{:016x}{:016x}", random()?, random()?)),
    }
}

/// Starts what keeps the files.
async fn start_files(options: &Options) -> anyhow::Result<DemoFiles> {
    match &options.data {
        Some(root) => DemoFiles::in_directory(root, &BUCKETS, RATES),
        None => {
            let key = (ACCESS_KEY, secret_key(options)?);
            DemoFiles::in_memory(options.s3_listen, key, &BUCKETS, RATES).await
        }
    }
}

async fn own(files: &DemoFiles, meter: Meter, clock: Arc<SystemClock>) -> anyhow::Result<Own> {
    Ok(match files {
        DemoFiles::Memory(s3) => Own::of(demo_files::connect(s3, REGION).await?, meter, clock),
        DemoFiles::Directory(buckets) => {
            let store: SharedStore = buckets.clone();
            Own::new(meter.over(store))
        }
    })
}

/// The bundled user's mappings: AWS's well-known example over three buckets, and one file.
fn answer() -> serde_json::Value {
    json!({"mappings": [
        {"entry": "/pics", "target": "/amzn-s3-demo-bucket1/pics"},
        {"entry": "/doc", "target": "/amzn-s3-demo-bucket1/anotherpath/docs"},
        {"entry": "/reporting", "target": "/amzn-s3-demo-bucket2/Q1"},
        {"entry": "/anotherpath/subpath/financials", "target": "/amzn-s3-demo-bucket3/financials"},
        {"entry": "/rates.csv", "target": "/amzn-s3-demo-bucket2/rates/2026.csv", "type": "file"},
    ]})
}

/// A service of one's own names buckets of its own: here they are made as they are met.
#[derive(Debug)]
struct WithBuckets {
    provider: Webhook,
    files: DemoFiles,
}

#[async_trait]
impl IdentityProvider for WithBuckets {
    async fn ask(&self, question: &Question) -> Judged {
        let config = self.provider.ask(question).await?;
        for mapping in config.home.mappings() {
            if let Err(error) = self.files.make_bucket(&mapping.bucket) {
                let bucket = &mapping.bucket;
                tracing::warn!(%bucket, "the bucket cannot be made: {error:#}");
            }
        }
        Ok(config)
    }
}

async fn listen(asked: Option<SocketAddr>) -> anyhow::Result<Listener> {
    if let Some(address) = asked {
        return Listener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"));
    }
    first_free(FIRST_PORT, Listener::bind)
        .await
        .context("name an address with --listen")
}

fn host_keys(state: Option<&str>) -> anyhow::Result<Vec<HostKey>> {
    match state {
        Some(state) => {
            let paths = HostKey::kept_in(state)?;
            let keys = paths.iter().map(|path| HostKey::load(path));
            Ok(keys.collect::<Result<_, _>>()?)
        }
        None => Ok(HostKey::generate_all()?),
    }
}

/// Writes down what lets a client recognise the gateway, and says where. In a folder that cannot be
/// written to, as in a container, there is nothing to be kept.
fn known_hosts(
    state: Option<&str>,
    keys: &[HostKey],
    address: SocketAddr,
) -> anyhow::Result<Option<String>> {
    let path = match state {
        Some(state) => format!("{state}/known_hosts"),
        None => "known_hosts.quickstart".to_owned(),
    };
    match write_known_hosts(&path, keys, address) {
        Ok(()) => Ok(Some(path)),
        Err(error) if state.is_none() => {
            tracing::info!("the host key is not saved for clients: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn write_known_hosts(path: &str, keys: &[HostKey], address: SocketAddr) -> anyhow::Result<()> {
    let mut hosts = vec![reachable(address)];
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        hosts.push("localhost".to_owned());
    }
    let mut text = String::new();
    for host in hosts {
        for key in keys {
            text.push_str(&key.known_hosts_line(&host, address.port())?);
            text.push('\n');
        }
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {path}"))
}

fn password(file: Option<&str>) -> anyhow::Result<Secret> {
    match file {
        Some(file) => secret_in(file, "--password-file"),
        None => Ok(Secret::new(generated()?)),
    }
}

/// Reads a secret from the file of an option.
fn secret_in(file: &str, option: &str) -> anyhow::Result<Secret> {
    let text = config::read_text(file, limits::CONFIG_FILE_BYTES_MAX)
        .with_context(|| format!("failed to read {option} {file}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        bail!("{option} {file} has no visible character");
    }
    Ok(Secret::new(secret.to_owned()))
}

/// Returns words that can be read out and typed.
fn generated() -> anyhow::Result<String> {
    let mut random = random()?;
    let mut below = |count: u64| {
        let picked = random.checked_rem(count).unwrap_or(0);
        random = random.checked_div(count).unwrap_or(0);
        usize::try_from(picked).unwrap_or(0)
    };
    let mut word = |words: &[&'static str]| words.get(below(32)).copied().unwrap_or("gate");
    let words = [word(&FIRST_WORDS), word(&SECOND_WORDS), word(&SECOND_WORDS)];
    Ok(format!(
        "{}-{}",
        words.join("-"),
        below(90).saturating_add(10)
    ))
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow!("the system has no random numbers: {error}"))
}

const ACCESS_KEY: &str = "AKIAQUICKSTART";
const REGION: &str = "us-east-1";
const SERVER_ID: &str = "s-quickstart";
const FIRST_PORT: u16 = 2222;
const BUCKETS: [&str; 3] = [
    "amzn-s3-demo-bucket1",
    "amzn-s3-demo-bucket2",
    "amzn-s3-demo-bucket3",
];
const RATES: (&str, &str, &str) = (
    "amzn-s3-demo-bucket2",
    "rates/2026.csv",
    "currency,per_euro\nUSD,1.0812\nGBP,0.8541\nJPY,162.35\n",
);
const FIRST_WORDS: [&str; 32] = [
    "amber", "brisk", "calm", "dusty", "early", "faint", "gentle", "hazel", "ivory", "jolly",
    "keen", "lucid", "mellow", "noble", "olive", "plain", "quiet", "rapid", "sandy", "tidal",
    "urban", "vivid", "windy", "young", "zesty", "bold", "crisp", "deep", "even", "fresh", "grand",
    "humble",
];
const SECOND_WORDS: [&str; 32] = [
    "acorn", "birch", "cedar", "delta", "ember", "fern", "grove", "heron", "inlet", "juniper",
    "kelp", "larch", "meadow", "nettle", "otter", "pebble", "quill", "river", "shore", "thistle",
    "umber", "valley", "willow", "yarrow", "zephyr", "brook", "cliff", "dune", "elm", "finch",
    "gorge", "harbor",
];
const EXAMPLES: &str = "\
Examples:
  portcullis quickstart
  portcullis quickstart --listen 127.0.0.1:0 --json
  portcullis quickstart --data ./files --state ./state
  portcullis quickstart --webhook http://127.0.0.1:8000
  portcullis quickstart --transfer-api --lambda-endpoint http://127.0.0.1:9001";
