//! What became of a question, in a word.

use portcullis::idp::Judged;
use portcullis::refusal::{Reason, Refusal, Verdict};

/// Returns the word of the reason, or `allowed`.
pub(crate) fn word(judged: &Judged) -> &'static str {
    match judged {
        Ok(_) => "allowed",
        Err(refusal) => refusal.reason.as_str(),
    }
}

pub(crate) fn is(judged: &Judged, verdict: Verdict) -> bool {
    judged.as_ref().map_err(Refusal::verdict).err() == Some(verdict)
}

/// Returns the reason of a question that got no answer, having made sure that nothing secret is in
/// the refusal.
#[track_caller]
pub(crate) fn unavailable(judged: Judged, secrets: &[&str]) -> (&'static str, String) {
    assert!(is(&judged, Verdict::Unavailable), "{judged:?}");
    let refusal = judged.unwrap_err();
    for text in [refusal.to_string(), format!("{refusal:?}")] {
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let Refusal { reason, detail, .. } = refusal;
    (Reason::as_str(reason), detail.unwrap_or_default().into())
}

/// Says whether an answer came that could be used, a yes or a no.
pub(crate) fn answered(judged: &Judged) -> bool {
    judged.is_ok() || is(judged, Verdict::Denied)
}
