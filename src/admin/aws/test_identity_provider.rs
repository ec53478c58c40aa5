//! `TestIdentityProvider`: what the identity provider answers, as AWS prints it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::server::{Server, Servers};
use crate::auth::{OfferedKey, password_fault, would_enter};
use crate::idp::router::{Mark, candidates};
use crate::idp::{Asking, Credential, Exchange, Question, UserConfig};
use crate::refusal::{self, Reason, Verdict};
use crate::secret::Secret;

pub(super) async fn perform(aws: &Servers, body: &Value, peer: IpAddr) -> Result<Value, Refusal> {
    let server_id = required(body, "ServerId")?;
    let username = required(body, "UserName")?;
    match text(body, "ServerProtocol")?.unwrap_or("SFTP") {
        "SFTP" => {}
        other => {
            let message = format!("ServerProtocol {other:?} is not supported; only SFTP is");
            return Err(Refusal::invalid(&message));
        }
    }
    let source_ip = match text(body, "SourceIp")? {
        Some(address) => address
            .parse()
            .map_err(|_| Refusal::invalid("SourceIp is not an IP address"))?,
        None => peer,
    };
    let servers = aws.of(server_id)?;
    let longest = servers
        .iter()
        .map(|server| server.auth.password_bytes_max)
        .max();
    let longest = longest.unwrap_or_default();
    // As at AWS, a password that is left out makes a look-up of keys.
    let credential = match text(body, "UserPassword")?.unwrap_or("") {
        "" => Credential::PublicKey,
        password => match password_fault(password, longest) {
            Some(fault) => return Err(Refusal::invalid(fault.cause())),
            None => Credential::Password(Secret::new(password.to_owned())),
        },
    };
    if let Err(reason) = aws.blocks.admit(&[username], source_ip, aws.clock.wall()) {
        return Ok(fields("", "", 200, &refused(&reason.into())));
    }
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
async fn ask(aws: &Servers, servers: &[&Server], question: &Question) -> Option<Asked> {
    let mut last = None;
    let servers = servers.iter().copied();
    for (server, name) in candidates(servers, Server::mark, &question.username) {
        let too_long = match &question.credential {
            Credential::Password(password) => {
                password.expose().len() > server.auth.password_bytes_max
            }
            Credential::PublicKey => false,
        };
        if too_long || !server.auth.user_names.allows(name) {
            continue;
        }
        if aws.blocks.has_provider(&server.name, aws.clock.wall()) {
            let refusal = refusal::Refusal::new(Reason::ProviderBlocked);
            let exchange = Exchange::unasked(refusal.of_provider(&server.name));
            return Some(Asked {
                exchange,
                refused: None,
            });
        }
        let question = Question {
            username: name.into(),
            ..question.clone()
        };
        let exchange = server.provider.examine(&question, &*aws.clock).await;
        let (denied, refused) = match &exchange.judged {
            Ok(config) => (false, enters(aws, server, &question, config).await.err()),
            Err(refusal) => (refusal.verdict() == Verdict::Denied, None),
        };
        last = Some(Asked { exchange, refused });
        if !denied {
            break;
        }
    }
    last
}

/// Says whether the gateway lets in whom the provider lets in.
async fn enters(
    aws: &Servers,
    server: &Server,
    question: &Question,
    config: &UserConfig,
) -> Result<(), refusal::Refusal> {
    let methods = server.auth.methods;
    let allowed = match &question.credential {
        Credential::PublicKey => methods.key(),
        Credential::Password(_) => methods.password(),
    };
    if !allowed {
        return Err(Reason::MethodNotAllowed.into());
    }
    let names = [&*question.username, &*config.user];
    let now = aws.clock.wall();
    aws.blocks.admit(&names, question.source_ip, now)?;
    let is_look_up = matches!(question.credential, Credential::PublicKey);
    let mut keys = config.public_keys.iter();
    if is_look_up && !keys.any(|key| OfferedKey::from_line(&key.line).is_some()) {
        return Err(Reason::NoUsablePublicKey.into());
    }
    let from = (question.source_ip, &*question.session_id);
    would_enter(config, &server.auth, &*aws.stores, from, now).await
}

fn refused(refusal: &refusal::Refusal) -> String {
    let cause = refusal.reason.cause();
    format!("the login is refused ({refusal}): {cause}")
}

/// What a provider was asked and answered.
struct Asked {
    exchange: Exchange,
    /// The provider lets the user in, and the gateway does not.
    refused: Option<refusal::Refusal>,
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
/// AWS says nothing of an answer that it cannot use, nor of one whose login it refuses; here the
/// message names what is wrong.
fn told(asked: Option<Asked>) -> Value {
    let Some(Asked { exchange, refused }) = asked else {
        let message = "no provider accepts this user name or a password of this length: no \
                       request was sent";
        return fields("", "", 200, message);
    };
    let response = String::from_utf8_lossy(&exchange.body);
    let status = exchange.status.unwrap_or(200);
    let Err(refusal) = &exchange.judged else {
        let message = refused.as_ref().map_or_else(String::new, self::refused);
        return fields(&exchange.url, &response, status, &message);
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
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use async_trait::async_trait;

    use super::super::shown::{Shown, Transports};
    use super::*;
    use crate::auth::{AuthSettings, Methods};
    use crate::clock::{Clock, SystemClock};
    use crate::idp::blocks::{Blocked, Blocks};
    use crate::idp::{Examined, IdentityProvider, Judged, UserNameRule};
    use crate::storage::credentials::{Grant, Opened, Stores};
    use crate::storage::memory::MemoryStore;
    use crate::vfs::{Access, HomeDirectory};

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
            exchange(self.ask(question).await)
        }
    }

    /// Lets everybody in, with one answer.
    #[derive(Debug)]
    struct Allowing(UserConfig);

    #[async_trait]
    impl IdentityProvider for Allowing {
        async fn ask(&self, _question: &Question) -> Judged {
            Ok(Arc::new(self.0.clone()))
        }
    }

    #[async_trait]
    impl Examined for Allowing {
        fn place(&self) -> Option<(String, u16)> {
            None
        }

        async fn examine(&self, question: &Question, _clock: &dyn Clock) -> Exchange {
            exchange(self.ask(question).await)
        }
    }

    /// Knows one role.
    #[derive(Debug)]
    struct Roles;

    #[async_trait]
    impl Stores for Roles {
        async fn open(&self, grant: Grant<'_>) -> Result<Opened, refusal::Refusal> {
            match grant.role {
                Some("known") => Ok(Opened {
                    store: Arc::new(MemoryStore::new(&[])),
                    role: None,
                }),
                _ => Err(Reason::RoleUnknown.into()),
            }
        }
    }

    fn exchange(judged: Judged) -> Exchange {
        Exchange {
            url: "https://idp.example.com".to_owned(),
            status: Some(200),
            body: Vec::new(),
            judged,
            first_byte: None,
            total: Duration::ZERO,
        }
    }

    fn server(provider: Arc<dyn Examined>) -> Server {
        Server {
            id: "s-1".into(),
            name: "staff".into(),
            provider,
            provider_type: None,
            users: None,
            auth: AuthSettings {
                user_names: UserNameRule::Open,
                ..AuthSettings::default()
            },
            user_prefix: None,
            user_suffix: None,
            made: None,
            transports: Arc::new(Unseen),
        }
    }

    /// No listener.
    #[derive(Debug)]
    struct Unseen;

    impl Transports for Unseen {
        fn shown(&self) -> Vec<Shown> {
            Vec::new()
        }
    }

    fn aws(all: Vec<Server>) -> Servers {
        let blocks = Blocks::default().with_providers(["staff".into()]);
        Servers {
            all,
            stores: Arc::new(Roles),
            blocks: Arc::new(blocks),
            clock: Arc::new(SystemClock),
        }
    }

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[tokio::test]
    async fn a_login_that_would_be_refused_is_told_as_refused() {
        const KEY: &str = "ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        let home = HomeDirectory::path("/bucket/ann", Access::ReadWrite).unwrap();
        let plain = UserConfig {
            role: Some("known".into()),
            public_keys: vec![KEY.into()],
            ..UserConfig::new("ann", home)
        };
        let (any, password) = (Methods::KeyOrPassword, Some("tidal-fern-41"));
        let none = |_: &mut UserConfig| {};
        let policy = |config: &mut UserConfig| config.policy = Some("{}".into());
        let role = |config: &mut UserConfig| config.role = Some("other".into());
        let networks =
            |config: &mut UserConfig| config.networks = vec!["198.51.100.0/24".parse().unwrap()];
        let over = |config: &mut UserConfig| config.expires_at = Some(SystemTime::UNIX_EPOCH);
        let keys = |config: &mut UserConfig| config.public_keys = vec!["not a key".into()];
        let cases: [(fn(&mut UserConfig), Methods, Option<&str>, Option<&str>); 10] = [
            (none, any, password, None),
            (none, any, None, None),
            (none, Methods::KeyAndPassword, password, None),
            (policy, any, password, Some("policy-not-enforceable")),
            (role, any, password, Some("role-unknown")),
            (networks, any, password, Some("source-not-in-networks")),
            (over, any, password, Some("answer-expired")),
            (keys, any, None, Some("no-usable-public-key")),
            (none, Methods::Key, password, Some("method-not-allowed")),
            (none, Methods::Password, None, Some("method-not-allowed")),
        ];
        for (change, methods, password, reason) in cases {
            let mut config = plain.clone();
            change(&mut config);
            let mut server = server(Arc::new(Allowing(config)));
            server.auth.methods = methods;
            let aws = aws(vec![server]);
            let body = json!({"ServerId": "s-1", "UserName": "ann", "UserPassword": password});
            let told = perform(&aws, &body, PEER).await.unwrap();
            let message = told["Message"].as_str().unwrap();
            assert_eq!(told["StatusCode"], 200, "{told}");
            match reason {
                None => assert_eq!(message, ""),
                Some(reason) => assert!(
                    message.contains("the login is refused") && message.contains(reason),
                    "{reason}: {message}"
                ),
            }
        }
    }

    #[tokio::test]
    async fn who_is_blocked_is_answered_as_a_login_would_be() {
        let provider = Arc::new(Denying::default());
        for (blocked, suffix, reason, status) in [
            (Blocked::user("ANN"), None, "user-blocked", 200),
            (Blocked::user("ann"), Some("@@staff"), "user-blocked", 200),
            (
                Blocked::Network("192.0.2.0/24".parse().unwrap()),
                None,
                "source-blocked",
                200,
            ),
            (
                Blocked::Provider("staff".into()),
                None,
                "provider-blocked",
                500,
            ),
        ] {
            let home = HomeDirectory::path("/bucket/ann", Access::ReadWrite).unwrap();
            let config = UserConfig::new("ann", home);
            let asked: Arc<dyn Examined> = match suffix {
                // Only the name without its suffix is blocked: the provider is asked first.
                Some(_) => Arc::new(Allowing(config)),
                None => provider.clone(),
            };
            let mut server = server(asked);
            server.user_suffix = suffix.map(Into::into);
            let aws = aws(vec![server]);
            aws.blocks.block(blocked, None, SystemClock.wall()).unwrap();
            let name = format!("ann{}", suffix.unwrap_or_default());
            let body = json!({"ServerId": "s-1", "UserName": name, "UserPassword": "tidal"});
            let told = perform(&aws, &body, PEER).await.unwrap();
            assert_eq!(told["StatusCode"], status, "{told}");
            assert!(told["Message"].as_str().unwrap().contains(reason), "{told}");
        }
        assert!(provider.0.lock().unwrap().is_empty(), "nobody is asked");
    }

    #[tokio::test]
    async fn servers_of_one_id_are_asked_as_at_a_login() {
        let marks = [(Some("@@staff"), 1_024), (None, 1_024), (None, 9_999)];
        let providers = marks.map(|_| Arc::new(Denying::default()));
        let marked = |at: usize| {
            let mut server = server(providers[at].clone());
            server.auth.password_bytes_max = marks[at].1;
            server.user_suffix = marks[at].0.map(Into::into);
            server
        };
        let aws = aws(vec![marked(0), marked(1), marked(2)]);
        for (name, length, expected) in [
            ("ann@@staff", 5, [vec!["ann"], vec![], vec![]]),
            ("ann", 5, [vec![], vec!["ann"], vec!["ann"]]),
            ("ann", 5_000, [vec![], vec![], vec!["ann"]]),
            ("@@staff", 5, [vec![], vec![], vec![]]),
        ] {
            let password = "x".repeat(length);
            let body = json!({"ServerId": "s-1", "UserName": name, "UserPassword": password});
            perform(&aws, &body, PEER).await.unwrap();
            let asked = [0, 1, 2].map(|at| std::mem::take(&mut *providers[at].0.lock().unwrap()));
            let expected = expected.map(|names| names.into_iter().map(Box::from).collect());
            assert_eq!(asked, expected as [Vec<Box<str>>; 3], "{name} {length}");
        }
        let body =
            json!({"ServerId": "s-1", "UserName": "ann", "UserPassword": "x".repeat(10_000)});
        assert!(perform(&aws, &body, PEER).await.is_err());
    }

    #[test]
    fn a_function_that_raised_is_told_as_aws_tells_it() {
        let exchange = Exchange {
            body: br#"{"errorMessage": "walnut-39", "errorType": "KeyError"}"#.to_vec(),
            ..exchange(Err(Reason::FunctionError.because("KeyError")))
        };
        let told = told(Some(Asked {
            exchange,
            refused: None,
        }));
        assert_eq!(
            (&told["StatusCode"], &told["Response"]),
            (&json!(500), &json!(""))
        );
        let message = "Internal server error (function-error: KeyError)";
        assert_eq!(told["Message"], message);
    }
}
