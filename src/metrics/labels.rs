//! Labels of series that have the name of a provider.

use super::outcomes::Lookup;
use super::registrar::Named;

/// Names a provider; the only one has no name of its own.
fn provider_label(provider: &str) -> String {
    let name = if provider.is_empty() {
        "identity"
    } else {
        provider
    };
    name.to_owned()
}

pub(super) fn by_provider(provider: &str) -> Named<1> {
    [("provider", provider_label(provider))]
}

/// `None`: no provider was asked.
pub(super) fn by_verdict(provider: Option<&str>, verdict: &str) -> Named<2> {
    [asked(provider), ("verdict", verdict.to_owned())]
}

pub(super) fn by_lookup(provider: &str, lookup: Lookup) -> Named<2> {
    let [provider] = by_provider(provider);
    [provider, ("result", lookup.as_str().to_owned())]
}

pub(super) fn by_warning(provider: &str, warning: &str) -> Named<2> {
    let [provider] = by_provider(provider);
    [provider, ("warning", warning.to_owned())]
}

fn asked(provider: Option<&str>) -> (&'static str, String) {
    let name = provider.map_or_else(|| NOT_ASKED.to_owned(), provider_label);
    ("provider", name)
}

/// `None`: no provider was asked.
pub(super) fn login_labels(
    provider: Option<&str>,
    method: &str,
    verdict: &str,
    reason: &str,
) -> Named<4> {
    [
        asked(provider),
        ("method", method.to_owned()),
        ("verdict", verdict.to_owned()),
        ("reason", reason.to_owned()),
    ]
}

pub(super) const METHODS: [&str; 2] = ["password", "publickey"];

/// In place of a provider's name, which has no hyphen.
const NOT_ASKED: &str = "not-asked";
