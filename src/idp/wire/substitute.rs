//! `${transfer:…}` variables.

use std::borrow::Cow;

use crate::refusal::{Reason, Refusal};

/// Replaces variables in one pass, so a value is never searched for variables itself. `value` gets
/// a variable's name in lower case; what it does not know stays as it is. A value that ends with a
/// slash does not double one that follows.
fn replace<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(name, tail)| {
            let name = name.to_ascii_lowercase();
            value(name.strip_prefix(PREFIX)?).map(|value| (value, tail))
        });
        rest = if let Some((value, tail)) = known {
            let value = match tail.starts_with('/') {
                true => value.trim_end_matches('/'),
                false => value,
            };
            out.push_str(value);
            tail
        } else {
            out.push_str("${");
            after
        };
    }
    out.push_str(rest);
    out
}

/// Says whether somebody meant a variable of Transfer Family.
pub(in crate::idp) fn has_variable(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let prefix = after.get(..PREFIX.len());
        if prefix.is_some_and(|found| found.eq_ignore_ascii_case(PREFIX)) {
            return true;
        }
        rest = after;
    }
    false
}

/// How each variable begins.
const PREFIX: &str = "transfer:";

/// Puts the user's name into a mapping's target.
///
/// # Errors
/// A name that would be more than one component, or none.
pub(in crate::idp) fn target<'t>(text: &'t str, user: &str) -> Result<Cow<'t, str>, Refusal> {
    // Most targets have none, and there may be thousands.
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let replaced = replace(text, |name| (name == "username").then_some(user));
    let one_component = !user.contains('/')
        && !matches!(user, "" | "." | "..")
        && !user.chars().any(char::is_control);
    if replaced != text && !one_component {
        return Err(
            Reason::UserNameInTarget.because("the user's name cannot be a component of a target")
        );
    }
    Ok(Cow::Owned(replaced))
}

/// What a policy may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolicyValues<'a> {
    pub(super) user: &'a str,
    /// `/bucket/prefix` of a PATH home; the Home variables mean nothing for LOGICAL ones.
    pub(super) home: Option<&'a str>,
}

/// Puts names into a policy.
///
/// # Errors
/// A value that would mean more there than itself: a wildcard, a variable, the end of the string.
pub(super) fn policy(text: &str, values: PolicyValues<'_>) -> Result<String, Refusal> {
    let home = values.home.map(|home| home.trim_start_matches('/'));
    let (bucket, folder) = home.map_or((None, None), |home| {
        let (bucket, folder) = home.split_once('/').unwrap_or((home, ""));
        (Some(bucket), Some(folder))
    });
    let value = |name: &str| match name {
        "username" => Some(values.user),
        "homedirectory" => home,
        "homebucket" => bucket,
        "homefolder" => folder,
        _ => None,
    };
    let replaced = replace(text, value);
    if replaced != text {
        let used = |name| replace(text, |n| (n == name).then_some("")) != text;
        for name in ["username", "homedirectory", "homebucket", "homefolder"] {
            if used(name) && !value(name).is_none_or(is_literal) {
                return Err(Reason::PolicyVariable.because(&format!(
                    "the value of ${{transfer:{name}}} would widen the policy"
                )));
            }
        }
    }
    Ok(replaced)
}

/// Says whether a value means nothing but itself inside a string of a policy.
pub(in crate::idp) fn is_literal(value: &str) -> bool {
    let special = |c: char| matches!(c, '*' | '?' | '$' | '"' | '\\') || c.is_control();
    !value.contains(special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_fills_one_component_of_a_target() {
        let ok = |text, user| target(text, user).unwrap();
        assert_eq!(ok("/b/${transfer:UserName}", "ann"), "/b/ann");
        assert_eq!(
            ok("/b/${TRANSFER:username}/x${Transfer:UserName}", "ann"),
            "/b/ann/xann"
        );
        assert_eq!(ok("/b/${aws:username}", "ann"), "/b/${aws:username}");
        assert_eq!(
            ok("/b/${transfer:UserName", "ann"),
            "/b/${transfer:UserName"
        );
        assert_eq!(
            ok("/b/${transfer:HomeFolder}", "ann"),
            "/b/${transfer:HomeFolder}"
        );
        assert_eq!(ok("/b/x", "../ann"), "/b/x");
        for user in ["", ".", "..", "a/b", "../x", "a\0"] {
            assert!(target("/b/${transfer:UserName}", user).is_err(), "{user:?}");
        }
    }

    #[test]
    fn values_are_not_searched_for_variables() {
        let user = "${transfer:UserName}";
        assert_eq!(
            target("/b/${transfer:UserName}/x", user).unwrap(),
            format!("/b/{user}/x")
        );
    }

    #[test]
    fn home_variables_follow_the_home_directory() {
        let values = PolicyValues {
            user: "ann",
            home: Some("/bucket/users/ann/"),
        };
        let text = "${transfer:HomeBucket} ${transfer:HomeFolder}/* ${transfer:HomeDirectory}/*";
        assert_eq!(
            policy(text, values).unwrap(),
            "bucket users/ann/* bucket/users/ann/*"
        );
        let logical = PolicyValues {
            user: "ann",
            home: None,
        };
        assert_eq!(policy(text, logical).unwrap(), text);
        assert_eq!(policy("${transfer:UserName}/*", logical).unwrap(), "ann/*");
    }

    #[test]
    fn a_slash_at_the_end_of_the_home_neither_doubles_nor_vanishes() {
        let filled = |text, home| {
            let values = PolicyValues {
                user: "ann",
                home: Some(home),
            };
            policy(text, values).unwrap()
        };
        for (text, with, without) in [
            ("${transfer:HomeDirectory}/*", "b/x/*", "b/x/*"),
            // Without its slash this would reach `x2` as well.
            ("${transfer:HomeDirectory}*", "b/x/*", "b/x*"),
            ("${transfer:HomeFolder}", "x/", "x"),
            ("${transfer:HomeBucket}/*", "b/*", "b/*"),
        ] {
            assert_eq!(filled(text, "/b/x/"), with, "{text}");
            assert_eq!(filled(text, "/b/x"), without, "{text}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_variable_is_no_variable() {
        // A home may not bring one in, since it would mean something to IAM.
        let values = PolicyValues {
            user: "ann",
            home: Some("/b/${transfer:UserName}"),
        };
        assert!(policy("${transfer:HomeFolder}", values).is_err());
        assert_eq!(
            policy("${aws:username}", values).unwrap(),
            "${aws:username}"
        );
    }

    #[test]
    fn a_name_cannot_widen_a_policy() {
        let text = "arn:aws:s3:::b/${transfer:UserName}/*";
        for user in ["*", "a?", "${aws:x}", "x\",\"*", "a\\", "a\nb"] {
            let values = PolicyValues { user, home: None };
            assert!(policy(text, values).is_err(), "{user:?}");
            assert!(policy("{}", values).is_ok(), "{user:?}");
        }
    }
}
