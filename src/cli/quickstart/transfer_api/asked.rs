//! Who is asked about the users of a server that AWS's tools made.

use std::sync::Arc;

use async_trait::async_trait;

use crate::admin::server_settings::{IdentityProviderDetails, ProviderType, ServerSettings};
use crate::auth::{AuthSettings, Methods, UserNameRule};
use crate::aws::AccessKey;
use crate::clock::{Clock, SystemClock};
use crate::idp::api_gateway::{ApiGateway, ApiGatewaySettings};
use crate::idp::lambda::{Lambda, LambdaSettings};
use crate::idp::service_managed::{Fault, ServiceManaged, Users};
use crate::idp::{
    AwsCredentials, Examined, Exchange, IdentityProvider, Judged, Question, UserConfig,
};
use crate::limits::LOG_INTERVAL;
use crate::seldom::Seldom;

/// Where functions are invoked, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Functions {
    pub(super) endpoint: Option<String>,
    pub(super) key: AccessKey,
}

/// Opens the provider that a server names.
pub(super) fn provider(
    id: &str,
    settings: &ServerSettings,
    users: &Arc<Users>,
    functions: &Functions,
) -> Result<Arc<dyn Examined>, Fault> {
    let none = IdentityProviderDetails::default();
    let details = settings.identity_provider_details.as_ref().unwrap_or(&none);
    let provider: Arc<dyn Examined> = match settings.provider_type()? {
        ProviderType::ServiceManaged => Arc::new(ServiceManaged::new(Arc::clone(users))),
        ProviderType::Lambda => {
            let Some(endpoint) = functions.endpoint.clone() else {
                return Err(Fault::Invalid(
                    "functions are invoked nowhere: start portcullis quickstart with \
                     --lambda-endpoint URL"
                        .to_owned(),
                ));
            };
            let function = details.function.as_deref().unwrap_or_default();
            let lambda = Lambda::new(LambdaSettings {
                endpoint: Some(endpoint),
                credentials: AwsCredentials::Static(functions.key.clone()),
                // Whoever tries something out has passwords that are no secrets.
                plaintext: true,
                ..LambdaSettings::new(function, id)
            });
            Arc::new(lambda.map_err(|error| Fault::Invalid(format!("Function: {error}")))?)
        }
        ProviderType::ApiGateway => {
            let url = details.url.as_deref().unwrap_or_default();
            let api = ApiGateway::new(ApiGatewaySettings {
                plaintext: true,
                ..ApiGatewaySettings::new(url, id)
            });
            Arc::new(api.map_err(|error| Fault::Invalid(format!("Url: {error}")))?)
        }
    };
    Ok(Arc::new(WithoutPolicy {
        provider,
        server_id: id.into(),
        warnings: Seldom::default(),
    }))
}

/// Returns what logins have to keep to.
pub(super) fn auth(settings: &ServerSettings) -> AuthSettings {
    let details = settings.identity_provider_details.as_ref();
    let methods = details.and_then(|one| one.sftp_authentication_methods.as_deref());
    let methods = match (settings.provider_type(), methods) {
        (Ok(ProviderType::ServiceManaged), _) | (_, Some("PUBLIC_KEY")) => Methods::Key,
        (_, Some("PASSWORD")) => Methods::Password,
        (_, Some("PUBLIC_KEY_AND_PASSWORD")) => Methods::KeyAndPassword,
        (_, Some(_) | None) => Methods::KeyOrPassword,
    };
    AuthSettings {
        methods,
        user_names: UserNameRule::Aws,
        ..AuthSettings::default()
    }
}

/// Lets sessions in whose policy nothing enforces here: there is one access key, and no STS.
#[derive(Debug)]
struct WithoutPolicy {
    provider: Arc<dyn Examined>,
    server_id: Box<str>,
    warnings: Seldom,
}

impl WithoutPolicy {
    fn without(&self, judged: Judged) -> Judged {
        let config = judged?;
        if config.policy.is_none() {
            return Ok(config);
        }
        if let Some(unlogged) = self.warnings.due(SystemClock.now(), LOG_INTERVAL) {
            let (of_server, user) = (&*self.server_id, &*config.user);
            tracing::warn!(
                of_server,
                user,
                unlogged,
                "the session policy is not enforced here: the session may do everything in its home"
            );
        }
        Ok(Arc::new(UserConfig {
            policy: None,
            ..UserConfig::clone(&config)
        }))
    }
}

#[async_trait]
impl IdentityProvider for WithoutPolicy {
    async fn ask(&self, question: &Question) -> Judged {
        self.without(self.provider.ask(question).await)
    }
}

#[async_trait]
impl Examined for WithoutPolicy {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let exchange = self.provider.examine(question, clock).await;
        Exchange {
            judged: self.without(exchange.judged),
            ..exchange
        }
    }

    fn place(&self) -> Option<(String, u16)> {
        self.provider.place()
    }
}
