//! `TestIdentityProvider`: what the identity provider answers, as AWS prints it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Aws, Refusal, Server};
use crate::auth::password_fault;
use crate::idp::router::{Mark, candidates};
use crate::idp::{Asking, Credential, Exchange, Question};
use crate::refusal::{Reason, Verdict};
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
    let longest = servers.iter().map(|server| server.password_bytes_max).max();
    let longest = longest.unwrap_or_default();
    // As at AWS, a password that is left out makes a look-up of keys.
    let credential = match text(body, "UserPassword")?.unwrap_or("") {
        "" => Credential::PublicKey,
        password => match password_fault(password, longest) {
            Some(fault) => return Err(Refusal::invalid(fault.cause())),
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
        asking: Asking::default(),
    };
    Ok(told(ask(aws, &servers, &question).await))
}

/// Asks the providers of one server id as a login would: those whose name it is, in order, until
/// one does not deny.
async fn ask(aws: &Aws, servers: &[&Server], question: &Question) -> Option<Exchange> {
    let mut last = None;
    let servers = servers.iter().copied();
    for (server, name) in candidates(servers, Server::mark, &question.username) {
        let too_long = match &question.credential {
            Credential::Password(password) => password.expose().len() > server.password_bytes_max,
            Credential::PublicKey => false,
        };
        if too_long || !server.user_names.allows(name) {
            continue;
        }
        let question = Question {
            username: name.into(),
            ..question.clone()
        };
        let exchange = server.provider.examine(&question, &*aws.clock).await;
        let refusal = exchange.judged.as_ref().err();
        let denied = refusal.is_some_and(|refusal| refusal.verdict() == Verdict::Denied);
        last = Some(exchange);
        if !denied {
            break;
        }
    }
    last
}

impl Server {
    fn mark(&self) -> Mark<'_> {
        Mark {
            prefix: self.user_prefix.as_deref(),
            suffix: self.user_suffix.as_deref(),
        }
    }
}

/// Puts an exchange into AWS's four fields.
///
/// AWS says nothing of an answer that it cannot use; here the message names what is wrong with it.
fn told(exchange: Option<Exchange>) -> Value {
    let Some(exchange) = exchange else {
        let message = "no provider takes this user name or a password of this length: nobody was \
            asked";
        return fields("", "", 200, message);
    };
    let response = String::from_utf8_lossy(&exchange.body);
    let status = exchange.status.unwrap_or(200);
    let Err(refusal) = &exchange.judged else {
        return fields(&exchange.url, &response, status, "");
    };
    let (reason, detail) = (refusal.reason, refusal.detail.as_deref());
    match refusal.verdict() {
        // As at AWS, a function that raised has given no answer.
        Verdict::Denied if reason == Reason::FunctionError => {
            let detail = detail.unwrap_or("no errorType");
            let message = format!("Internal server error ({reason}: {detail})");
            fields(&exchange.url, "", 500, &message)
        }
        Verdict::Denied => fields(&exchange.url, &response, status, ""),
        Verdict::Invalid => {
            let message = format!("invalid answer ({reason}): {}", detail.unwrap_or_default());
            fields(&exchange.url, &response, status, &message)
        }
        Verdict::Unavailable => {
            let message = format!("Internal server error ({refusal})");
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
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::admin::aws::AwsKey;
    use crate::clock::{Clock, SystemClock};
    use crate::idp::{Examined, IdentityProvider, Judged, UserNameRule};

    /// Denies, and notes who was asked about.
    #[derive(Debug, Default)]
    struct Denying(Mutex<Vec<Box<str>>>);

    #[async_trait]
    impl IdentityProvider for Denying {
        async fn ask(&self, question: &Question) -> Judged {
            self.0.lock().unwrap().push(question.username.clone());
            Err(Reason::NotAllowed.into())
        }
    }

    #[async_trait]
    impl Examined for Denying {
        fn place(&self) -> Option<(String, u16)> {
            None
        }

        async fn examine(&self, question: &Question, _clock: &dyn Clock) -> Exchange {
            Exchange {
                url: "https://idp.example.com".to_owned(),
                status: Some(200),
                body: Vec::new(),
                judged: self.ask(question).await,
                first_byte: None,
                total: Duration::ZERO,
            }
        }
    }

    #[tokio::test]
    async fn servers_of_one_id_are_asked_as_at_a_login() {
        let marks = [(Some("@@staff"), 1_024), (None, 1_024), (None, 9_999)];
        let providers = marks.map(|_| Arc::new(Denying::default()));
        let server = |at: usize| Server {
            id: "s-1".into(),
            provider: providers[at].clone(),
            user_names: UserNameRule::Open,
            user_prefix: None,
            user_suffix: marks[at].0.map(Into::into),
            password_bytes_max: marks[at].1,
        };
        let key = AwsKey {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("x".to_owned()),
        };
        let aws = Aws::new(
            key,
            vec![server(0), server(1), server(2)],
            Arc::new(SystemClock),
        );
        let peer = IpAddr::from([192, 0, 2, 7]);
        for (name, length, expected) in [
            ("ann@@staff", 5, [vec!["ann"], vec![], vec![]]),
            ("ann", 5, [vec![], vec!["ann"], vec!["ann"]]),
            ("ann", 5_000, [vec![], vec![], vec!["ann"]]),
            ("@@staff", 5, [vec![], vec![], vec![]]),
        ] {
            let password = "x".repeat(length);
            let body = json!({"ServerId": "s-1", "UserName": name, "UserPassword": password});
            perform(&aws, &body, peer).await.unwrap();
            let asked = [0, 1, 2].map(|at| std::mem::take(&mut *providers[at].0.lock().unwrap()));
            let expected = expected.map(|names| names.into_iter().map(Box::from).collect());
            assert_eq!(asked, expected as [Vec<Box<str>>; 3], "{name} {length}");
        }
        let body =
            json!({"ServerId": "s-1", "UserName": "ann", "UserPassword": "x".repeat(10_000)});
        assert!(perform(&aws, &body, peer).await.is_err());
    }

    #[test]
    fn a_function_that_raised_is_told_as_aws_tells_it() {
        let exchange = Exchange {
            url: "https://lambda.example.com".to_owned(),
            status: Some(200),
            body: br#"{"errorMessage": "walnut-39", "errorType": "KeyError"}"#.to_vec(),
            judged: Err(Reason::FunctionError.because("KeyError")),
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
