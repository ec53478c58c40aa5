//! The servers that AWS's tools made: one change at a time, each remembered before it is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;

use super::super::listen::reachable;
use super::asked::{self, Functions};
use super::kept::{KeptServer, State};
use super::one::{self, OneServer, Shown};
use crate::admin::{Server, ServerActions, TagChange, WantedServer};
use crate::audit;
use crate::aws::AccessKey;
use crate::clock::SystemClock;
use crate::gateway::{ListenerState, Listeners, StartError};
use crate::idp::PathHomes;
use crate::idp::replaceable::Replaceable;
use crate::idp::service_managed::{Fault, Resource, Tag, Users, UsersSettings, add_tags};
use crate::limits::MADE_SERVERS_MAX;
use crate::secret::Secret;
use crate::ssh::{HostKey, HostKeys, Listener};

/// How servers are made.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where they listen.
    pub(super) ip: IpAddr,
    pub(super) state: Option<String>,
    pub(super) lambda_endpoint: Option<String>,
    pub(super) key: AccessKey,
}

/// Makes, starts and stops servers.
#[derive(Debug)]
pub(super) struct MadeServers {
    ip: IpAddr,
    functions: Functions,
    state: State,
    listeners: Arc<Listeners>,
    all: Mutex<Vec<OneServer>>,
    /// Held by whoever changes something.
    changing: tokio::sync::Mutex<()>,
}

impl MadeServers {
    /// Reads what is remembered; nothing listens yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn open(settings: Settings, listeners: Arc<Listeners>) -> anyhow::Result<Self> {
        let made = Self {
            ip: settings.ip,
            functions: Functions {
                endpoint: settings.lambda_endpoint,
                key: settings.key,
            },
            state: State::of(settings.state.as_deref()),
            listeners,
            all: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        let kept = made.state.all()?;
        if kept.len() > MADE_SERVERS_MAX {
            bail!("more than {MADE_SERVERS_MAX} servers are kept in --state");
        }
        for (id, kept) in kept {
            let host_keys = made.state.host_keys(&id).with_context(|| id.clone())?;
            let one = made.one(&id, kept, host_keys).with_context(|| id.clone())?;
            made.all().push(one);
        }
        Ok(made)
    }

    /// Has those listen that did before; one whose port is taken is `START_FAILED`.
    pub(super) async fn start_remembered(&self) {
        let _changing = self.changing.lock().await;
        let all = self.all().clone();
        for one in all.iter().filter(|one| one.kept.online) {
            if let Err(error) = self.launch(one, None).await {
                let (of_server, port) = (&*one.id, one.kept.port);
                tracing::error!(of_server, port, %error, "the server does not start");
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<OneServer>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<OneServer, Fault> {
        let all = self.all();
        let found = all.iter().find(|one| *one.id == *id).cloned();
        found.ok_or_else(|| Fault::NotFound {
            what: Resource::Server,
            name: id.to_owned(),
        })
    }

    /// Puts a server in the place of its older self.
    fn put(&self, next: OneServer) {
        let mut all = self.all();
        match all.iter_mut().find(|one| one.id == next.id) {
            Some(one) => *one = next,
            None => all.push(next),
        }
    }

    fn one(&self, id: &str, kept: KeptServer, host_keys: HostKeys) -> Result<OneServer, Fault> {
        let users = UsersSettings {
            path_homes: PathHomes::Confined,
            // Every document is here: nothing is won by remembering.
            cached_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            read_timeout: USERS_READ_WITHIN,
        };
        let users = Users::new(self.state.users(id), users, Arc::new(SystemClock));
        let users = Arc::new(users);
        let provider = asked::provider(id, &kept.settings, &users, &self.functions)?;
        Ok(OneServer {
            id: id.into(),
            policy: one::policy(&kept.settings)?,
            provider: Arc::new(Replaceable::new(provider)),
            users,
            host_keys,
            kept,
        })
    }

    /// Receives clients on a server's port, which may be bound already.
    async fn launch(&self, one: &OneServer, bound: Option<Listener>) -> Result<(), Fault> {
        let listener = match bound {
            Some(listener) => listener,
            None => {
                self.listeners.closed(&one.id).await;
                self.bind(one.kept.port).await?
            }
        };
        let started = self.listeners.start_again(one.parts(listener));
        let address = started.map_err(|error| match error {
            StartError::Running => Fault::Contended,
            StartError::Draining | StartError::Address(_) => Fault::Unavailable(error.to_string()),
        })?;
        audit::server_listening(&one.id, address);
        Ok(())
    }

    async fn bind(&self, port: u16) -> Result<Listener, Fault> {
        let address = SocketAddr::new(self.ip, port);
        let bound = Listener::bind(address).await;
        bound.map_err(|error| Fault::Invalid(format!("port {port} cannot be had: {error}")))
    }

    /// Takes the port that was asked for, or the first free one that no server has.
    async fn new_port(&self, asked: Option<u16>) -> Result<(u16, Listener), Fault> {
        let owner = |port: u16| {
            let all = self.all();
            let owner = all.iter().find(|one| one.kept.port == port);
            owner.map(|one| one.id.clone())
        };
        if let Some(port) = asked {
            if let Some(owner) = owner(port) {
                return Err(Fault::Invalid(format!(
                    "port {port} is that of server {owner}"
                )));
            }
            return Ok((port, self.bind(port).await?));
        }
        for port in FIRST_PORT..FIRST_PORT.saturating_add(PORTS_TRIED) {
            if owner(port).is_none()
                && let Ok(listener) = self.bind(port).await
            {
                return Ok((port, listener));
            }
        }
        let message = format!("no free port from {FIRST_PORT} on");
        Err(Fault::Unavailable(message))
    }

    fn state_of(&self, one: &OneServer) -> &'static str {
        let all = self.listeners.all();
        let of_it = || all.iter().filter(|status| status.name == one.id);
        let listens = of_it().any(|status| status.state == ListenerState::Listening);
        let stops = of_it().any(|status| status.state == ListenerState::Stopping);
        match (one.kept.online, listens, stops) {
            (true, true, _) => "ONLINE",
            (true, false, _) => "START_FAILED",
            (false, _, true) => "STOPPING",
            (false, _, false) => "OFFLINE",
        }
    }

    fn listens(&self, one: &OneServer) -> bool {
        self.state_of(one) == "ONLINE"
    }

    /// Keeps what a server becomes, first where the next start finds it.
    fn keep(&self, next: OneServer) -> Result<(), Fault> {
        self.state.keep(&next.id, &next.kept)?;
        self.put(next);
        Ok(())
    }

    /// Has a listener show what its server has become, or puts another one in its place.
    async fn renew(&self, old: &OneServer, next: OneServer, bound: Option<Listener>) -> Changed {
        if !old.needs_listener_of(&next) {
            self.listeners.set_host_keys(&next.id, next.host_keys);
            return Ok(());
        }
        self.listeners.begin_stop(&next.id);
        self.launch(&next, bound).await
    }
}

type Changed = Result<(), Fault>;

#[async_trait]
impl ServerActions for MadeServers {
    fn servers(&self) -> Vec<Server> {
        let all = self.all().clone();
        let host = reachable(SocketAddr::new(self.ip, 0));
        let shown = |one: &OneServer| Shown {
            host: &host,
            state: self.state_of(one),
        };
        all.iter().map(|one| one.shown(shown(one))).collect()
    }

    async fn create(&self, wanted: WantedServer, tags: Vec<Tag>) -> Result<String, Fault> {
        let _changing = self.changing.lock().await;
        if self.all().len() >= MADE_SERVERS_MAX {
            let message = format!("there are {MADE_SERVERS_MAX} servers already: delete one");
            return Err(Fault::Invalid(message));
        }
        let WantedServer { settings, host_key } = wanted;
        settings.check()?;
        one::policy(&settings)?;
        let given = host_key.as_ref().map(parsed).transpose()?;
        let mut kept_tags = Vec::new();
        add_tags(&mut kept_tags, own_tags(tags)?)?;
        let id = new_id()?;
        let (port, listener) = self.new_port(settings.port()?).await?;
        let kept = KeptServer {
            port,
            online: true,
            settings,
            tags: kept_tags,
        };
        let made = async {
            if let Some(key) = &given {
                self.state.keep_host_key(&id, key)?;
            }
            let host_keys = match given {
                Some(key) => of_one(key)?,
                None => self.state.host_keys(&id)?,
            };
            let one = self.one(&id, kept, host_keys)?;
            self.state.keep(&id, &one.kept)?;
            self.launch(&one, Some(listener)).await?;
            Ok(one)
        };
        match made.await {
            Ok(one) => {
                one::say_what_is_left_out(&id, &one.kept.settings, one.policy);
                self.put(one);
                Ok(id)
            }
            Err(fault) => {
                // Nothing is left of one that nobody was told of.
                self.state.forget(&id)?;
                Err(fault)
            }
        }
    }

    async fn update(&self, id: &str, change: WantedServer) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let old = self.find(id)?;
        let WantedServer { settings, host_key } = change;
        let mut kept = old.kept.clone();
        kept.settings = kept.settings.changed(settings);
        kept.settings.check()?;
        let given = host_key.as_ref().map(parsed).transpose()?;
        let provider = asked::provider(id, &kept.settings, &old.users, &self.functions)?;
        let policy = one::policy(&kept.settings)?;
        let asked = kept.settings.port()?.filter(|port| *port != kept.port);
        let bound = match asked {
            Some(asked) => {
                let (port, listener) = self.new_port(Some(asked)).await?;
                kept.port = port;
                Some(listener)
            }
            None => None,
        };
        if let Some(key) = &given {
            self.state.keep_host_key(id, key)?;
        }
        let host_keys = match given {
            Some(key) => of_one(key)?,
            None => old.host_keys.clone(),
        };
        let next = OneServer {
            kept,
            host_keys,
            policy,
            ..old.clone()
        };
        let (settings, policy) = (next.kept.settings.clone(), next.policy);
        let listens = self.listens(&old);
        self.keep(next.clone())?;
        // From the next question on, as the kept settings say, whatever becomes of the listener;
        // those under way end with the old one.
        old.provider.replace(provider);
        if listens {
            self.renew(&old, next, bound).await?;
        }
        one::say_what_is_left_out(id, &settings, policy);
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let mut one = self.find(id)?;
        if self.listens(&one) {
            return Ok(());
        }
        one.kept.online = true;
        self.keep(one.clone())?;
        self.launch(&one, None).await
    }

    async fn stop(&self, id: &str) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let mut one = self.find(id)?;
        one.kept.online = false;
        self.keep(one)?;
        self.listeners.begin_stop(id);
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let one = self.find(id)?;
        if one.is_service_managed() && one.users.count().await? != Some(0) {
            let message = format!("server {id} has users: delete them first");
            return Err(Fault::Invalid(message));
        }
        self.state.forget(id)?;
        self.all().retain(|one| *one.id != *id);
        self.listeners.begin_stop(id);
        Ok(())
    }

    async fn tag(&self, id: &str, change: TagChange) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let mut one = self.find(id)?;
        match change {
            TagChange::Add(tags) => add_tags(&mut one.kept.tags, own_tags(tags)?)?,
            TagChange::Remove(keys) => one.kept.tags.retain(|tag| !keys.contains(&tag.key)),
        }
        self.keep(one)
    }
}

/// Refuses tags that are AWS's own, but for those with which it names hosts.
fn own_tags(tags: Vec<Tag>) -> Result<Vec<Tag>, Fault> {
    let is_ours = |tag: &&Tag| tag.key.starts_with("aws:") && !tag.key.starts_with("aws:transfer:");
    match tags.iter().find(is_ours) {
        Some(tag) => Err(Fault::Invalid(format!(
            "the key {:?} of a tag is reserved",
            tag.key
        ))),
        None => Ok(tags),
    }
}

fn parsed(key: &Secret) -> Result<HostKey, Fault> {
    HostKey::parse(key).map_err(|error| Fault::Invalid(format!("HostKey: {error}")))
}

fn of_one(key: HostKey) -> Result<HostKeys, Fault> {
    HostKeys::new(vec![key]).map_err(|error| Fault::Invalid(format!("HostKey: {error}")))
}

/// Makes an id as AWS does: `s-` and 17 hexadecimal digits.
fn new_id() -> Result<String, Fault> {
    let mut bytes = [0; 9];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| Fault::Unavailable(format!("no random numbers: {error}")))?;
    let digits: String = hex::encode(bytes).chars().take(17).collect();
    Ok(format!("s-{digits}"))
}

/// After that of `quickstart` itself.
const FIRST_PORT: u16 = 2223;
const PORTS_TRIED: u16 = 200;
/// How long a login waits for a document.
const USERS_READ_WITHIN: Duration = Duration::from_secs(4);
