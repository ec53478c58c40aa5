//! One server that AWS's tools made: what it is, and what its listener is made of.

use std::sync::Arc;

use super::asked;
use super::kept::KeptServer;
use crate::admin::server_settings::{ProviderType, ServerSettings};
use crate::admin::{Made, Server, Shown as ShownTransport, Transports};
use crate::config::Algorithms;
use crate::gateway::ListenerParts;
use crate::idp::replaceable::Replaceable;
use crate::idp::service_managed::{Fault, Resource, Tag, Users};
use crate::migrate::algorithms::Policy;
use crate::ssh::{HostKeys, Listener, OfferedAlone, ProxyProtocol, Transport, key_exchanges, macs};

/// A server, whether or not it listens.
#[derive(Debug, Clone)]
pub(super) struct OneServer {
    pub(super) id: Box<str>,
    pub(super) kept: KeptServer,
    pub(super) provider: Arc<Replaceable>,
    /// There, and asked by a provider of another kind never.
    pub(super) users: Arc<Users>,
    pub(super) host_keys: HostKeys,
    pub(super) policy: Policy,
}

/// What `DescribeServer` says of it beside its settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// Where clients find it.
    pub(super) host: &'a str,
    pub(super) state: &'static str,
}

/// What the only listener of a server shows.
#[derive(Debug)]
struct Own(Transport);

impl Transports for Own {
    fn shown(&self) -> Vec<ShownTransport> {
        vec![ShownTransport {
            listener: Box::default(),
            transport: self.0.clone(),
        }]
    }
}

impl OneServer {
    /// Returns what its listener is made of.
    pub(super) fn parts(&self, listener: Listener) -> ListenerParts {
        let settings = &self.kept.settings;
        let banner = settings.pre_authentication_login_banner.as_deref();
        let everywhere = || {
            ["0.0.0.0/0", "::/0"]
                .into_iter()
                .filter_map(|all| all.parse().ok())
        };
        ListenerParts {
            name: self.id.clone(),
            auth: asked::auth(settings),
            banner: banner.filter(|text| !text.is_empty()).map(Into::into),
            transport: self.transport(),
            proxy: if settings.needs_proxy_header() {
                ProxyProtocol::Required {
                    trusted: everywhere().collect(),
                }
            } else {
                ProxyProtocol::Ignore
            },
            ..ListenerParts::new(listener, self.provider.clone(), self.host_keys.clone())
        }
    }

    fn transport(&self) -> Transport {
        Transport {
            algorithms: Algorithms::Compatible,
            alone: Some(Arc::new(offered(self.policy))),
            ..self.host_keys.clone().into()
        }
    }

    /// Says whether its listener has to be another one.
    pub(super) fn needs_listener_of(&self, next: &Self) -> bool {
        let of = |one: &Self| {
            let settings = &one.kept.settings;
            (
                one.kept.port,
                settings.pre_authentication_login_banner.clone(),
                settings.needs_proxy_header(),
                asked::auth(settings).methods,
                one.policy,
            )
        };
        of(self) != of(next)
    }

    pub(super) fn is_service_managed(&self) -> bool {
        self.kept.settings.provider_type() == Ok(ProviderType::ServiceManaged)
    }

    /// Returns what AWS's tools are told.
    pub(super) fn shown(&self, shown: Shown<'_>) -> Server {
        let settings = &self.kept.settings;
        let kind = settings.provider_type().ok();
        Server {
            id: self.id.clone(),
            name: Box::default(),
            provider: self.provider.clone(),
            provider_type: kind.map(ProviderType::as_str),
            users: self.is_service_managed().then(|| Arc::clone(&self.users)),
            auth: asked::auth(settings),
            user_prefix: None,
            user_suffix: None,
            made: Some(Arc::new(self.made(shown))),
            transports: Arc::new(Own(self.transport())),
        }
    }

    fn made(&self, shown: Shown<'_>) -> Made {
        let port = self.kept.port;
        let mut description = self.kept.settings.described(port);
        if let Some(members) = description.as_object_mut() {
            members.insert("State".to_owned(), shown.state.into());
        }
        let mut tags = self.kept.tags.clone();
        // Tools take tags that begin so for the service's own, and leave them alone.
        tags.push(Tag {
            key: "aws:portcullis:address".to_owned(),
            value: format!("{}:{port}", shown.host),
        });
        Made { description, tags }
    }
}

/// Returns the security policy of a server.
///
/// # Errors
/// It is not known.
pub(super) fn policy(settings: &ServerSettings) -> Result<Policy, Fault> {
    let name = settings.security_policy();
    Policy::named(name).ok_or_else(|| Fault::NotFound {
        what: Resource::SecurityPolicy,
        name: name.to_owned(),
    })
}

fn offered(policy: Policy) -> OfferedAlone {
    OfferedAlone {
        key_exchanges: policy.kex.to_vec(),
        ciphers: policy.ciphers.to_vec(),
        macs: policy.macs.to_vec(),
    }
}

/// Says in the log what has no effect.
pub(super) fn say_what_is_left_out(id: &str, settings: &ServerSettings, policy: Policy) {
    for member in settings.without_effect() {
        tracing::warn!(
            of_server = id,
            member,
            "kept and shown; it has no effect here"
        );
    }
    let lost = policy.lost(&key_exchanges(Algorithms::Compatible), &macs());
    let mut algorithms = [lost.kex, lost.macs].concat();
    if lost.sha1_signatures {
        algorithms.push("ssh-rsa");
    }
    if !algorithms.is_empty() {
        let (policy, algorithms) = (settings.security_policy(), algorithms.join(", "));
        tracing::warn!(
            of_server = id,
            policy,
            algorithms,
            "in the security policy, and not offered here"
        );
    }
}
