//! `TestIdentityProvider`: what the identity provider answers, as AWS prints it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Aws, Refusal, Server};
use crate::auth::password_fault;
use crate::idp::{Credential, Denied, Exchange, IdpError, Question, Verdict};
use crate::limits;
use crate::secret::Secret;

pub(super) async fn perform(aws: &Aws, body: &Value, peer: IpAddr) -> Result<Value, Refusal> {
    let server_id = required(body, "ServerId")?;
    let username = required(body, "UserName")?;
    match text(body, "ServerProtocol")?.unwrap_or("SFTP") {
        "SFTP" => {}
        other => {
            let message = format!("ServerProtocol {other:?} is not served here; SFTP is");
            return Err(Refusal::invalid(&message));
        }
    }
    let source_ip = match text(body, "SourceIp")? {
        Some(address) => address
            .parse()
            .map_err(|_| Refusal::invalid("SourceIp is no address"))?,
        None => peer,
    };
    let servers = aws.servers.iter().filter(|server| *server.id == *server_id);
    let servers: Vec<_> = servers.collect();
    if servers.is_empty() {
        return Err(Refusal::new("ResourceNotFoundException", "Unknown server"));
    }
    // As at AWS, a password that is left out makes a look-up of keys.
    let credential = match text(body, "UserPassword")?.unwrap_or("") {
        "" => Credential::PublicKey,
        password => match password_fault(password, limits::PASSWORD_BYTES_MAX) {
            Some(fault) => return Err(Refusal::invalid(fault)),
            None => Credential::Password(Secret::new(password.to_owned())),
        },
    };
    let id = format!("test-{:08x}", getrandom::u32().unwrap_or_default());
    let question = Question {
        request_id: id.clone().into(),
        username: username.into(),
        credential,
        source_ip,
        session_id: id.into(),
    };
    Ok(told(ask(aws, &servers, &question).await))
}

/// Asks the providers of one server id until one does not deny.
async fn ask(aws: &Aws, servers: &[&Server], question: &Question) -> Option<Exchange> {
    let mut last = None;
    for server in servers {
        if !server.user_names.allows(&question.username) {
            continue;
        }
        let exchange = server.provider.examine(question, &*aws.clock).await;
        let denied = matches!(exchange.judged, Ok(Verdict::Denied(_)));
        last = Some(exchange);
        if !denied {
            break;
        }
    }
    last
}

/// Puts an exchange into AWS's four fields.
///
/// AWS says nothing of an answer that it cannot use; here the message names what is wrong with it.
fn told(exchange: Option<Exchange>) -> Value {
    let Some(exchange) = exchange else {
        let message = "the user name breaks the rule for user names: nobody was asked";
        return fields("", "", 200, message);
    };
    let response = String::from_utf8_lossy(&exchange.body);
    match &exchange.judged {
        // As at AWS, a function that raised has given no answer.
        Ok(Verdict::Denied(denied)) if denied.reason == Denied::FUNCTION_ERROR => {
            let detail = denied.detail.as_deref().unwrap_or("no errorType");
            let message = format!("Internal server error ({}: {detail})", denied.reason);
            fields(&exchange.url, "", 500, &message)
        }
        Ok(Verdict::Allowed(_) | Verdict::Denied(_)) => {
            fields(&exchange.url, &response, exchange.status.unwrap_or(200), "")
        }
        Err(error @ IdpError::Invalid { .. }) => {
            let status = exchange.status.unwrap_or(200);
            fields(&exchange.url, &response, status, &error.to_string())
        }
        Err(IdpError::Unavailable { reason, detail }) => {
            let message = format!("Internal server error ({reason}: {detail})");
            fields(&exchange.url, "", 500, &message)
        }
    }
}

fn fields(url: &str, response: &str, status: u16, message: &str) -> Value {
    json!({"Url": url, "Response": response, "StatusCode": status, "Message": message})
}

fn text<'b>(body: &'b Value, key: &str) -> Result<Option<&'b str>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::new(
            "SerializationException",
            &format!("{key} must be a string"),
        )),
    }
}

fn required<'b>(body: &'b Value, key: &str) -> Result<&'b str, Refusal> {
    text(body, key)?.ok_or_else(|| Refusal::invalid(&format!("{key} is required")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_function_that_raised_is_told_as_aws_tells_it() {
        let denied = Denied {
            reason: Denied::FUNCTION_ERROR,
            detail: Some("KeyError".into()),
        };
        let exchange = Exchange {
            url: "https://lambda.example.com".to_owned(),
            status: Some(200),
            body: br#"{"errorMessage": "walnut-39", "errorType": "KeyError"}"#.to_vec(),
            judged: Ok(Verdict::Denied(denied)),
            first_byte: None,
            total: Duration::ZERO,
        };
        let told = told(Some(exchange));
        assert_eq!(
            (&told["StatusCode"], &told["Response"]),
            (&json!(500), &json!(""))
        );
        let message = "Internal server error (function-error: KeyError)";
        assert_eq!(told["Message"], message);
    }
}
