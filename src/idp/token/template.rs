//! What the operator wrote about an answer, with claims in braces (pure).

#![warn(clippy::arithmetic_side_effects)]

use super::Object;
use crate::idp::wire::json::Json;
use crate::idp::wire::substitute::is_literal;
use crate::refusal::{Reason, Refusal};
use crate::vfs::{Access, EntryType, Mapping};

/// A text with places for claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Claim(Box<str>),
}

/// The text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{0:?}: braces hold the name of a claim: letters, digits and _ - . : / @")]
    Braces(Box<str>),
    #[error("{0:?}: allowed: `entry=target` or `entry=target:access`")]
    Row(Box<str>),
    #[error("{0:?}: access is `read`, `write` or `read-write`")]
    Access(Box<str>),
    #[error("the policy is not a JSON object; claims go inside its strings")]
    Policy,
}

/// What the value of a claim may hold, besides being one component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Anything.
    Path,
    /// What a name in an ARN may.
    Role,
    /// Nothing that means more than itself in a policy.
    Policy,
}

impl Template {
    /// Parses a text in which every brace belongs to a claim.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Self::split(text);
        let is_stray = |piece: &Piece| matches!(piece, Piece::Text(t) if t.contains(['{', '}']));
        if template.0.iter().any(is_stray) {
            return Err(TemplateError::Braces(text.into()));
        }
        Ok(template)
    }

    /// Parses a policy: JSON, whose own braces stay as they are.
    pub(super) fn parse_policy(text: &str) -> Result<Self, TemplateError> {
        // Outside of a string a name in braces is not JSON.
        let object = crate::idp::wire::json::parse(text.as_bytes());
        if !matches!(object, Ok(Json::Object(_))) {
            return Err(TemplateError::Policy);
        }
        Ok(Self::split(text))
    }

    fn split(text: &str) -> Self {
        let mut pieces = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            let name = after.split_once('}').filter(|(name, _)| is_claim(name));
            match name {
                // `${…}` is a variable of the policy.
                Some((name, tail)) if !literal.ends_with('$') => {
                    pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                    pieces.push(Piece::Claim(name.into()));
                    rest = tail;
                }
                Some(_) | None => {
                    literal.push('{');
                    rest = after;
                }
            }
        }
        literal.push_str(rest);
        pieces.push(Piece::Text(literal.into()));
        Self(pieces)
    }

    /// Returns the text itself, if it has no place for a claim.
    fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Puts the claims in.
    ///
    /// # Errors
    /// A claim is missing, or its value could mean more than one component of a path.
    pub(super) fn fill(&self, claims: &Object, values: Values) -> Result<String, Refusal> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Claim(name) => filled.push_str(&value(claims, name, values)?),
            }
        }
        Ok(filled)
    }
}

fn is_claim(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/@".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}

/// The value itself stays out of the message: it is the client's.
fn value(claims: &Object, name: &str, values: Values) -> Result<String, Refusal> {
    let bad = |why: &str| Err(Reason::TokenClaim.because(&format!("the claim {name:?} {why}")));
    let value = match claims.get(name) {
        None => return bad("is missing"),
        Some(Json::Text(text)) => text.clone(),
        Some(Json::Number(number)) if !number.is_f64() => number.to_string(),
        Some(other) => return bad(&format!("is {}", other.kind())),
    };
    let one_component = !value.contains('/')
        && !matches!(&*value, "" | "." | "..")
        && !value.contains(char::is_control);
    if !one_component {
        return bad("cannot be a component of a path");
    }
    let of_role = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    match values {
        Values::Role if !value.chars().all(of_role) => bad("cannot be part of a role's name"),
        Values::Policy if !is_literal(&value) => bad("would widen the policy"),
        Values::Path | Values::Role | Values::Policy => Ok(value),
    }
}

/// One mapping: `entry=target:access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    entry: Template,
    target: Template,
    access: Template,
}

impl Row {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let row = || TemplateError::Row(text.into());
        let equals = outside_braces(text, '=').next().ok_or_else(row)?;
        let (entry, rest) = text.split_at_checked(equals).ok_or_else(row)?;
        let rest = rest.strip_prefix('=').ok_or_else(row)?;
        let colon = outside_braces(rest, ':').last();
        let (target, access) = match colon.and_then(|at| rest.split_at_checked(at)) {
            Some((target, access)) => (target, access.trim_start_matches(':')),
            None => (rest, Access::ReadWrite.as_str()),
        };
        let access = Template::parse(access)?;
        if access
            .literal()
            .is_some_and(|word| word_access(word).is_none())
        {
            return Err(TemplateError::Access(text.into()));
        }
        Ok(Self {
            entry: Template::parse(entry)?,
            target: Template::parse(target)?,
            access,
        })
    }

    pub(super) fn fill(&self, claims: &Object) -> Result<Mapping, Refusal> {
        let entry = self.entry.fill(claims, Values::Path)?;
        let target = self.target.fill(claims, Values::Path)?;
        let access = word_access(&self.access.fill(claims, Values::Path)?);
        let access = access.ok_or_else(|| {
            Reason::MappingAccess.because("a claim is not one of read, write, read-write")
        })?;
        Mapping::parse(&entry, &target, EntryType::Directory, access)
            .map_err(|error| error.reason().because(&error.to_string()))
    }
}

fn word_access(word: &str) -> Option<Access> {
    [Access::Read, Access::Write, Access::ReadWrite]
        .into_iter()
        .find(|access| access.as_str() == word)
}

/// Finds a character where it is no part of a claim's name.
fn outside_braces(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let mut inside = false;
    text.char_indices().filter_map(move |(at, c)| {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            _ => {}
        }
        (c == wanted && !inside).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims(pairs: &[(&str, Json)]) -> Object {
        let pair = |(name, value): &(&str, Json)| ((*name).to_owned(), value.clone());
        pairs.iter().map(pair).collect()
    }

    fn text(value: &str) -> Json {
        Json::Text(value.to_owned())
    }

    #[test]
    fn claims_fill_their_places_once() {
        let claims = claims(&[
            ("tenant", text("{team}")),
            ("team", text("blue")),
            ("https://x/n", Json::Number(7.into())),
        ]);
        let fill = |t: &str| Template::parse(t).unwrap().fill(&claims, Values::Path);
        assert_eq!(fill("/b/{tenant}/{team}").unwrap(), "/b/{team}/blue");
        assert_eq!(fill("/b/{https://x/n}").unwrap(), "/b/7");
        assert_eq!(fill("/b").unwrap(), "/b");
        assert!(fill("/b/{nobody}").is_err());
        for bad in ["{", "}", "/b/{}", "/b/{a b}", "/b/${tenant}", "{a{b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_that_are_no_component_are_refused() {
        let template = Template::parse("/b/{x}").unwrap();
        let fill = |value: Json, values| template.fill(&claims(&[("x", value)]), values);
        for bad in ["", ".", "..", "a/b", "/", "a\nb", "\0", "a\u{85}"] {
            assert!(fill(text(bad), Values::Path).is_err(), "{bad:?}");
        }
        for bad in [Json::Null, Json::Bool(true), Json::Array(vec![text("a")])] {
            assert!(fill(bad, Values::Path).is_err());
        }
        let fraction = serde_json::Number::from_f64(1.5).unwrap();
        assert!(fill(Json::Number(fraction), Values::Path).is_err());
        for bad in ["*", "a?", "${aws:x}", "x\",\"y", "a\\"] {
            assert!(fill(text(bad), Values::Policy).is_err(), "{bad}");
            assert!(fill(text(bad), Values::Role).is_err(), "{bad}");
        }
        assert!(fill(text("a:role"), Values::Role).is_err());
        assert!(fill(text("a.b@c_d-e"), Values::Role).is_ok());
    }

    #[test]
    fn rows_say_entry_target_and_access() {
        let claims = claims(&[("t", text("acme")), ("a", text("read"))]);
        let fill = |row: &str| Row::parse(row).unwrap().fill(&claims);
        for (row, entry, prefix, access) in [
            ("/=/b/{t}", "/", "acme", Access::ReadWrite),
            ("/in=/b/{t}/in:write", "/in", "acme/in", Access::Write),
            ("/{t}=/b/x=y:{a}", "/acme", "x=y", Access::Read),
            ("/x=/b/a:b:read", "/x", "a:b", Access::Read),
        ] {
            let mapping = fill(row).unwrap();
            assert_eq!(mapping.entry.as_str(), entry, "{row}");
            assert_eq!(&*mapping.prefix, prefix, "{row}");
            assert_eq!(mapping.access, access, "{row}");
        }
        for bad in ["", "/in", "/in=/b:all", "/in=/b/{t", "{a=b}"] {
            assert!(Row::parse(bad).is_err(), "{bad}");
        }
        assert!(fill("/=/b:{t}").is_err(), "the claim is no access");
        assert!(fill("/=/{t}/").is_err());
    }

    #[test]
    fn a_policy_keeps_its_braces_and_variables() {
        let text_of = r#"{"a":{},"r":"arn:aws:s3:::b/{t}/${aws:username}/*"}"#;
        let template = Template::parse_policy(text_of).unwrap();
        let filled = template.fill(&claims(&[("t", text("acme"))]), Values::Policy);
        assert_eq!(filled.unwrap(), text_of.replace("{t}", "acme"));
        for bad in ["", "[]", r#"{"a":{t}}"#, r#"{"a":"b""#] {
            assert!(Template::parse_policy(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_place_in_a_target(a in any::<String>(), b in "[./a\\{\\}$:=]{0,4}") {
            let row = Row::parse("/in=/bucket/{a}/x-{b}/y:write").unwrap();
            let claims = claims(&[("a", text(&a)), ("b", text(&b))]);
            if let Ok(mapping) = row.fill(&claims) {
                prop_assert_eq!(mapping.bucket.as_str(), "bucket");
                prop_assert_eq!(mapping.entry.as_str(), "/in");
                let expected = format!("{a}/x-{b}/y");
                prop_assert_eq!(&*mapping.prefix, &*expected);
                let parts: Vec<&str> = mapping.prefix.split('/').collect();
                prop_assert_eq!(parts.len(), 3);
                prop_assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")));
                prop_assert_eq!(mapping.access, Access::Write);
            }
        }

        #[test]
        fn no_value_adds_to_a_policy(a in any::<String>()) {
            let template = Template::parse_policy(r#"{"r":"b/{a}/*"}"#).unwrap();
            if let Ok(filled) = template.fill(&claims(&[("a", text(&a))]), Values::Policy) {
                let read: serde_json::Value = serde_json::from_str(&filled).unwrap();
                prop_assert_eq!(read, serde_json::json!({"r": format!("b/{a}/*")}));
            }
        }
    }
}
