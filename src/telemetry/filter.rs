//! What `log.filter` may say: levels, and targets that there are.
//!
//! The library takes any word for a target: `inof` for `info` would leave a gateway without a
//! line. So what is no level and no known target is refused, and what a filter does not name is
//! heard all the same where its silence would be an accident.

use tracing_subscriber::EnvFilter;

use super::sink::AUDIT_TARGET;
use crate::spelling::nearest;

/// A filter that names what there is not.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.filter: {reason}; allowed: off, error, warn, info, debug or trace, and such for single \
     targets, as in info,portcullis::session=debug"
)]
pub struct FilterError {
    reason: Box<str>,
}

/// Reads a filter: `info`, or `info,portcullis::session=debug`. Libraries that talk about every
/// packet stay at their level unless it names them; so do panics and the audit log.
///
/// # Errors
/// It names a level or a target that there is not.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, FilterError> {
    let refused = |reason: String| FilterError {
        reason: reason.into(),
    };
    let mut named = Vec::new();
    let mut asked = Vec::new();
    for directive in filter.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, directive),
        };
        if !is_level(level) {
            return Err(refused(unknown(level, LEVELS.iter().copied(), "level")));
        }
        if let Some(target) = target {
            if !is_target(target) {
                return Err(refused(unknown(target, targets(), "target")));
            }
            named.push(target);
            asked.push(format!("{target}={level}"));
        } else {
            asked.push(level.to_owned());
        }
    }
    let heard = HEARD
        .iter()
        .filter(|(target, _)| !named.contains(target))
        .map(|(target, level)| format!("{target}={level}"));
    let directives: Vec<String> = heard.chain(asked).collect();
    EnvFilter::try_new(directives.join(",")).map_err(|error| refused(error.to_string()))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

/// Says whether lines may come from a target: a crate of those that log, or a module of ours.
fn is_target(target: &str) -> bool {
    let (krate, rest) = target.split_once("::").unwrap_or((target, ""));
    if krate != "portcullis" {
        return HEARD.iter().any(|(name, _)| *name == krate) || LIBRARIES.contains(&krate);
    }
    let module = rest.split("::").next().unwrap_or_default();
    module.is_empty() || MODULES.contains(&module)
}

fn targets() -> impl Iterator<Item = String> {
    let ours = MODULES.iter().map(|module| format!("portcullis::{module}"));
    let theirs = LIBRARIES.iter().chain(["portcullis"].iter());
    let quiet = HEARD.iter().map(|(name, _)| name);
    ours.chain(theirs.chain(quiet).map(ToString::to_string))
}

fn unknown<T: AsRef<str>>(word: &str, all: impl Iterator<Item = T>, what: &str) -> String {
    match nearest(&word.to_ascii_lowercase(), all) {
        Some(one) => format!(
            "{word:?} is not a {what} (did you mean {:?}?)",
            one.as_ref()
        ),
        None => format!("{word:?} is not a {what}"),
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
pub(super) const PANIC_TARGET: &str = "portcullis::panic";
/// Why the process ends.
pub(super) const FATAL_TARGET: &str = "portcullis::fatal";

/// From which level on is heard what a filter does not name: libraries that log every packet, call
/// or frame, panics, and who did what.
const HEARD: [(&str, &str); 12] = [
    (PANIC_TARGET, "error"),
    (FATAL_TARGET, "warn"),
    (AUDIT_TARGET, "info"),
    // Its warnings repeat what any client sends, as often as it is sent.
    ("russh", "error"),
    ("aws_config", "warn"),
    ("aws_sdk_s3", "warn"),
    ("aws_smithy", "warn"),
    ("h2", "warn"),
    ("hyper", "warn"),
    ("reqwest", "warn"),
    ("rustls", "warn"),
    ("s3s", "warn"),
];

/// The others that log.
const LIBRARIES: [&str; 8] = [
    "aws_runtime",
    "aws_sdk_sts",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "embedded_s3",
    "hyper_util",
    "tokio",
    "want",
];

/// Our own, at the top, and the targets that are no modules.
const MODULES: [&str; 25] = [
    "admin",
    "audit",
    "auth",
    "budget",
    "cli",
    "clock",
    "compose",
    "config",
    "fatal",
    "gateway",
    "idp",
    "limits",
    "metrics",
    "panic",
    "reaper",
    "refusal",
    "secret",
    "seldom",
    "session",
    "sftp",
    "ssh",
    "storage",
    "telemetry",
    "transfer",
    "vfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(filter: &str) -> String {
        match parse_filter(filter) {
            Ok(filter) => format!("taken as {filter}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn levels_and_targets_that_there_are_not_are_refused_with_the_nearest() {
        for (filter, said) in [
            ("inof", "\"inof\" is not a level (did you mean \"info\"?);"),
            (
                "warning",
                "\"warning\" is not a level (did you mean \"warn\"?);",
            ),
            ("portcullis", "\"portcullis\" is not a level;"),
            (
                "info,portcullis::sesion=debug",
                "did you mean \"portcullis::session\"?",
            ),
            ("info,portcullis::audit=of", "did you mean \"off\"?"),
            ("info,hypre=debug", "did you mean \"hyper\"?"),
            ("[span{user=ann}]=debug", "is not a target;"),
        ] {
            let text = refusal(filter);
            assert!(text.contains(said), "{filter}: {text}");
            assert!(text.starts_with("log.filter: "), "{text}");
        }
    }

    #[test]
    fn what_the_documents_name_is_taken() {
        for filter in [
            "",
            "info",
            "WARN",
            "info,portcullis::session=debug",
            "warn, portcullis = info",
            "debug,russh=trace,aws_smithy_runtime=debug,hyper_util=info",
            "info,portcullis::storage::retry=trace",
            "info,portcullis::audit=off",
        ] {
            assert!(parse_filter(filter).is_ok(), "{}", refusal(filter));
        }
    }

    /// Modules that write no lines.
    const SILENT: [&str; 10] = [
        "allocator",
        "aws",
        "causes",
        "endpoint",
        "exec",
        "migrate",
        "refreshing",
        "rehearse",
        "spelling",
        "tasks",
    ];

    /// So that none is forgotten when a module comes.
    #[test]
    fn every_module_may_be_named() {
        let source = include_str!("../lib.rs").lines();
        let modules =
            source.filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
        for module in modules.filter_map(|rest| rest.strip_suffix(';')) {
            let none = SILENT.contains(&module);
            assert!(none || MODULES.contains(&module), "{module}");
        }
    }
}
