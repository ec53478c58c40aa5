//! `portcullis probe`: a client's whole visit, timed step by step.
//!
//! It logs in, writes a file of its own, lists, reads back and compares, renames and deletes it.
//! Whatever fails, the file is removed, over a second connection if need be.

mod file;
mod login;
mod target;

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::file::ProbeFile;
use self::login::{Proof, Session, Trust};
use self::target::Target;
use super::{Exit, Failure, output, secrets, signals};
use crate::clock::{Clock as _, SystemClock};
use crate::config;

/// Options of `probe`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// `sftp://USER@HOST[:PORT][/DIRECTORY]`; without a directory, the session's first one.
    // Not parsed by clap, which would repeat a password that somebody wrote into it.
    #[arg(value_name = "URL")]
    target: String,
    /// Log in with this private key (without a passphrase).
    #[arg(long, value_name = "FILE")]
    identity: Option<String>,
    /// Log in with the password on standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Log in with the password in this file; `PORTCULLIS_PROBE_PASSWORD_FILE` names it too.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<String>,
    #[command(flatten)]
    trusted: Trusted,
    /// Bytes to write: B, KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = target::size)]
    size: u64,
    /// Number of rounds; 0 = until stopped.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    count: u64,
    /// Seconds between the end of one round and the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    interval: u32,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// Print one line of JSON for each round.
    #[arg(long)]
    json: bool,
}

/// How the server is known.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct Trusted {
    /// Trust the host keys in this file, in the format of OpenSSH's client.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<String>,
    /// Trust the host key with this fingerprint.
    #[arg(long, value_name = "SHA256:…")]
    host_key_fingerprint: Option<String>,
    /// Do not verify the host key (insecure; test servers only).
    #[arg(long)]
    insecure_accept_any_host_key: bool,
}

/// What the probe does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Connect,
    /// Versions, keys, and whether the server is known.
    Ssh,
    Login,
    Sftp,
    Write,
    List,
    Read,
    Compare,
    Rename,
    Delete,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Ssh => "ssh",
            Self::Login => "login",
            Self::Sftp => "sftp",
            Self::Write => "write",
            Self::List => "list",
            Self::Read => "read",
            Self::Compare => "compare",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }

    /// Returns the exit status of a probe that did not get past this step.
    pub(super) const fn exit_code(self) -> u8 {
        match self {
            Self::Connect => 11,
            Self::Ssh => 12,
            Self::Login => 13,
            Self::Sftp => 14,
            Self::Write => 15,
            Self::List => 16,
            Self::Read => 17,
            Self::Compare => 18,
            Self::Rename => 19,
            Self::Delete => 20,
        }
    }
}

/// Where a round ended and why.
#[derive(Debug, Clone)]
struct Failed {
    step: Step,
    reason: String,
}

/// The steps of one round and how long each took.
#[derive(Debug)]
struct Round {
    began: Instant,
    times: Vec<(Step, Duration)>,
    current: Step,
}

impl Round {
    fn begin() -> Self {
        Self {
            began: SystemClock.now(),
            times: Vec::new(),
            current: Step::Connect,
        }
    }

    async fn step<T>(
        &mut self,
        step: Step,
        doing: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failed> {
        self.current = step;
        let began = SystemClock.now();
        let done = doing.await.map_err(|reason| Failed { step, reason })?;
        self.times.push((step, since(began)));
        Ok(done)
    }
}

/// What does not change from round to round.
struct Probe {
    options: Options,
    target: Target,
    proof: Proof,
    trust: Trust,
    stop: CancellationToken,
}

/// Probes, once or again and again.
///
/// # Errors
/// A file cannot be read, or there is nothing to log in with.
pub fn run(options: Options) -> Result<Exit, Failure> {
    let wrong = |error| Failure::Usage(format!("the URL cannot be used: {error}"));
    let target: Target = options.target.parse().map_err(wrong)?;
    let proof = proof(&options)?;
    let trust = trust(&options.trusted)?;
    signals::run(|stop| async {
        let probe = Probe {
            options,
            target,
            proof,
            trust,
            stop,
        };
        Ok(probe.rounds().await)
    })
}

impl Probe {
    async fn rounds(&self) -> Exit {
        let Options {
            count, interval, ..
        } = self.options;
        let mut worst = None;
        let mut done = 0_u64;
        loop {
            done = done.saturating_add(1);
            let mut round = Round::begin();
            let outcome = self.round(&mut round).await;
            output::progress("");
            self.report(done, &round, &outcome);
            if let Err(failed) = &outcome {
                worst.get_or_insert(failed.step);
            }
            if done == count || self.stop.is_cancelled() {
                break;
            }
            let pause = tokio::time::sleep(Duration::from_secs(interval.into()));
            tokio::select! {
                () = pause => {}
                () = self.stop.cancelled() => break,
            }
        }
        worst.map_or(Exit::Done, Exit::Step)
    }

    async fn round(&self, round: &mut Round) -> Result<(), Failed> {
        let session = tokio::select! {
            session = self.open(round) => session?,
            () = self.stop.cancelled() => return Err(interrupted(Step::Connect)),
        };
        let directory = match &self.target.directory {
            Some(directory) => directory.clone(),
            None => landing(&session).await?,
        };
        let random = getrandom::u64().unwrap_or_default();
        let mut file = ProbeFile::new(&directory, self.options.size, random);
        let outcome = tokio::select! {
            outcome = file.run(&session.sftp, round) => outcome,
            () = self.stop.cancelled() => Err(interrupted(Step::Write)),
        };
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(failed) => Err(Failed {
                step: if self.stop.is_cancelled() {
                    round.current
                } else {
                    failed.step
                },
                reason: self.clean(&mut file, &session, failed.reason).await,
            }),
        };
        session.close().await;
        outcome
    }

    async fn open(&self, round: &mut Round) -> Result<Session, Failed> {
        let patience = Duration::from_secs(self.options.patience.into());
        Session::open(&self.target, &self.proof, &self.trust, patience, round).await
    }

    /// Removes the file, and adds to the reason what could not be removed.
    async fn clean(&self, file: &mut ProbeFile, session: &Session, reason: String) -> String {
        if file.clean(&session.sftp).await.is_ok() {
            return reason;
        }
        let second = self.open(&mut Round::begin()).await;
        let cleaned = match second {
            Err(failed) => Err(failed.reason),
            Ok(session) => {
                let cleaned = file.clean(&session.sftp).await;
                session.close().await;
                cleaned
            }
        };
        match cleaned {
            Ok(()) => reason,
            Err(error) => format!("{reason} · {} may be left behind: {error}", file.path()),
        }
    }

    fn report(&self, number: u64, round: &Round, outcome: &Result<(), Failed>) {
        let target = &self.target;
        if self.options.json {
            let line = line(number, target, self.options.size, round, outcome);
            output::print(&format!("{line}\n"));
        } else {
            if self.options.count == 1 {
                output::print(&table(target, self.options.size, round));
            } else if outcome.is_ok() {
                output::print(&format!("{number}: {}\n", steps(round)));
            }
            if outcome.is_ok() && self.options.count == 1 {
                output::print(&format!("ok · {}\n", shown(since(round.began))));
            }
        }
        if let Err(Failed { step, reason }) = outcome {
            let step = step.as_str();
            output::error(&format!("{target}: {step} failed: {reason}"));
        }
    }
}

fn interrupted(step: Step) -> Failed {
    let reason = "stopped by a signal".to_owned();
    Failed { step, reason }
}

async fn landing(session: &Session) -> Result<String, Failed> {
    let failed = |reason: String| Failed {
        step: Step::Sftp,
        reason,
    };
    let names = session.sftp.realpath(".").await;
    let names = names.map_err(|error| failed(format!("the session's first directory: {error}")))?;
    let first = names.files.into_iter().next();
    first
        .map(|file| file.filename)
        .ok_or_else(|| failed("the server does not name the session's first directory".to_owned()))
}

fn proof(options: &Options) -> Result<Proof, Failure> {
    let identity = match &options.identity {
        None => None,
        Some(path) => {
            let key = russh_original::keys::load_secret_key(path, None);
            let key = key.map_err(|error| Failure::Usage(format!("--identity {path}: {error}")))?;
            Some(key.into())
        }
    };
    let named = options.password_file.clone();
    let password = if options.password_stdin {
        Some(secrets::from_stdin()?)
    } else {
        match named.or_else(config::probe_password_file) {
            Some(path) => Some(secrets::from_file(&path)?),
            None => None,
        }
    };
    if identity.is_none() && password.is_none() {
        let remedy = "no credential: use --identity, --password-stdin or --password-file";
        return Err(Failure::Usage(remedy.to_owned()));
    }
    Ok(Proof { identity, password })
}

fn trust(trusted: &Trusted) -> Result<Trust, Failure> {
    if let Some(path) = &trusted.known_hosts {
        // A file that is not there would look like a server that nobody knows.
        std::fs::metadata(path)
            .map_err(|error| Failure::Usage(format!("--known-hosts {path}: {error}")))?;
        return Ok(Trust::KnownHosts(path.clone()));
    }
    if let Some(fingerprint) = &trusted.host_key_fingerprint {
        return Ok(Trust::Fingerprint(fingerprint.trim().to_owned()));
    }
    if trusted.insecure_accept_any_host_key {
        output::warning(
            "the host key is not verified: whoever answers can read the password and \
                         the file",
        );
        return Ok(Trust::Anybody);
    }
    Ok(Trust::Nobody)
}

fn table(target: &Target, size: u64, round: &Round) -> String {
    let mut text = format!("{target} · {size} bytes\n");
    for (step, took) in &round.times {
        let speed = match step {
            Step::Write | Step::Read => speed(size, *took),
            Step::Connect
            | Step::Ssh
            | Step::Login
            | Step::Sftp
            | Step::List
            | Step::Compare
            | Step::Rename
            | Step::Delete => String::new(),
        };
        text.push_str(&format_step(*step, *took, &speed));
    }
    text
}

fn format_step(step: Step, took: Duration, speed: &str) -> String {
    format!("  {:<8} {:>12}{speed}\n", step.as_str(), shown(took))
}

/// All steps on one line.
fn steps(round: &Round) -> String {
    let step = |(step, took): &(Step, Duration)| format!("{} {}", step.as_str(), shown(*took));
    let mut words = vec![format!("ok · {}", shown(since(round.began)))];
    words.extend(round.times.iter().map(step));
    words.join(" · ")
}

fn line(
    number: u64,
    target: &Target,
    size: u64,
    round: &Round,
    outcome: &Result<(), Failed>,
) -> Value {
    let step =
        |(step, took): &(Step, Duration)| json!({"step": step.as_str(), "ms": millis(*took)});
    let failed = outcome.as_ref().err();
    json!({
        "round": number,
        "target": target.to_string(),
        "bytes": size,
        "ok": outcome.is_ok(),
        "failed_step": failed.map(|failed| failed.step.as_str()),
        "reason": failed.map(|failed| &*failed.reason),
        "ms": millis(since(round.began)),
        "steps": round.times.iter().map(step).collect::<Vec<_>>(),
    })
}

fn speed(bytes: u64, took: Duration) -> String {
    let per_second = u128::from(bytes)
        .saturating_mul(1_000_000)
        .checked_div(took.as_micros());
    let Some(per_second) = per_second.filter(|_| bytes > 0) else {
        return String::new();
    };
    let kib = per_second / 1024;
    if kib < 10_240 {
        format!("  {kib} KiB/s")
    } else {
        format!("  {} MiB/s", kib / 1024)
    }
}

fn since(began: Instant) -> Duration {
    SystemClock.now().saturating_duration_since(began)
}

/// Milliseconds with one digit after the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", millis(time))
}

const EXAMPLES: &str = "\
Examples:
  portcullis probe sftp://ann@sftp.example.com/in --identity key --known-hosts known_hosts
  portcullis probe sftp://demo@127.0.0.1:2222/doc --password-stdin \\
      --host-key-fingerprint SHA256:n4bQ… < password
  portcullis probe sftp://ann@sftp.example.com --identity key --known-hosts known_hosts \\
      --count 0 --interval 60 --json

Exit codes: 0 everything worked; otherwise the step that failed first: 11 connect, 12 ssh (the
host key too), 13 login, 14 sftp, 15 write, 16 list, 17 read, 18 compare, 19 rename, 20 delete;
64 wrong usage, or a file that cannot be read.";
