//! `portcullis test-identity-provider`: one login, judged by the gateway's own rules, and explained.

mod examine;
mod report;
mod route;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;

pub(super) use self::examine::{Findings, Login, judge};
pub(super) use self::report::{path_homes, row};
use super::contract::{self, Subject, Tried};
use super::providers::{self, Opened};
use super::{ConfigSource, Exit, Failure, load, output, secrets, signals, stores};
use crate::auth::{self, OfferedKey, UserNameRule};
use crate::config::{Config, Provider, Purpose};
use crate::idp::webhook::{Event, Webhook, WebhookSettings};
use crate::refusal::{Refusal, Verdict};
use crate::storage::credentials::Stores;

/// Options of `test-identity-provider`.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    source: ConfigSource,
    /// The name to log in with.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Log in with the password on standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Log in with the key of this `.pub` file. Without password and key, only look up the user's
    /// keys.
    #[arg(long, value_name = "FILE")]
    public_key: Option<String>,
    /// Client address to report.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    source_ip: IpAddr,
    /// Port that the client connects to, for providers with a separate port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Print AWS's four fields and everything else as one JSON object.
    #[arg(long)]
    json: bool,
    /// Print only the verdict.
    #[arg(long, conflicts_with = "json")]
    brief: bool,
    /// Send a service every kind of request that a gateway may send, and explain every wrong
    /// answer: the service at this URL, with --config as the gateway would call it; without a URL
    /// the configured one.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["json", "brief", "listen"], requires = "password_stdin")]
    contract: Option<String>,
    /// With --contract and several providers: the one to test.
    #[arg(long, value_name = "NAME", requires = "contract")]
    provider: Option<String>,
    /// With --contract: send Transfer Family's event.
    #[arg(long, requires = "contract")]
    transfer_family: bool,
}

/// Asks, judges and explains.
///
/// # Errors
/// A file or the configuration cannot be used.
pub fn run(options: &Options) -> Result<Exit, Failure> {
    let password = if options.password_stdin {
        Some(secrets::from_stdin()?)
    } else {
        None
    };
    let key = match &options.public_key {
        Some(path) => Some(
            public_key(path)
                .map_err(|why| Failure::Usage(format!("--public-key {path}: {why}")))?,
        ),
        None => None,
    };
    let login = Login {
        user: options.user.clone(),
        password,
        key,
        source_ip: options.source_ip,
    };
    if let Some(url) = &options.contract {
        let url = Some(&**url).filter(|url| !url.is_empty());
        return judge_service(options, url, login);
    }
    let config = load(&options.source, Purpose::Login)?;
    let opened = providers::open(&config)?;
    signals::run(|stop| async {
        let (keys, metrics) = (stores::HeldKeys::of(&config), Arc::default());
        let stores = stores::open(&config, &opened, &keys, &metrics)
            .await?
            .stores;
        let test = Box::pin(test(&config, &opened, &stores, &login, options));
        signals::until(stop, async { Ok(test.await) }).await
    })
}

fn judge_service(options: &Options, url: Option<&str>, login: Login) -> Result<Exit, Failure> {
    let Some(password) = login.password else {
        let why = "--contract: give the right password with --password-stdin";
        return Err(Failure::Usage(why.to_owned()));
    };
    let tried = tried(options, url)?;
    let subject = Subject {
        user: login.user,
        password,
        key: login.key,
        source_ip: login.source_ip,
    };
    signals::run(|stop| async {
        let trials = Box::pin(contract::run(&tried, &subject));
        signals::until(stop, async { Ok(trials.await) }).await
    })
}

/// Says who is asked, and how.
fn tried(options: &Options, url: Option<&str>) -> Result<Tried, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--contract: {why}"));
    let url = match (url, &options.source.config) {
        (Some(url), None) => {
            return at(WebhookSettings::new(url, "s-contract"), None, options);
        }
        (url, _) => url,
    };
    let config = load(&options.source, Purpose::Login)?;
    let opened = providers::open(&config)?;
    let one = chosen(&opened, options).map_err(|why| wrong(&why))?;
    let user_names = Some(providers::user_names(one.identity));
    match one.identity.provider {
        Provider::Webhook => {
            let keys = one.keys.clone();
            let mut settings = providers::signed_webhook(&config, one.identity, keys);
            if let Some(url) = url {
                url.clone_into(&mut settings.url);
                settings.more_urls.clear();
            }
            at(settings, user_names, options)
        }
        Provider::ApiGateway | Provider::Lambda if url.is_some() || options.transfer_family => {
            Err(wrong(
                "a URL and --transfer-family are for webhooks only; the configured provider is \
                 another kind",
            ))
        }
        Provider::ApiGateway | Provider::Lambda => Ok(Tried {
            provider: Arc::clone(&one.provider),
            webhook: None,
            user_names,
            total_timeout: one.identity.total_timeout,
        }),
        Provider::Static | Provider::Token | Provider::ServiceManaged => Err(wrong(
            "this provider has no service to test; allowed: a webhook, an API gateway or a \
             function",
        )),
    }
}

/// A webhook, which may be given a URL and Transfer Family's event here.
fn at(
    mut settings: WebhookSettings,
    user_names: Option<UserNameRule>,
    options: &Options,
) -> Result<Tried, Failure> {
    if options.transfer_family {
        settings.event = Event::TransferFamily;
    }
    let webhook = Webhook::new(settings.clone());
    let webhook = webhook.map_err(|error| Failure::Usage(format!("--contract: {error}")))?;
    Ok(Tried {
        provider: Arc::new(webhook),
        total_timeout: settings.total_timeout,
        webhook: Some(settings),
        user_names,
    })
}

/// The provider that is meant.
fn chosen<'o, 'c>(opened: &'o [Opened<'c>], options: &Options) -> Result<&'o Opened<'c>, String> {
    let names = || {
        let names: Vec<_> = opened.iter().map(|one| one.name).collect();
        names.join(", ")
    };
    match (&options.provider, opened) {
        (Some(name), _) => {
            let mut all = opened.iter();
            all.find(|one| one.name == name)
                .ok_or_else(|| format!("no provider {name:?}; there are: {}", names()))
        }
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("choose one with --provider: {}", names())),
    }
}

async fn test(
    config: &Config,
    opened: &[Opened<'_>],
    stores: &Arc<dyn Stores>,
    login: &Login,
    options: &Options,
) -> Exit {
    let mut findings = judge(config, opened, stores, options.listen, login).await;
    let route = match findings.place.take() {
        Some((host, port)) => {
            Some(route::measure(&host, port, config.identity.connect_timeout).await)
        }
        None => None,
    };
    if let Some(user) = &findings.user {
        let store = match &findings.store {
            Some(store) => Ok(store.clone()),
            // Half a login: what would be opened in the end.
            None => match stores.open(auth::grant(user, "look-up")).await {
                Ok(opened) => Ok(opened.store),
                Err(error) => Err(error.to_string()),
            },
        };
        findings.buckets = match store {
            Ok(store) => examine::buckets(&*store, user).await,
            Err(why) => examine::no_buckets(user, &why),
        };
    }
    let report = report::Report {
        route: route.as_ref(),
        findings: &findings,
        login,
    };
    if options.json {
        output::print(&report.json());
    } else if options.brief {
        output::print_verdicts(&format!("{}\n", report.headline()));
    } else {
        output::print_verdicts(&report.text());
    }
    exit(&findings)
}

pub(super) fn exit(findings: &Findings) -> Exit {
    let is_silent = findings.buckets.iter().any(|bucket| bucket.fault.is_some());
    match &findings.refusal {
        None if is_silent => Exit::Unavailable,
        None => Exit::Done,
        Some(refusal) => exit_of(refusal),
    }
}

pub(super) const fn exit_of(refusal: &Refusal) -> Exit {
    match refusal.verdict() {
        Verdict::Denied => Exit::Failed,
        Verdict::Unavailable => Exit::Unavailable,
        Verdict::Invalid => Exit::Invalid,
    }
}

/// Reads the one line of a `.pub` file.
fn public_key(path: &str) -> Result<OfferedKey, String> {
    const FILE_BYTES_MAX: u64 = 64 * 1024;
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err("too large for a public key".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key: give the file that ends with .pub".to_owned());
    }
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(OfferedKey::from_line)
        .ok_or_else(|| "no line `ssh-ed25519 AAAA…` in it".to_owned())
}

const EXAMPLES: &str = "\
Examples:
  portcullis test-identity-provider --config portcullis.toml --user ann --password-stdin < password
  portcullis test-identity-provider --config portcullis.toml --user ann --public-key ann.pub
  portcullis test-identity-provider --contract http://127.0.0.1:8000 --user ann --password-stdin
  portcullis test-identity-provider --contract --config portcullis.toml --user ann --password-stdin

Exit codes: 0 allowed, 1 denied, 2 unavailable (also when a bucket does not answer), 3 invalid,
64 wrong usage, 78 wrong configuration. With --contract: 0 nothing wrong, 1 something wrong,
2 the service does not answer at all.";
