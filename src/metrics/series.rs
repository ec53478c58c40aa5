//! Series that exist from the start: what appears with its first event is no increase to
//! Prometheus, so an alert would miss it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::outcomes::{FAILURES, failure};
use super::registrar::{Labels, Named, OfStore};
use crate::refusal::Reason;
use crate::storage::Operation;

/// Has the series of one label at 0.
pub(super) fn of_words(
    family: &Family<Labels<1>, Counter>,
    label: &'static str,
    words: impl IntoIterator<Item = &'static str>,
) {
    for word in words {
        drop(family.get_or_create(&[(label, word)]));
    }
}

/// Has the series of each pair of words at 0.
pub(super) fn of_pairs(
    family: &Family<Labels<2>, Counter>,
    names: [&'static str; 2],
    firsts: &[&'static str],
    seconds: &[&'static str],
) {
    for first in firsts {
        for second in seconds {
            let labels = [(names[0], *first), (names[1], *second)];
            drop(family.get_or_create(&labels));
        }
    }
}

/// Has the series of a store's calls at 0; `None`: of the main one.
pub(super) fn of_calls(calls: &Family<OfStore<2>, Counter>, store: Option<&str>) {
    let failures = FAILURES.map(failure);
    for operation in Operation::ALL.map(Operation::name) {
        for outcome in failures.into_iter().chain(["done", "cancelled"]) {
            let labels = [("operation", operation), ("outcome", outcome)];
            drop(calls.get_or_create(&of_store(labels, store)));
        }
    }
}

/// Labels of a store's calls: those of the main one have no more than they had before there were
/// others.
pub(super) fn of_store<const N: usize>(labels: Labels<N>, store: Option<&str>) -> OfStore<N> {
    let store = store.map(|name| ("store", name.to_owned()));
    (labels, store.into_iter().collect())
}

/// Has a histogram without observations for each word.
pub(super) fn of_times<const N: usize>(
    family: &Family<Named<N>, Histogram, fn() -> Histogram>,
    rows: impl IntoIterator<Item = Named<N>>,
) {
    for labels in rows {
        drop(family.get_or_create(&labels));
    }
}

pub(super) const VERDICTS: [&str; 4] = ["allowed", "denied", "invalid", "unavailable"];
/// What a user does to names and files, and what may keep them from it.
pub(super) const CHANGES: [&str; 8] = [
    "open",
    "close",
    "remove",
    "mkdir",
    "rmdir",
    "rename",
    "posix-rename",
    "setstat",
];
pub(super) const KEPT_FROM: [&str; 5] = [
    "read-only",
    "write-only",
    "bucket-level",
    "virtual-directory",
    "storage-denied",
];
pub(super) const NOT_SFTP: [&str; 4] = ["shell", "exec", "subsystem", "port-forward"];

/// Why a login is refused before any provider is asked.
pub(super) const UNASKED: [Reason; 17] = [
    Reason::ClientGone,
    Reason::KeyMalformed,
    Reason::KeyRsaTooShort,
    Reason::KeySignatureSha1,
    Reason::KeyTypeUnsupported,
    Reason::LockedOut,
    Reason::MethodNotAllowed,
    Reason::NoProviderForName,
    Reason::PasswordBlank,
    Reason::PasswordControlCharacters,
    Reason::PasswordTooLong,
    Reason::SourceBlocked,
    Reason::SourceLockedOut,
    Reason::TooManyAttempts,
    Reason::TooManyNames,
    Reason::UserBlocked,
    Reason::UserName,
];

/// Why STS gave no role.
pub(super) const OF_STS: [Reason; 7] = [
    Reason::PolicyMalformed,
    Reason::PolicyTooLargePacked,
    Reason::RoleNotAssumable,
    Reason::StsAnswer,
    Reason::StsCredentials,
    Reason::StsRefused,
    Reason::StsUnavailable,
];
