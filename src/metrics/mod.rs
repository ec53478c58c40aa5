//! What the process counts, for `/metrics`.
//!
//! Methods are called where things happen; none of them waits or allocates once its series exist.
//! What others already count is read when somebody asks ([`Metrics::observe`]).

mod admin;
mod checksums;
mod exposition;
mod labels;
mod listeners;
mod log;
mod outcomes;
mod process;
mod readings;
mod records;
mod registrar;
mod reloads;
mod requests;
mod series;
mod storage;

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::admin::AdminConnections;
pub use self::admin::{AdminConnection, AdminEnd};
use self::checksums::Checksums;
pub use self::exposition::{prometheus_text, takes_open_metrics};
use self::labels::{METHODS, by_lookup, by_provider, by_verdict, by_warning, login_labels};
use self::listeners::ByListener;
pub use self::listeners::ListenerReading;
use self::log::Log;
pub use self::outcomes::{Abort, AfterDisconnect, Lookup, MoveEnd, TimeEnd, TransferEnd, UnderWay};
use self::process::Process;
pub use self::readings::Readings;
pub use self::records::RecordEnd;
use self::records::UploadRecords;
pub use self::registrar::Description;
use self::registrar::{Labels, Named, OfStore, Registrar, raise};
pub use self::reloads::Holding;
use self::reloads::Reloads;
use self::requests::Requests;
use crate::refusal::Reason;
use crate::sftp::StatusCode;
use crate::storage::Operation;

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process_registry: Registry,
    process: Process,
    descriptions: Vec<Description>,
    connections_open: Gauge,
    connections_before_login: Gauge,
    connections_accepted: Counter,
    connections_refused: Family<Labels<1>, Counter>,
    connections_ended: Family<Labels<1>, Counter>,
    connections_without_data: Counter,
    logins: Family<Named<4>, Counter>,
    lockouts: Family<Labels<1>, Counter>,
    login_seconds: Family<Named<2>, Histogram, fn() -> Histogram>,
    idp_calls: Family<Named<2>, Counter>,
    idp_call_seconds: Family<Named<2>, Histogram, fn() -> Histogram>,
    cache_lookups: Family<Named<2>, Counter>,
    idp_warnings: Family<Named<2>, Counter>,
    breakers_open: Family<Named<1>, Gauge>,
    kept_back: Family<Named<1>, Counter>,
    questions_under_way: Family<Named<1>, Gauge>,
    questions_busy: Family<Named<1>, Counter>,
    requests: Requests,
    operations_refused: Family<Labels<2>, Counter>,
    commands: Family<Labels<2>, Counter>,
    bytes_received: Counter,
    bytes_sent: Counter,
    handles_open: Gauge,
    uploads: Family<Labels<1>, Counter>,
    uploads_after_disconnect: Family<Labels<2>, Counter>,
    upload_records: UploadRecords,
    downloads: Family<Labels<1>, Counter>,
    storage_calls: Family<OfStore<2>, Counter>,
    storage_call_seconds: Family<OfStore<1>, Histogram, fn() -> Histogram>,
    stores_up: Family<Named<1>, Gauge>,
    storage_retries: Family<Labels<1>, Counter>,
    storage_retries_held_back: Counter,
    storage_given_up: Family<Labels<1>, Counter>,
    sts_calls: Family<Labels<1>, Counter>,
    keys_in_use: Family<Named<1>, Gauge>,
    upload_memory_taken: Gauge,
    upload_memory_limit: Gauge,
    uploads_waiting: Gauge,
    upload_memory_strict: Gauge,
    read_ahead_taken: Gauge,
    read_ahead_limit: Gauge,
    blocks: Gauge,
    session_memory_taken: Gauge,
    session_memory_limit: Gauge,
    session_memory_waiting: Gauge,
    session_memory_refused: Counter,
    uploads_aborted: Family<Labels<1>, Counter>,
    moves: Family<Labels<1>, Counter>,
    copies: Family<Labels<1>, Counter>,
    times: Family<Labels<1>, Counter>,
    checksums: Checksums,
    by_listener: ByListener,
    admin: AdminConnections,
    log: Log,
    reloads: Reloads,
}

impl Metrics {
    /// Counts files that were read again.
    pub fn reloaded(&self, holding: Holding, done: bool) {
        self.reloads.count(holding, done);
    }

    /// Counts one answered SFTP request.
    pub fn request(&self, operation: &'static str, code: StatusCode, took: Duration) {
        self.requests.answered(operation, code, took);
    }

    /// Counts something that a user was refused, and why.
    pub fn operation_refused(&self, operation: &'static str, reason: &'static str) {
        let labels = [("operation", operation), ("reason", reason)];
        let _ = self.operations_refused.get_or_create(&labels).inc();
    }

    /// Counts a checksum of a file that a client was told.
    pub fn checksum_told(&self, algorithm: &'static str, is_stored: bool) {
        self.checksums.count(algorithm, is_stored);
    }

    /// Counts a command that a user ran beside SFTP, and what became of it.
    pub fn command(&self, command: &'static str, outcome: &'static str) {
        let labels = [("command", command), ("outcome", outcome)];
        let _ = self.commands.get_or_create(&labels).inc();
    }

    /// Counts one finished attempt to log in; of one that succeeded the reason is empty. `None`: no
    /// provider was asked.
    pub fn login(
        &self,
        provider: Option<&str>,
        method: &'static str,
        verdict: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        let labels = login_labels(provider, method, verdict, reason);
        let _ = self.logins.get_or_create(&labels).inc();
        self.login_seconds
            .get_or_create(&by_verdict(provider, verdict))
            .observe(took.as_secs_f64());
    }

    /// Has the series of a provider at 0, for what must not be missed when it happens first;
    /// `warnings` are the words of what may be odd in its answers.
    pub fn expect_provider(&self, provider: &str, warnings: impl Iterator<Item = &'static str>) {
        let asked = Some(provider);
        for method in METHODS {
            let allowed = login_labels(asked, method, "allowed", "");
            drop(self.logins.get_or_create(&allowed));
            for reason in Reason::ALL {
                let labels =
                    login_labels(asked, method, reason.verdict().as_str(), reason.as_str());
                drop(self.logins.get_or_create(&labels));
            }
        }
        for lookup in Lookup::ALL {
            let labels = by_lookup(provider, lookup);
            drop(self.cache_lookups.get_or_create(&labels));
        }
        for warning in warnings {
            drop(
                self.idp_warnings
                    .get_or_create(&by_warning(provider, warning)),
            );
        }
        for family in [&self.breakers_open, &self.questions_under_way] {
            drop(family.get_or_create(&by_provider(provider)));
        }
        let rows = || series::VERDICTS.map(|verdict| by_verdict(asked, verdict));
        for labels in rows() {
            drop(self.idp_calls.get_or_create(&labels));
        }
        series::of_times(&self.login_seconds, rows());
        series::of_times(&self.idp_call_seconds, rows());
        for family in [&self.kept_back, &self.questions_busy] {
            drop(family.get_or_create(&by_provider(provider)));
        }
    }

    /// Counts one lock-out.
    pub fn locked_out(&self, kind: &'static str) {
        let _ = self.lockouts.get_or_create(&[("kind", kind)]).inc();
    }

    /// Counts one call to an identity provider; `identity` is the only one's name.
    pub fn idp_call(&self, provider: &str, verdict: &'static str, took: Duration) {
        let labels = by_verdict(Some(provider), verdict);
        let _ = self.idp_calls.get_or_create(&labels).inc();
        self.idp_call_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Counts one oddity of an answer that was taken all the same.
    pub fn idp_warning(&self, provider: &str, warning: &'static str) {
        let labels = by_warning(provider, warning);
        let _ = self.idp_warnings.get_or_create(&labels).inc();
    }

    /// Says whether a provider is left alone because it did not answer.
    pub fn idp_breaker(&self, provider: &str, open: bool) {
        let labels = by_provider(provider);
        let _ = self.breakers_open.get_or_create(&labels).set(open.into());
    }

    /// Counts one question that was kept back from a provider that is left alone.
    pub fn idp_kept_back(&self, provider: &str) {
        let _ = self.kept_back.get_or_create(&by_provider(provider)).inc();
    }

    /// Notes a question that is asked now, until what it returns is dropped.
    #[must_use]
    pub fn idp_question_begun(&self, provider: &str) -> UnderWay {
        let labels = by_provider(provider);
        let gauge = self.questions_under_way.get_or_create_owned(&labels);
        let _ = gauge.inc();
        UnderWay(gauge)
    }

    /// Counts one question that found no place in time.
    pub fn idp_busy(&self, provider: &str) {
        let labels = by_provider(provider);
        let _ = self.questions_busy.get_or_create(&labels).inc();
    }

    /// Counts one look into the remembered answers of a provider.
    pub fn cache_lookup(&self, provider: &str, lookup: Lookup) {
        let labels = by_lookup(provider, lookup);
        let _ = self.cache_lookups.get_or_create(&labels).inc();
    }

    /// Adds file bytes that came in WRITEs.
    pub fn bytes_received(&self, bytes: u64) {
        let _ = self.bytes_received.inc_by(bytes);
    }

    /// Adds file bytes that went out in DATA.
    pub fn bytes_sent(&self, bytes: u64) {
        let _ = self.bytes_sent.inc_by(bytes);
    }

    /// Notes a handle that was given out.
    pub fn handle_opened(&self) {
        let _ = self.handles_open.inc();
    }

    /// Notes a handle that is no more.
    pub fn handle_closed(&self) {
        let _ = self.handles_open.dec();
    }

    /// Counts one upload that came to its end.
    pub fn upload_ended(&self, end: TransferEnd) {
        let labels = [("outcome", end.as_str())];
        let _ = self.uploads.get_or_create(&labels).inc();
    }

    /// Counts one upload whose client had disconnected, by whether its CLOSE had come.
    pub fn ended_after_disconnect(&self, closed: bool, end: AfterDisconnect) {
        let closed = if closed { "yes" } else { "no" };
        let labels = [("closed", closed), ("outcome", end.as_str())];
        let _ = self.uploads_after_disconnect.get_or_create(&labels).inc();
    }

    /// Counts what became of the record of an upload.
    pub fn record_ended(&self, end: RecordEnd) {
        self.upload_records.count(end);
    }

    /// Counts one download that came to its end.
    pub fn download_ended(&self, end: TransferEnd) {
        let labels = [("outcome", end.as_str())];
        let _ = self.downloads.get_or_create(&labels).inc();
    }

    /// Counts one unfinished upload that was cleared away, or could not be.
    pub fn upload_aborted(&self, abort: Abort) {
        let outcome = match abort {
            Abort::Done => "done",
            Abort::GivenUp => "given-up",
        };
        let labels = [("outcome", outcome)];
        let _ = self.uploads_aborted.get_or_create(&labels).inc();
    }

    /// Counts one modification time that was set when the object was there.
    pub fn time_ended(&self, end: TimeEnd) {
        let outcome = match end {
            TimeEnd::Kept => "kept",
            TimeEnd::Skipped => "skipped",
            TimeEnd::Failed => "failed",
        };
        let _ = self.times.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts one move of a directory, or of a file that is copied in parts.
    pub fn move_ended(&self, end: MoveEnd) {
        let labels = [("outcome", end.as_str())];
        let _ = self.moves.get_or_create(&labels).inc();
    }

    /// Counts one copy that a client asked for.
    pub fn copy_ended(&self, end: MoveEnd) {
        let labels = [("outcome", end.as_str())];
        let _ = self.copies.get_or_create(&labels).inc();
    }

    /// Takes over how often connections ended for each reason.
    pub fn connections_ended(&self, totals: &[(&'static str, u64)]) {
        for (reason, total) in totals {
            let labels = [("reason", *reason)];
            raise(&self.connections_ended.get_or_create_owned(&labels), *total);
        }
    }

    /// Has the series of a listener with a name at 0.
    pub fn expect_listener(&self, listener: &str) {
        self.by_listener.expect(listener);
    }

    /// Counts a connection that a listener with a name accepted.
    pub fn accepted_by(&self, listener: &str) {
        self.by_listener.accepted(listener);
    }

    /// Takes over how many connections each listener has.
    pub fn listeners(&self, readings: &[ListenerReading]) {
        self.by_listener.observe(readings);
    }

    /// Takes over what others count for themselves.
    pub fn observe(&self, readings: &Readings) {
        let of = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let _ = self.connections_open.set(of(readings.connections_open));
        let _ = self
            .connections_before_login
            .set(of(readings.connections_before_login));
        let _ = self.blocks.set(of(readings.blocks));
        raise(&self.connections_accepted, readings.connections_accepted);
        raise(
            &self.connections_without_data,
            readings.connections_without_data,
        );
        for (reason, count) in readings.connections_refused {
            // One that is not counted has no reason.
            if !reason.is_empty() {
                let labels = [("reason", reason)];
                raise(
                    &self.connections_refused.get_or_create_owned(&labels),
                    count,
                );
            }
        }
        for (gauge, value) in [
            (
                &self.upload_memory_taken,
                readings.upload_memory_taken_bytes,
            ),
            (
                &self.upload_memory_limit,
                readings.upload_memory_limit_bytes,
            ),
            (&self.read_ahead_taken, readings.read_ahead_taken_bytes),
            (&self.read_ahead_limit, readings.read_ahead_limit_bytes),
            (
                &self.session_memory_taken,
                readings.session_memory_taken_bytes,
            ),
            (
                &self.session_memory_limit,
                readings.session_memory_limit_bytes,
            ),
        ] {
            let _ = gauge.set(bytes(value));
        }
        let _ = self.uploads_waiting.set(of(readings.uploads_waiting));
        let _ = self
            .upload_memory_strict
            .set(readings.upload_memory_is_strict.into());
        let _ = self
            .session_memory_waiting
            .set(of(readings.session_memory_waiting));
        raise(
            &self.session_memory_refused,
            readings.session_memory_refused,
        );
        self.process.observe();
        self.log
            .observe(readings.log_lines_lost, readings.log_waiting_bytes);
    }

    /// Returns everything in the text form of `OpenMetrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let encoded = [&self.registry, &self.process_registry]
            .into_iter()
            .try_for_each(|registry| encode_registry(&mut text, registry))
            .and_then(|()| encode_eof(&mut text));
        match encoded {
            Ok(()) => text,
            // Writing to a string does not fail; a scrape without an end mark is refused.
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                String::new()
            }
        }
    }

    /// Has the series at 0 that no configuration changes.
    fn begin_series(&self) {
        let operations = Operation::ALL.map(Operation::name);
        series::of_calls(&self.storage_calls, None);
        for family in [&self.storage_retries, &self.storage_given_up] {
            series::of_words(family, "operation", operations);
        }
        let ends = TransferEnd::ALL.map(TransferEnd::as_str);
        for family in [&self.uploads, &self.downloads] {
            series::of_words(family, "outcome", ends);
        }
        let disconnected = &self.uploads_after_disconnect;
        let labels = ["closed", "outcome"];
        series::of_pairs(disconnected, labels, &["yes", "no"], &["kept", "failed"]);
        series::of_pairs(disconnected, labels, &["no"], &["unmarked"]);
        let sts = series::OF_STS.map(Reason::as_str);
        series::of_words(&self.sts_calls, "outcome", sts.into_iter().chain(["done"]));
        series::of_words(&self.uploads_aborted, "outcome", ["done", "given-up"]);
        series::of_words(&self.moves, "outcome", MoveEnd::ALL.map(MoveEnd::as_str));
        series::of_words(&self.copies, "outcome", MoveEnd::ALL.map(MoveEnd::as_str));
        series::of_words(&self.times, "outcome", ["kept", "skipped", "failed"]);
        for method in METHODS {
            for reason in series::UNASKED {
                let verdict = reason.verdict().as_str();
                let labels = login_labels(None, method, verdict, reason.as_str());
                drop(self.logins.get_or_create(&labels));
            }
        }
        series::of_words(&self.lockouts, "kind", ["user", "source", "names"]);
        let refused = &self.operations_refused;
        let labels = ["operation", "reason"];
        series::of_pairs(refused, labels, &series::CHANGES, &series::KEPT_FROM);
        series::of_pairs(refused, labels, &series::NOT_SFTP, &["sftp-only"]);
        let labels = ["command", "outcome"];
        series::of_pairs(
            &self.commands,
            labels,
            &["scp -f", "scp -t"],
            &["done", "failed"],
        );
    }

    /// Returns the table of docs/operations.md.
    #[must_use]
    pub fn document() -> String {
        let metrics = Self::default();
        let mut text =
            String::from("| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
        for row in &metrics.descriptions {
            let Description {
                name,
                kind,
                labels,
                help,
            } = row;
            // Writing to a string does not fail.
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
        }
        text
    }
}

impl Default for Metrics {
    #[expect(
        clippy::too_many_lines,
        reason = "one table of all metrics, in one place"
    )]
    fn default() -> Self {
        let mut all = Registrar::new();
        let bytes = Some(Unit::Bytes);
        all.build_info();
        let metrics = Self {
            connections_open: all.gauge("connections_open", None, "Open SSH connections"),
            connections_before_login: all.gauge(
                "connections_before_login",
                None,
                "Open connections that have not logged in",
            ),
            connections_accepted: all.counter("connections_accepted", None, "Connections accepted"),
            connections_refused: all.counters(
                "connections_refused",
                "reason",
                "Connections closed by the gateway: over a limit (limit), replaced before login by one of another network (displaced), over the user's limit (user-limit), from a blocked network (blocked), not from a trusted load balancer (proxy-untrusted), without a valid PROXY header (proxy-header)",
            ),
            connections_without_data: all.counter(
                "connections_without_data",
                None,
                "Connections closed by the client before it sent anything, such as health checks",
            ),
            logins: all.counters_by_name(
                "logins",
                "provider, method, verdict, reason",
                "Finished login attempts; docs/troubleshooting.md lists the reasons; `provider` is `identity` if there is one provider, and `not-asked` if the login was refused before it came to one",
            ),
            lockouts: all.counters(
                "lockouts",
                "kind",
                "Lock-outs (brute-force protection): of a user at a source, of a source, of a source's key look-ups",
            ),
            connections_ended: all.counters(
                "connections_ended",
                "reason",
                "Connections that ended, by the reason in their last log line",
            ),
            login_seconds: all.latency_by_name(
                "login_duration",
                "provider, verdict",
                "Time from a login attempt to its answer",
            ),
            idp_calls: all.counters_by_name(
                "idp_calls",
                "provider, verdict",
                "Calls to the identity provider; `provider` is `identity` if there is one provider",
            ),
            idp_call_seconds: all.latency_by_name(
                "idp_call_duration",
                "provider, verdict",
                "Response time of the identity provider",
            ),
            cache_lookups: all.counters_by_name(
                "idp_cache_lookups",
                "provider, result",
                "Look-ups in the cache of provider answers: hit, miss or stale (a stale answer was used)",
            ),
            idp_warnings: all.counters_by_name(
                "idp_answer_warnings",
                "provider, warning",
                "Answers with a mistake that the gateway tolerated; docs/troubleshooting.md lists the warnings",
            ),
            breakers_open: all.gauges_by_name(
                "idp_breaker_open",
                "provider",
                "1 while a circuit breaker of the provider is open",
            ),
            kept_back: all.counters_by_name(
                "idp_questions_kept_back",
                "provider",
                "Requests not sent to the provider because its circuit breaker was open",
            ),
            questions_under_way: all.gauges_by_name(
                "idp_questions_under_way",
                "provider",
                "Requests to the provider in progress; limited by `identity.questions_max`",
            ),
            questions_busy: all.counters_by_name(
                "idp_questions_busy",
                "provider",
                "Requests not sent to the provider because too many were in progress",
            ),
            requests: Requests::new(
                all.counters("sftp_requests", "operation, status", "Answered SFTP requests"),
                all.latency(
                    "sftp_request_duration",
                    "operation",
                    "Time from an SFTP request to its answer",
                ),
            ),
            operations_refused: all.counters(
                "operations_refused",
                "operation, reason",
                "Requests of users that the gateway refused, or that S3 denied; docs/operations.md lists the reasons",
            ),
            commands: all.counters(
                "commands",
                "command, outcome",
                "Commands that users ran beside SFTP, by outcome; those that were not run count in `portcullis_operations_refused_total`",
            ),
            bytes_received: all.counter("received", bytes.clone(), "File bytes received in WRITEs"),
            bytes_sent: all.counter("sent", bytes.clone(), "File bytes sent in answers to READs"),
            handles_open: all.gauge("handles_open", None, "Open file and directory handles"),
            uploads: all.counters("uploads", "outcome", "Finished uploads, by outcome"),
            uploads_after_disconnect: all.counters(
                "uploads_after_disconnect",
                "closed, outcome",
                "Uploads whose client disconnected after CLOSE (`closed` is yes) or before it, with partial uploads kept (no): stored (kept) or not (failed); unmarked: stored without the mark of a partial upload, counted as kept as well",
            ),
            upload_records: UploadRecords::new(&mut all),
            downloads: all.counters("downloads", "outcome", "Finished downloads, by outcome"),
            storage_calls: all.counters_of_store(
                "s3_calls",
                "operation, outcome; store for those of `[store.NAME]`",
                "Calls to S3, counting each try",
            ),
            storage_call_seconds: all.latency_of_store(
                "s3_call_duration",
                "operation; store for those of `[store.NAME]`",
                "Response time of S3 (of a GET: until its headers)",
            ),
            stores_up: all.gauges_by_name(
                "store_up",
                "store",
                "1 if the store answers, by the last calls to it, and 0 if it does not; `store` is empty for `[storage]`",
            ),
            storage_retries: all.counters("s3_retries", "operation", "Retries of calls to S3"),
            storage_retries_held_back: all.counter(
                "s3_retries_held_back",
                None,
                "Retries delayed by the rate limit `storage.retries_per_second_max`",
            ),
            storage_given_up: all.counters(
                "s3_calls_given_up",
                "operation",
                "Calls to S3 that failed after all retries",
            ),
            sts_calls: all.counters(
                "sts_calls",
                "outcome",
                "AssumeRole calls to STS: done, or the reason of the failure",
            ),
            keys_in_use: all.gauges_by_name(
                "access_key_in_use",
                "keys",
                "Which of two access keys is in use, by the section of the configuration: 1, or 2 for `access_key_id_next`",
            ),
            upload_memory_taken: all.gauge(
                "upload_memory_taken",
                bytes.clone(),
                "Upload memory in use",
            ),
            upload_memory_limit: all.gauge(
                "upload_memory_limit",
                bytes.clone(),
                "Upload memory limit",
            ),
            uploads_waiting: all.gauge("uploads_waiting", None, "Uploads that wait for upload memory"),
            upload_memory_strict: all.gauge("upload_memory_strict", None, "1 while no user may start new parts beyond a third of the upload memory, because another user waited for long"),
            read_ahead_taken: all.gauge("read_ahead_taken", bytes.clone(), "Read-ahead memory in use"),
            blocks: all.gauge("blocks", None, "Users, networks and providers blocked by admin commands"),
            read_ahead_limit: all.gauge("read_ahead_limit", bytes.clone(), "Read-ahead memory limit"),
            session_memory_taken: all.gauge("session_memory_taken", bytes.clone(), "Session memory in use: waiting requests and replies, directory names, lists of moves, bodies of requests to AWS's API"),
            session_memory_limit: all.gauge("session_memory_limit", bytes, "Session memory limit"),
            session_memory_waiting: all.gauge("session_memory_waiting", None, "Sessions, listings and moves that wait for session memory"),
            session_memory_refused: all.counter("session_memory_refused", None, "Requests for session memory that found none free"),
            uploads_aborted: all.counters(
                "uploads_aborted",
                "outcome",
                "Unfinished multipart uploads aborted (done) or left to the bucket's lifecycle rule (given-up)",
            ),
            moves: all.counters(
                "moves",
                "outcome",
                "Finished moves of directories, and of files over 5 GiB: done, failed, or stopped because the user's access ended",
            ),
            copies: all.counters(
                "copies",
                "outcome",
                "Finished copies of files that clients asked for (copy-data): done, failed, or stopped because the user's access ended",
            ),
            times: all.counters(
                "modification_times",
                "outcome",
                "Modification times and modes set after an upload began, with sftp.mtime = \"copy\" or sftp.modes = \"keep\": kept, skipped because the store does not allow it, or failed",
            ),
            checksums: Checksums::new(&mut all),
            by_listener: ByListener::new(&mut all),
            admin: AdminConnections::new(&mut all),
            log: Log::new(&mut all),
            reloads: Reloads::new(&mut all),
            process: Process::new(&mut all),
            registry: all.registry,
            process_registry: all.process,
            descriptions: all.descriptions,
        };
        metrics.begin_series();
        metrics
    }
}

#[cfg(test)]
mod tests;
