//! Series that exist from the start: what appears with its first event is no increase to
//! Prometheus, so an alert would miss it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::registrar::{Labels, Named};
use crate::refusal::Reason;

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
