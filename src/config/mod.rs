//! Every setting of `portcullis serve`, and the only reader of the environment.
//!
//! The table in `settings.rs` is the one place that knows a setting: its name, its field, its range
//! and what it does. Parsing, environment variables, messages and docs/configuration.md all come
//! from it; defaults come from the [`Default`] values of the structures here.

mod check;
pub mod credentials;
mod document;
mod origin;
mod problem;
mod proof;
mod settings;
mod source;
mod ssh;
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
pub use self::origin::Origin;
pub use self::problem::{ConfigErrors, Place, Problem};
pub use self::proof::{Signing, Token};
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
    /// Where the gateway keeps what must outlive it, such as a generated host key.
    pub state_directory: Option<String>,
    /// Private host keys, as paths.
    pub host_key_files: Vec<String>,
    pub server_id: String,
    /// The provider when there is only one; otherwise what the others have in common.
    pub identity: Identity,
    /// In the order in which they are asked.
    pub providers: Vec<NamedProvider>,
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
    pub warnings: Vec<&'static str>,
    /// Files whose text is the value of a setting.
    pub files: Vec<ValueFile>,
}

/// How a port learns whose connection a load balancer passes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    pub protocol: ProxyProtocol,
    /// Who may say so, as text.
    pub trusted_networks: Vec<String>,
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

/// `[provider.NAME]`: one provider of several.
#[derive(Debug, Clone)]
pub struct NamedProvider {
    pub name: String,
    pub identity: Identity,
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
}

/// A second access key, for while one replaces the other.
#[derive(Debug, Clone, Default)]
pub struct NextKey {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
}

/// `[identity]`: whom to ask and how.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Names of the providers in the order in which they are asked; none = this one alone.
    pub providers: Vec<String>,
    pub provider: Provider,
    /// `None` = the gateway's.
    pub server_id: Option<String>,
    /// A port of its own.
    pub listen: Option<SocketAddr>,
    /// Of that port.
    pub proxy: Proxy,
    pub user_suffix: Option<String>,
    pub user_prefix: Option<String>,
    pub url: String,
    /// Asked in order when `url` cannot be reached.
    pub more_urls: Vec<String>,
    /// The users of [`Provider::Static`].
    pub users_file: Option<String>,
    pub users: UsersStore,
    pub event: Event,
    pub function: Function,
    pub sign: Sign,
    pub aws: Aws,
    /// Sent with every question.
    pub headers: Vec<(String, Secret)>,
    /// The only roots to trust, in PEM; `None` = the system's.
    pub ca_pem: Option<String>,
    /// The gateway's own certificate for TLS, and its private key, in PEM.
    pub client_certificate_pem: Option<String>,
    pub client_key_pem: Option<Secret>,
    pub signing: Signing,
    pub hmac_secret: Option<Secret>,
    pub hmac_secret_next: Option<Secret>,
    /// Unanswered questions in a row after which a provider is left alone; 0 = never.
    pub breaker_failures: usize,
    pub questions_max: usize,
    pub token: Token,
    pub connect_timeout: Duration,
    pub total_timeout: Duration,
    pub plaintext: bool,
    pub accept_keys_with_password: bool,
    pub send_session_id: bool,
    pub methods: Methods,
    pub user_names: UserNames,
    pub roles: Roles,
    pub path_homes: PathHomes,
    /// For answers that name none.
    pub default_role: Option<String>,
    pub cache: Cache,
}

/// The users of [`Provider::ServiceManaged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersStore {
    /// A directory or `s3://bucket/prefix`; `None` = a directory of the state.
    pub place: Option<String>,
    pub cached_for: Duration,
    pub stale_for: Duration,
}

/// The function of [`Provider::Lambda`], and how it likes to be asked, also behind a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    /// Or its ARN, or a part of that.
    pub name: Option<String>,
    pub qualifier: Option<String>,
    pub omit_blank_password: bool,
}

/// Who the gateway is to AWS when it asks a provider there.
#[derive(Debug, Clone, Default)]
pub struct Aws {
    /// `None` = the one that stands in the function's ARN or the url.
    pub region: Option<String>,
    /// `None` = AWS's own.
    pub endpoint: Option<String>,
    /// `None` = the AWS chain.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
}

/// How long answers are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Also the longest that an answer may ask for; zero = not at all.
    pub allowed_for: Duration,
    pub denied_for: Duration,
    pub stale_for: Duration,
    pub bytes_max: u64,
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
        let mut member = |family: &settings::Family, name: &str, of: &mut Self| {
            let (section, mut member) = (settings::join(family.table, name), of.clone());
            member.files.clear();
            for setting in family.settings() {
                sources.apply(setting, &section, &mut member, read_file, &mut problems);
            }
            of.files.append(&mut member.files);
            member
        };
        for name in sources.names(&settings::PROVIDERS) {
            let identity = member(&settings::PROVIDERS, &name, &mut config).identity;
            config.providers.push(NamedProvider { name, identity });
        }
        for name in sources.names(&settings::ROLES) {
            let role = member(&settings::ROLES, &name, &mut config).role;
            config.roles.push(RoleKeys { name, ..role });
        }
        for name in sources.names(&settings::STORES) {
            let of_all = std::mem::take(&mut config.storage);
            let member = member(&settings::STORES, &name, &mut config);
            config.storage = of_all;
            config.stores.push(NamedStore {
                name,
                table: member.store,
                storage: member.storage,
            });
        }
        for name in sources.names(&settings::API_KEYS) {
            let key = member(&settings::API_KEYS, &name, &mut config).api_key;
            config.api_keys.push(ApiKey { name, ..key });
        }
        let order = config.identity.providers.clone();
        let place = |named: &NamedProvider| order.iter().position(|name| *name == named.name);
        config.providers.sort_by_key(place);
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
        let roles = config.identity.roles != Roles::Gateway;
        let mut tables = config.stores.iter().map(|named| &named.table);
        if roles && tables.any(|table| table.roles == StoreRoles::Refuse) {
            config.warnings.push(STORE_REFUSES);
        }
        if sources.place("sftp.setstat") != Place::Nowhere {
            config.warnings.push(SETSTAT_WRITTEN);
        }
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

const STORE_REFUSES: &str = "a [store.NAME] without roles = \"gateway\" is of no use with identity.roles = \"map\" or \
     \"assume\": logins with a mapping into it are refused";

/// No setting: the probe has no configuration.
pub(crate) const PROBE_PASSWORD_FILE: &str = "PORTCULLIS_PROBE_PASSWORD_FILE";

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2222)),
            proxy: Proxy::default(),
            state_directory: None,
            host_key_files: Vec::new(),
            server_id: "portcullis".to_owned(),
            identity: Identity::default(),
            providers: Vec::new(),
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

impl Default for Identity {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            provider: Provider::default(),
            server_id: None,
            listen: None,
            proxy: Proxy::default(),
            user_suffix: None,
            user_prefix: None,
            url: String::new(),
            more_urls: Vec::new(),
            users_file: None,
            users: UsersStore::default(),
            event: Event::default(),
            function: Function::default(),
            sign: Sign::default(),
            aws: Aws::default(),
            headers: Vec::new(),
            ca_pem: None,
            client_certificate_pem: None,
            client_key_pem: None,
            signing: Signing::default(),
            hmac_secret: None,
            hmac_secret_next: None,
            breaker_failures: 5,
            questions_max: 64,
            token: Token::default(),
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            plaintext: false,
            accept_keys_with_password: false,
            send_session_id: false,
            methods: Methods::default(),
            user_names: UserNames::default(),
            roles: Roles::default(),
            path_homes: PathHomes::default(),
            default_role: None,
            cache: Cache::default(),
        }
    }
}

impl Default for UsersStore {
    fn default() -> Self {
        Self {
            place: None,
            cached_for: Duration::from_secs(2),
            stale_for: Duration::from_secs(3_600),
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

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            probe_listen: None,
            token: None,
            token_next: None,
            access_key_id: None,
            secret_access_key: None,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            allowed_for: Duration::ZERO,
            denied_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            bytes_max: 64 * 1024 * 1024,
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
