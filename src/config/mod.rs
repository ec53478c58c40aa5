//! Every setting of `portcullis serve`, and the only reader of the environment.
//!
//! The table in `settings.rs` is the one place that knows a setting: its name, its field, its range
//! and what it does. Parsing, environment variables, messages and docs/configuration.md all come
//! from it; defaults come from the [`Default`] values of the structures here.

mod check;
pub mod credentials;
mod document;
mod identity;
mod listener;
mod origin;
mod path;
mod problem;
mod provider;
mod s3_place;
mod settings;
mod source;
mod ssh;
mod url;
mod value;
mod value_file;
mod words;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::limits::{self, Limits};
use crate::secret::Secret;
use crate::storage::Capabilities;
use crate::storage::retry::RetrySettings;

pub use self::document::{MINIMAL, document, example};
pub use self::identity::{Cache, Identity, NamedProvider};
pub use self::listener::{Listener, ListenerTable, Proxy};
pub use self::origin::Origin;
pub use self::problem::{ConfigErrors, Place, Problem};
pub use self::provider::{
    ApiGateway, Aws, ClientCertificate, KeySource, Lambda, ProviderSettings, ServiceManaged,
    Signing, Static, Token, Webhook,
};
pub use self::ssh::Ssh;
pub use self::value_file::ValueFile;
pub use self::words::{
    Algorithms, ApiScope, Encryption, Event, Exec, ListTimes, LogFormat, Methods, Modes, Mtime,
    PartialUploads, PathHomes, Provider, ProxyProtocol, Roles, SetStat, Sign, StatTimes, StoreKind,
    StoreRoles, UserNames,
};

/// What the operator decided.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub proxy: Proxy,
    /// Every address at which clients are received, the main one first.
    pub listeners: Vec<Listener>,
    /// Room for what is only in one `[listener.NAME]` while it is read.
    listener: ListenerTable,
    /// Where the gateway keeps what must outlive it, such as a generated host key.
    pub state_directory: Option<String>,
    /// Private host keys, as paths.
    pub host_key_files: Vec<String>,
    pub server_id: String,
    /// The provider when there is only one; otherwise what the others have in common.
    pub identity: Identity,
    /// In the order in which they are asked.
    pub providers: Vec<NamedProvider>,
    /// Names of those that only listeners that are off have.
    providers_off: Vec<String>,
    /// The tables `[role.NAME]`.
    pub roles: Vec<RoleKeys>,
    /// Room for one such table while it is read.
    role: RoleKeys,
    /// The tables `[store.NAME]`.
    pub stores: Vec<NamedStore>,
    /// Room for what is only in one of them while it is read.
    store: StoreTable,
    pub sts: Sts,
    pub storage: Storage,
    pub ssh: Ssh,
    pub sftp: Sftp,
    pub limits: Limits,
    pub login: Login,
    pub admin: Admin,
    /// The tables `[api_key.NAME]`.
    pub api_keys: Vec<ApiKey>,
    /// Room for one such table while it is read.
    api_key: ApiKey,
    pub log: Log,
    /// What was written and is taken, but should be written otherwise.
    pub warnings: Vec<String>,
    /// Files whose text is the value of a setting.
    pub files: Vec<ValueFile>,
}

/// `[login]`: throttling and lock-outs.
#[derive(Debug, Clone)]
pub struct Login {
    pub failures_max: usize,
    pub failures_per_source_max: usize,
    pub names_per_source_max: usize,
    pub failure_window: Duration,
    pub lockout: Duration,
    /// Networks as text.
    pub unthrottled_networks: Vec<String>,
}

/// `[admin]`: the operator's port.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `None` = off.
    pub listen: Option<SocketAddr>,
    /// For probes alone; `None` = off.
    pub probe_listen: Option<SocketAddr>,
    /// Required from the sender of a command.
    pub token: Option<Secret>,
    /// Taken as well.
    pub token_next: Option<Secret>,
    /// For AWS's tools alone; `None` = off: they are answered at `listen`.
    pub api_listen: Option<SocketAddr>,
    /// The certificate that is shown there, with its chain.
    pub api_certificate_pem: Option<String>,
    pub api_certificate_key: Option<Secret>,
    /// The same without TLS, to whoever connects.
    pub api_plaintext: bool,
    /// The keys with which requests of AWS's tools are signed.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
}

/// `[api_key.NAME]`: a key with which AWS's tools sign.
#[derive(Debug, Clone, Default)]
pub struct ApiKey {
    /// Of the table.
    pub name: String,
    pub access_key_id: String,
    pub secret_access_key: Option<Secret>,
    pub scope: ApiScope,
}

/// `[role.NAME]`: the keys that stand for a role, for `roles = "map"`.
#[derive(Debug, Clone, Default)]
pub struct RoleKeys {
    /// Of the table.
    pub name: String,
    pub arn: String,
    pub access_key_id: String,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub next: NextKey,
}

/// `[store.NAME]`: a store beside `[storage]`, for some buckets.
#[derive(Debug, Clone)]
pub struct NamedStore {
    pub name: String,
    pub table: StoreTable,
    /// Nothing in it comes from `[storage]`, whose keys are nothing to another store.
    pub storage: Storage,
}

impl NamedStore {
    /// Returns what it serves, as patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        let is_directory = self.table.kind == StoreKind::Directory;
        let name = is_directory.then_some(&*self.name);
        let others = self.table.fs_ids.iter().chain(&self.table.buckets);
        name.into_iter().chain(others.map(|text| &**text))
    }
}

/// What a store has beside the settings of `[storage]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreTable {
    pub kind: StoreKind,
    /// Of a directory.
    pub root: Option<String>,
    /// Of a directory, beside the table's own name.
    pub fs_ids: Vec<String>,
    /// Names, or beginnings of names with `*` after them.
    pub buckets: Vec<String>,
    pub roles: StoreRoles,
    /// `None` = AWS's own of the region.
    pub sts_endpoint: Option<String>,
    /// `None` = that of the store.
    pub sts_region: Option<String>,
}

/// A second access key, for while one replaces the other.
#[derive(Debug, Clone, Default)]
pub struct NextKey {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
}

/// `[storage]`: S3 and how to speak to it.
#[derive(Debug, Clone)]
pub struct Storage {
    pub region: String,
    /// `None` = AWS's own.
    pub endpoint: Option<String>,
    pub path_style: bool,
    pub storage_class: Option<String>,
    pub encryption: Encryption,
    pub kms_key_id: Option<String>,
    /// `None` = the AWS chain.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub next: NextKey,
    /// Roots to trust besides the system's, in PEM.
    pub ca_pem: Option<String>,
    pub capabilities: Capabilities,
    /// 0 = AWS's with AWS's own endpoints, that of the others elsewhere.
    pub object_bytes_max: u64,
    pub connect_timeout: Duration,
    pub call_timeout: Duration,
    /// For calls in which the store moves the bytes.
    pub work_timeout: Duration,
    pub retries: RetrySettings,
}

/// `[sts]`: how roles are assumed, for `roles = "assume"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sts {
    /// `None` = AWS's own of the region.
    pub endpoint: Option<String>,
    /// `None` = that of `[storage]`.
    pub region: Option<String>,
    pub external_id: Option<String>,
    pub source_identity: Option<String>,
    pub duration: Duration,
    /// As `key=value`.
    pub tags: Vec<String>,
    pub transitive_tags: Vec<String>,
    pub timeout: Duration,
}

/// `[sftp]`: how the protocol behaves where S3 leaves a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sftp {
    pub partial_uploads: PartialUploads,
    /// Where uploads are recorded, so that they can be kept if the process is killed.
    pub partial_state: Option<String>,
    pub setstat: SetStat,
    pub mtime: Mtime,
    pub modes: Modes,
    /// Directories that empty themselves stay.
    pub keep_empty_directories: bool,
    pub names_fresh_for: Duration,
    pub stat_times: StatTimes,
    pub list_times: ListTimes,
    /// `/.history` shows the versions of files.
    pub history: bool,
    /// Commands that clients can run.
    pub exec: Exec,
    /// Shown before login.
    pub banner: Option<String>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// As `tracing-subscriber` takes it: `info`, or `info,portcullis::session=debug`.
    pub filter: String,
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Serve,
    /// To try a login: nobody is listened to, so no host key is asked for.
    Login,
}

impl Storage {
    /// Returns how large an object its maker's stores take.
    const fn largest_of_its_kind(&self) -> u64 {
        match &self.endpoint {
            None => limits::OBJECT_BYTES_MAX,
            Some(_) => limits::OBJECT_BYTES_MAX_ELSEWHERE,
        }
    }
}

impl Config {
    /// Returns how large an object every store takes.
    fn largest_object(&self) -> u64 {
        let named = self
            .stores
            .iter()
            .filter(|named| named.table.kind == StoreKind::S3);
        let named = named.map(|named| &named.storage);
        let all = named.chain([&self.storage]);
        match self.storage.object_bytes_max {
            0 => all
                .map(Storage::largest_of_its_kind)
                .min()
                .unwrap_or(limits::OBJECT_BYTES_MAX_ELSEWHERE),
            most => most,
        }
    }

    /// Reads the tables of which there may be several; returns those of listeners.
    fn read_tables(
        &mut self,
        sources: &source::Sources,
        read_file: &dyn Fn(&str) -> io::Result<String>,
        problems: &mut Vec<Problem>,
    ) -> Vec<check::listeners::Written> {
        let mut member = |family: &settings::Family, name: &str, of: &mut Self| {
            let (section, mut member) = (settings::join(family.table, name), of.clone());
            member.files.clear();
            for setting in family.settings() {
                sources.apply(setting, &section, &mut member, read_file, problems);
            }
            of.files.append(&mut member.files);
            member
        };
        for name in sources.names(&settings::PROVIDERS) {
            let identity = member(&settings::PROVIDERS, &name, self).identity;
            self.providers.push(NamedProvider { name, identity });
        }
        for name in sources.names(&settings::ROLES) {
            let role = member(&settings::ROLES, &name, self).role;
            self.roles.push(RoleKeys { name, ..role });
        }
        for name in sources.names(&settings::STORES) {
            let of_all = std::mem::take(&mut self.storage);
            let member = member(&settings::STORES, &name, self);
            self.storage = of_all;
            self.stores.push(NamedStore {
                name,
                table: member.store,
                storage: member.storage,
            });
        }
        for name in sources.names(&settings::API_KEYS) {
            let key = member(&settings::API_KEYS, &name, self).api_key;
            self.api_keys.push(ApiKey { name, ..key });
        }
        let tables = sources.names(&settings::LISTENERS).into_iter();
        tables
            .map(|name| check::listeners::Written {
                merged: member(&settings::LISTENERS, &name, self),
                name,
            })
            .collect()
    }

    /// Notes what is allowed, and hardly what was meant.
    fn warn(&mut self, sources: &source::Sources) {
        let roles = self.identity.roles != Roles::Gateway;
        let mut tables = self.stores.iter().map(|named| &named.table);
        if roles && tables.any(|table| table.roles == StoreRoles::Refuse) {
            self.warnings.push(STORE_REFUSES.to_owned());
        }
        if sources.has("sftp.setstat") {
            self.warnings.push(SETSTAT_WRITTEN.to_owned());
        }
    }

    /// Builds the configuration from a file's text and the environment; the latter wins.
    ///
    /// # Errors
    /// Every problem that can be told apart, each with its place and its remedy.
    pub fn from_sources(
        toml_text: Option<&str>,
        environment: &BTreeMap<String, String>,
        read_file: &dyn Fn(&str) -> io::Result<String>,
        purpose: Purpose,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let sources = source::Sources::read(toml_text, environment, &mut problems);
        if sources.is_no_toml() {
            problems.retain(|problem| &*problem.key == "TOML");
            return Err(ConfigErrors::new(problems));
        }
        let mut config = Self::default();
        for setting in settings::SETTINGS {
            if !settings::is_repeated(setting.section) {
                let section = setting.section;
                sources.apply(setting, section, &mut config, read_file, &mut problems);
            }
        }
        let tables = config.read_tables(&sources, read_file, &mut problems);
        let order = config.identity.providers.clone();
        let place = |named: &NamedProvider| order.iter().position(|name| *name == named.name);
        config.providers.sort_by_key(place);
        check::listeners::put(&mut config, &tables, &sources);
        let unread = problems.len();
        check::combinations(&mut config, &sources, purpose, &mut problems);
        // What could not be read is not missing besides.
        let (known, more) = problems.split_at(unread);
        let more = more
            .iter()
            .filter(|p| known.iter().all(|known| known.key != p.key));
        let problems: Vec<_> = known.iter().chain(more).cloned().collect();
        config.limits.object_bytes_max = config.largest_object();
        config.limits.keep_times = config.sftp.mtime == Mtime::Copy;
        config.limits.keep_modes = config.sftp.modes == Modes::Keep;
        config.warn(&sources);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors::new(problems))
        }
    }
}

/// Reads a text file of the operator's, up to a bound: it may be a device that never ends.
///
/// # Errors
/// The file cannot be read, is no UTF-8 or is over the bound.
pub fn read_text(path: &str, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let longest = bytes_max.saturating_add(1);
    let read = File::open(path)?.take(longest).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > bytes_max) {
        let allowed = format!("too large; allowed: up to {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, allowed));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

/// Returns the file that `portcullis probe` takes its password from, if the environment names one.
#[must_use]
pub fn probe_password_file() -> Option<String> {
    std::env::var_os(PROBE_PASSWORD_FILE).and_then(|path| path.into_string().ok())
}

/// Says whether the environment asks for no colours (`NO_COLOR`, <https://no-color.org>).
#[must_use]
pub fn without_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

const SETSTAT_WRITTEN: &str = "sftp.setstat has one value and no effect: sftp.modes decides what becomes of modes; leave it out";

const STORE_REFUSES: &str = "a [store.NAME] with roles = \"refuse\" (the default) is of no use with identity.roles = \"map\" or \
     \"assume\": logins with a mapping into it are refused";

/// No setting: the probe has no configuration.
pub(crate) const PROBE_PASSWORD_FILE: &str = "PORTCULLIS_PROBE_PASSWORD_FILE";

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2222)),
            proxy: Proxy::default(),
            listeners: Vec::new(),
            listener: ListenerTable::default(),
            state_directory: None,
            host_key_files: Vec::new(),
            server_id: "portcullis".to_owned(),
            identity: Identity::default(),
            providers: Vec::new(),
            providers_off: Vec::new(),
            roles: Vec::new(),
            role: RoleKeys::default(),
            stores: Vec::new(),
            store: StoreTable::default(),
            sts: Sts::default(),
            storage: Storage::default(),
            ssh: Ssh::default(),
            sftp: Sftp::default(),
            limits: Limits::default(),
            login: Login::default(),
            admin: Admin::default(),
            api_keys: Vec::new(),
            api_key: ApiKey::default(),
            log: Log::default(),
            warnings: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl Default for Login {
    fn default() -> Self {
        Self {
            failures_max: 10,
            failures_per_source_max: 100,
            names_per_source_max: 100,
            failure_window: Duration::from_secs(900),
            lockout: Duration::from_secs(900),
            unthrottled_networks: Vec::new(),
        }
    }
}

impl Admin {
    /// Says whether AWS's tools can have an answer anywhere.
    #[must_use]
    pub const fn answers_aws(&self) -> bool {
        self.listen.is_some() || self.api_listen.is_some()
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            probe_listen: None,
            api_listen: None,
            api_certificate_pem: None,
            api_certificate_key: None,
            api_plaintext: false,
            token: None,
            token_next: None,
            access_key_id: None,
            secret_access_key: None,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: false,
            storage_class: None,
            encryption: Encryption::default(),
            kms_key_id: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            next: NextKey::default(),
            ca_pem: None,
            capabilities: Capabilities::all(),
            object_bytes_max: 0,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(15),
            work_timeout: Duration::from_secs(300),
            retries: RetrySettings::default(),
        }
    }
}

impl Default for Sts {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            external_id: None,
            source_identity: None,
            duration: Duration::from_secs(3_600),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            timeout: Duration::from_secs(6),
        }
    }
}

impl Default for Sftp {
    fn default() -> Self {
        Self {
            partial_uploads: PartialUploads::default(),
            partial_state: None,
            setstat: SetStat::default(),
            mtime: Mtime::default(),
            modes: Modes::default(),
            keep_empty_directories: true,
            names_fresh_for: Duration::from_secs(2),
            stat_times: StatTimes::default(),
            list_times: ListTimes::default(),
            history: false,
            exec: Exec::default(),
            banner: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
