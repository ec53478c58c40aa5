//! Refuses successes that are not whole, for every kind of call at once.
//!
//! The SDK's decoder takes an XML document that ends behind any element, and then misses what was
//! to come: names of a listing, or the field that says that there are more. A proxy that is cut off
//! from its store, and one that answers for it, make such answers.

use std::borrow::Cow;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// Looks at every answer that says that a call succeeded.
#[derive(Debug)]
pub(super) struct WholeAnswers;

/// An answer that cannot be relied on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotWhole(Cow<'static, str>);

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        refuse_part(operation, context.response())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // An error says what it is already.
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        refuse_cut(operation, context.response())
    }
}

/// Refuses an answer whose status and range contradict each other.
pub(super) fn refuse_part(operation: &str, response: &HttpResponse) -> Result<(), BoxError> {
    // It brings no bytes, and some stores answer one for a part with 200.
    if operation == "HeadObject" {
        return Ok(());
    }
    let is_part = response.status().as_u16() == 206;
    match (is_part, response.headers().get("content-range")) {
        (true, None) => Err(not_whole("a 206 without Content-Range")),
        // A 416 names the size.
        (false, Some(_)) if response.status().is_success() => {
            Err(not_whole("Content-Range in an answer that is not a 206"))
        }
        (true | false, _) => Ok(()),
    }
}

/// Refuses a success whose document is incomplete.
pub(super) fn refuse_cut(operation: &str, response: &HttpResponse) -> Result<(), BoxError> {
    // Of a GET's body nothing is here yet.
    let (true, Some(body)) = (response.status().is_success(), response.body().bytes()) else {
        return Ok(());
    };
    match operation {
        "DeleteObject" | "AbortMultipartUpload" if !body.trim_ascii().is_empty() => {
            Err(not_whole("an unexpected body"))
        }
        _ if body.trim_ascii().is_empty() || is_whole_document(body) => Ok(()),
        _ => Err(not_whole("the answer's document is incomplete")),
    }
}

fn not_whole(why: &'static str) -> BoxError {
    NotWhole(why.into()).into()
}

/// Says whether an XML document ends with the end of its first element.
fn is_whole_document(body: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(body) else {
        return false;
    };
    let mut rest = text.trim_start_matches('\u{FEFF}').trim();
    // Declarations and comments; a store that takes its time sends white space behind them.
    while rest.starts_with("<?") || rest.starts_with("<!") {
        match rest.split_once('>') {
            Some((_, behind)) => rest = behind.trim_start(),
            None => return false,
        }
    }
    let Some(root) = rest.strip_prefix('<') else {
        return false;
    };
    let name = root
        .split(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/')
        .next()
        .unwrap_or_default();
    if name.is_empty() {
        return false;
    }
    let ended = rest
        .strip_suffix('>')
        .and_then(|rest| rest.trim_end().strip_suffix(name))
        .is_some_and(|rest| rest.ends_with("</"));
    // `<Name/>` is a whole one with nothing in it.
    ended || (rest.ends_with("/>") && rest.matches('<').count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_whole_when_its_first_element_has_ended() {
        let whole = "<?xml version=\"1.0\"?>\n  <A xmlns=\"x\"><B>1</B><B>2</B><C/></A>\n";
        assert!(is_whole_document(whole.as_bytes()));
        let end = whole.trim_end().len();
        for cut in 0..end {
            assert!(!is_whole_document(&whole.as_bytes()[..cut]), "{cut}");
        }
        for text in [
            "<A/>",
            "<A xmlns=\"x\" />",
            "<A></A>",
            "<!-- x --><A>b</A >",
        ] {
            assert!(is_whole_document(text.as_bytes()), "{text}");
        }
        for text in [
            "", "<", "<>", "A", "<A/><B/>", "<AA></A>", "<A></AA>", "\u{FFFD}",
        ] {
            assert!(!is_whole_document(text.as_bytes()), "{text}");
        }
        assert!(!is_whole_document(b"<A>\xFF</A>"));
    }
}
