//! Trust policies of roles: whether one lets the gateway assume the role, and the text that does.

use serde_json::{Value, json};

/// Whom the roles are to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    arn: String,
    account: String,
}

/// The text names nobody who can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the ARN of a role or user of IAM; expected one such as \
     arn:aws:iam::123456789012:role/portcullis"
)]
pub struct PrincipalError(String);

impl Principal {
    /// Reads an ARN of a role or a user.
    ///
    /// # Errors
    /// It is another ARN, such as that of a session (`assumed-role`), or none.
    pub fn parse(arn: &str) -> Result<Self, PrincipalError> {
        let refused = || PrincipalError(arn.to_owned());
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, name] = *parts else {
            return Err(refused());
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let named = name
            .strip_prefix("role/")
            .or_else(|| name.strip_prefix("user/"));
        let is_named = named.is_some_and(|name| !name.is_empty());
        if !partition.starts_with("aws") || !is_account || !is_named {
            return Err(refused());
        }
        Ok(Self {
            arn: arn.to_owned(),
            account: account.to_owned(),
        })
    }

    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Says whether a principal of a statement is the gateway, or its whole account.
    fn is(&self, named: &str) -> bool {
        let account = || {
            let parts: Vec<_> = named.splitn(6, ':').collect();
            matches!(*parts, ["arn", _, "iam", "", account, "root"] if account == self.account)
        };
        named == self.arn || named == self.account || named == "*" || account()
    }
}

/// How the gateway assumes roles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assuming<'a> {
    pub(super) principal: &'a Principal,
    pub(super) external_id: Option<&'a str>,
    pub(super) has_tags: bool,
    pub(super) has_source_identity: bool,
}

/// What a trust policy comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    Given,
    /// A statement lets the gateway in under a condition that is not understood here.
    Conditional(String),
    /// The whole policy, with the statement that was missing.
    Missing(Value),
    Unreadable(&'static str),
}

impl Assuming<'_> {
    /// Looks through a trust policy.
    pub(super) fn trusted_by(&self, policy: &Value) -> Trust {
        let statements = match policy.get("Statement") {
            Some(Value::Array(statements)) => statements.clone(),
            Some(one @ Value::Object(_)) => vec![one.clone()],
            _ => return Trust::Unreadable("the policy has no Statement"),
        };
        let (mut allowed, mut condition) = (Vec::new(), None);
        for statement in statements.iter().filter(|one| self.is_named_in(one)) {
            match statement.get("Effect").and_then(Value::as_str) {
                Some("Deny") => condition = Some(DENIED.to_owned()),
                Some("Allow") => match self.unmet(statement) {
                    None => allowed.extend(texts(statement.get("Action"))),
                    Some(why) => condition = condition.or(Some(why)),
                },
                _ => return Trust::Unreadable("a statement has no Effect"),
            }
        }
        let may = |wanted: &str| {
            let mut allowed = allowed.iter();
            allowed.any(|action| action == wanted || action == "sts:*" || action == "*")
        };
        if self.actions().into_iter().all(may) && condition.as_deref() != Some(DENIED) {
            return Trust::Given;
        }
        match condition {
            Some(why) => Trust::Conditional(why),
            None => Trust::Missing(self.with_statement(policy, statements)),
        }
    }

    fn is_named_in(&self, statement: &Value) -> bool {
        match statement.get("Principal") {
            Some(Value::String(all)) => all == "*",
            Some(principal) => {
                let mut named = texts(principal.get("AWS")).into_iter();
                named.any(|named| self.principal.is(&named))
            }
            None => false,
        }
    }

    /// Says which condition of a statement is not met, or is not understood.
    fn unmet(&self, statement: &Value) -> Option<String> {
        let Some(Value::Object(conditions)) = statement.get("Condition") else {
            return None;
        };
        for (operator, keys) in conditions {
            let keys = keys.as_object().into_iter().flatten();
            for (key, values) in keys {
                let is_id =
                    key.eq_ignore_ascii_case("sts:ExternalId") && operator == "StringEquals";
                if !is_id {
                    return Some(format!("only under the condition {operator} {key}"));
                }
                let wanted = texts(Some(values));
                let ours = self.external_id.unwrap_or_default();
                if !wanted.iter().any(|value| value == ours) {
                    return Some(format!(
                        "only with another sts.external_id than the configured {ours:?}"
                    ));
                }
            }
        }
        None
    }

    fn actions(&self) -> Vec<&'static str> {
        let mut actions = vec!["sts:AssumeRole"];
        if self.has_tags {
            actions.push("sts:TagSession");
        }
        if self.has_source_identity {
            actions.push("sts:SetSourceIdentity");
        }
        actions
    }

    /// Adds what is missing; what is there stays, so that the old server goes on.
    fn with_statement(&self, policy: &Value, mut statements: Vec<Value>) -> Value {
        let actions = self.actions();
        let mut statement = json!({
            "Effect": "Allow",
            "Principal": {"AWS": self.principal.arn},
            "Action": match *actions {
                [only] => json!(only),
                _ => json!(actions),
            },
        });
        if let (Some(id), Some(members)) = (self.external_id, statement.as_object_mut()) {
            let condition = json!({"StringEquals": {"sts:ExternalId": id}});
            members.insert("Condition".to_owned(), condition);
        }
        statements.push(statement);
        let version = policy.get("Version").cloned();
        json!({
            "Version": version.unwrap_or_else(|| json!("2012-10-17")),
            "Statement": statements,
        })
    }
}

/// Says whether a role is one that Transfer Family may assume.
pub(super) fn trusts_transfer(policy: &Value) -> bool {
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    statements.iter().any(|statement| {
        let principal = statement.get("Principal");
        let named = texts(principal.and_then(|principal| principal.get("Service")));
        named
            .iter()
            .any(|name| name.starts_with("transfer.amazonaws.com"))
    })
}

/// Returns a text, or those of a list.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => {
            let texts = several.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

const DENIED: &str = "a statement denies it";

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "arn:aws:iam::123456789012:role/portcullis";

    fn found(policy: &Value, external_id: Option<&str>) -> Trust {
        let principal = Principal::parse(GATEWAY).unwrap();
        let assuming = Assuming {
            principal: &principal,
            external_id,
            has_tags: false,
            has_source_identity: false,
        };
        assuming.trusted_by(policy)
    }

    fn allow(principal: &Value, condition: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal,
             "Condition": condition},
        ]})
    }

    #[test]
    fn the_text_that_was_proposed_is_enough() {
        let old = json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "transfer.amazonaws.com"}}});
        for id in [None, Some("portcullis-prod")] {
            let Trust::Missing(new) = found(&old, id) else {
                panic!("trusts nobody");
            };
            assert_eq!(new["Statement"][0], old["Statement"]);
            assert_eq!(new["Version"], "2012-10-17");
            assert_eq!(found(&new, id), Trust::Given, "{new}");
        }
    }

    #[test]
    fn whom_a_statement_names_counts() {
        for named in [
            json!({"AWS": GATEWAY}),
            json!({"AWS": ["arn:aws:iam::999999999999:root", "123456789012"]}),
            json!({"AWS": "arn:aws:iam::123456789012:root"}),
        ] {
            assert_eq!(found(&allow(&named, &json!({})), None), Trust::Given);
        }
        for named in [
            json!({"AWS": "arn:aws:iam::999999999999:root"}),
            json!({"AWS": "arn:aws:iam::123456789012:role/portcullis2"}),
            json!({"Service": GATEWAY}),
        ] {
            let trust = found(&allow(&named, &json!({})), None);
            assert!(matches!(trust, Trust::Missing(_)), "{named}");
        }
    }

    #[test]
    fn conditions_are_met_or_named() {
        let own = json!({"AWS": GATEWAY});
        let id = json!({"StringEquals": {"sts:ExternalId": "x"}});
        assert_eq!(found(&allow(&own, &id), Some("x")), Trust::Given);
        for (condition, ours) in [
            (id.clone(), None),
            (id, Some("y")),
            (
                json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
                None,
            ),
        ] {
            let trust = found(&allow(&own, &condition), ours);
            assert!(matches!(trust, Trust::Conditional(_)), "{condition}");
        }
        let mut denied = allow(&own, &json!({}));
        let deny = json!({"Effect": "Deny", "Action": "sts:*", "Principal": "*"});
        denied["Statement"].as_array_mut().unwrap().push(deny);
        let trust = found(&denied, None);
        assert_eq!(trust, Trust::Conditional(DENIED.to_owned()));
        assert!(matches!(found(&json!([]), None), Trust::Unreadable(_)));
    }

    #[test]
    fn only_a_role_or_a_user_can_be_trusted() {
        for arn in [
            GATEWAY,
            "arn:aws-cn:iam::123456789012:user/gateway",
            "arn:aws:iam::123456789012:role/path/portcullis",
        ] {
            assert_eq!(Principal::parse(arn).unwrap().arn(), arn);
        }
        for arn in [
            "",
            "portcullis",
            "arn:aws:sts::123456789012:assumed-role/portcullis/i-1",
            "arn:aws:iam::12345:role/portcullis",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:root",
        ] {
            assert!(Principal::parse(arn).is_err(), "{arn}");
        }
    }
}
