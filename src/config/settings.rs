//! The table of settings.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) use super::path::{join, variable};
use super::{
    Algorithms, ApiScope, Config, Encryption, Event, Exec, ListTimes, LogFormat, Methods, Modes,
    Mtime, PartialUploads, PathHomes, Provider, ProxyProtocol, Roles, SetStat, Sign, StatTimes,
    StoreKind, StoreRoles, UserNames,
};
use crate::limits::{OBJECT_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN};
use crate::secret::Secret;

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Empty at the top of the file.
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// What it does, in one sentence without its end.
    pub(super) about: &'static str,
}

/// What a setting takes, and the field it goes to.
#[derive(Debug)]
pub(super) enum Kind {
    Text(Field<String>),
    OptionalText(Field<Option<String>>),
    Texts(Field<Vec<String>>),
    Flag(Field<bool>),
    Word(Word),
    Address(Field<SocketAddr>),
    AddressOrOff(Field<Option<SocketAddr>>),
    Count(Range, Field<usize>),
    Bytes(Range, Field<u64>),
    Seconds(Range, Field<Duration>),
    Milliseconds(Range, Field<Duration>),
    /// Never shown; also from a file named by `<key>_file`.
    Secret(Field<Option<Secret>>),
    /// The name of a file whose text is kept.
    FileText(Field<Option<String>>),
    /// A table of secrets; also from a file of `Name: value` lines named by `<key>_file`.
    Headers(Field<Vec<(String, Secret)>>),
}

pub(super) type Field<T> = fn(&mut Config) -> &mut T;
pub(super) type Range = RangeInclusive<u64>;

/// A setting that takes one of a few words.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) words: &'static [&'static str],
    pub(super) show: fn(&Config) -> &'static str,
    /// Says whether the word is one of them.
    pub(super) set: fn(&mut Config, &str) -> bool,
}

impl Setting {
    const fn new(
        section: &'static str,
        key: &'static str,
        kind: Kind,
        about: &'static str,
    ) -> Self {
        Self {
            section,
            key,
            kind,
            about,
        }
    }

    /// Returns `section.key`, or the key alone at the top.
    pub(super) fn path(&self) -> String {
        join(self.section, self.key)
    }

    /// Says whether it has one value and changes nothing.
    pub(super) fn is_without_effect(&self) -> bool {
        self.section == "sftp" && self.key == "setstat"
    }

    /// Returns the key that names a file instead, where there is one.
    pub(super) fn file_key(&self) -> Option<String> {
        match self.kind {
            Kind::Secret(_) | Kind::Headers(_) => Some(format!("{}_file", self.key)),
            Kind::Text(_)
            | Kind::OptionalText(_)
            | Kind::Texts(_)
            | Kind::Flag(_)
            | Kind::Word(_)
            | Kind::Address(_)
            | Kind::AddressOrOff(_)
            | Kind::Count(..)
            | Kind::Bytes(..)
            | Kind::Seconds(..)
            | Kind::Milliseconds(..)
            | Kind::FileText(_) => None,
        }
    }
}

/// A table of tables: each, under a name of its own, takes the settings of one section.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) table: &'static str,
    pub(super) section: &'static str,
    /// Settings that its tables have and the section has not; empty: none.
    pub(super) own: &'static str,
    /// Keys that hold for all and cannot be written for one.
    pub(super) shared: &'static [&'static str],
}

pub(super) const PROVIDERS: Family = Family {
    table: "provider",
    section: "identity",
    own: "",
    shared: &["providers", "roles", "path_homes", "default_role"],
};

pub(super) const ROLES: Family = Family {
    table: "role",
    section: "role",
    own: "",
    shared: &[],
};

pub(super) const STORES: Family = Family {
    table: "store",
    section: "storage",
    own: "store",
    shared: &[
        "look_timeout_seconds",
        "retry_timeout_seconds",
        "retries_per_second_max",
        "object_bytes_max",
    ],
};

pub(super) const API_KEYS: Family = Family {
    table: "api_key",
    section: "api_key",
    own: "",
    shared: &[],
};

pub(super) const LISTENERS: Family = Family {
    table: "listener",
    section: "listener",
    own: "",
    shared: &[],
};

pub(super) const FAMILIES: [&Family; 5] = [&LISTENERS, &PROVIDERS, &ROLES, &STORES, &API_KEYS];

impl Family {
    /// Returns the settings that each of its tables takes.
    pub(super) fn settings(&self) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| {
            let own = !self.own.is_empty() && setting.section == self.own;
            own || (setting.section == self.section && !self.shared.contains(&setting.key))
        })
    }

    /// Says whether a name can be told from what stands around it in a variable.
    pub(super) fn takes_name(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(plain)
    }
}

/// Says whether a section exists only as the tables of a family.
pub(super) fn is_repeated(section: &str) -> bool {
    FAMILIES.iter().any(|family| family.table == section)
}

const NAME_CHARS_MAX: usize = 32;

macro_rules! word {
    ($type:ident, $($field:ident).+) => {
        Kind::Word(Word {
            words: $type::WORDS,
            show: |config| config.$($field).+.as_str(),
            set: |config, word| {
                $type::from_word(word).is_some_and(|value| {
                    config.$($field).+ = value;
                    true
                })
            },
        })
    };
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const COUNT: Range = 1..=1_000_000;
const SECONDS: Range = 1..=86_400;
const MILLISECONDS: Range = 1..=600_000;

use Kind as K;
use Setting as S;

/// Every setting, in the order of the documentation.
#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    S::new("", "listen", K::Address(|c| &mut c.listen), "Address and port for SSH"),
    S::new("", "proxy_protocol", word!(ProxyProtocol, proxy.protocol), "PROXY protocol on `listen`, for a load balancer: `required` takes the client's address from the header (version 1 or 2), which only load balancers in `trusted_networks` may send; `ignore` skips a version 2 header from any address and does not trust its content (docs/operations.md)"),
    S::new("", "trusted_networks", K::Texts(|c| &mut c.proxy.trusted_networks), "Addresses or networks of the load balancers that may send a header with `proxy_protocol = \"required\"`; other connections are closed"),
    S::new("", "state_directory", K::OptionalText(|c| &mut c.state_directory), "Directory for generated host keys and for blocks; required if `host_key_files` is empty"),
    S::new("", "host_key_files", K::Texts(|c| &mut c.host_key_files), "Private host keys: ed25519, ECDSA, or RSA from 2048 bits on; in OpenSSH's form, PKCS#8 or PKCS#1. Changed files are reloaded, for new connections"),
    S::new("", "server_id", K::Text(|c| &mut c.server_id), "Name of this gateway in requests to the identity provider, and in logs"),

    S::new("listener", "listen", K::AddressOrOff(|c| &mut c.listener.listen), "Address and port for SSH; `off`: the listener does not start"),
    S::new("listener", "providers", K::Texts(|c| &mut c.listener.providers), "Names of the `[provider.NAME]` tables that decide about its logins, in the order in which they are used; default: all without a `listen` of their own, in the order of `identity.providers`"),
    S::new("listener", "proxy_protocol", word!(ProxyProtocol, proxy.protocol), "PROXY protocol on its `listen`, as `proxy_protocol` at the top of the file"),
    S::new("listener", "trusted_networks", K::Texts(|c| &mut c.proxy.trusted_networks), "The load balancers that may send a header with its `proxy_protocol`"),
    S::new("listener", "host_key_files", K::Texts(|c| &mut c.host_key_files), "Private host keys of this listener. Changed files are reloaded, for new connections"),
    S::new("listener", "host_key_next_files", K::Texts(|c| &mut c.ssh.host_key_next_files), "Private host keys that it announces and does not use yet, as `ssh.host_key_next_files`; none by default if `host_key_files` is set here"),
    S::new("listener", "algorithms", word!(Algorithms, ssh.algorithms), "Key exchanges, as `ssh.algorithms`"),
    S::new("listener", "banner", K::OptionalText(|c| &mut c.sftp.banner), "Text shown before login, as `sftp.banner`"),

    S::new("identity", "providers", K::Texts(|c| &mut c.identity.providers), "Names of the `[provider.NAME]` tables, in the order in which they are used; if empty, `[identity]` itself is the only provider"),
    S::new("identity", "provider", word!(Provider, identity.table.kind), "Kind of provider: a `webhook`, AWS Transfer Family's providers `api-gateway` and `lambda` (docs/transfer-family.md), a `static` users file (docs/static-users.md), `service-managed` users that AWS's API changes (docs/service-managed-users.md); `token`: no service is asked, the password is a JWT (docs/token.md)"),
    S::new("identity", "server_id", K::OptionalText(|c| &mut c.identity.server_id), "Server name in requests to this provider; default: the gateway's own `server_id`"),
    S::new("identity", "listen", K::AddressOrOff(|c| &mut c.identity.listen), "In `[provider.NAME]`: an additional address and port for SSH, for this provider only"),
    S::new("identity", "proxy_protocol", word!(ProxyProtocol, identity.proxy.protocol), "In `[provider.NAME]`: PROXY protocol on its `listen`"),
    S::new("identity", "trusted_networks", K::Texts(|c| &mut c.identity.proxy.trusted_networks), "In `[provider.NAME]`: the load balancers that may send a header with its `proxy_protocol`"),
    S::new("identity", "user_suffix", K::OptionalText(|c| &mut c.identity.user_suffix), "In `[provider.NAME]`: suffix of user names that belong to this provider only, such as `@@partners`; requests to the provider omit it"),
    S::new("identity", "user_prefix", K::OptionalText(|c| &mut c.identity.user_prefix), "The same for a prefix of user names"),
    S::new("identity", "url", K::Text(|c| &mut c.identity.table.url), "URL of the service; required by `webhook` (POST) and by `api-gateway` (the invoke URL with its stage)"),
    S::new("identity", "urls", K::Texts(|c| &mut c.identity.table.more_urls), "Further URLs of the same service, tried in order when no connection to `url` can be made; for key look-ups also when it does not answer"),
    S::new("identity", "users_file", K::OptionalText(|c| &mut c.identity.table.users_file), "The TOML file with the users of the `static` provider; it is reloaded when it changes"),
    S::new("identity", "users_store", K::OptionalText(|c| &mut c.identity.table.users_place), "Where the `service-managed` provider keeps its users, below its `server_id`: a directory, or `s3://bucket/prefix` for several replicas, with the credentials of `[storage]`; default: `users` in `state_directory` (docs/service-managed-users.md)"),
    S::new("identity", "users_cached_seconds", K::Seconds(0..=60, |c| &mut c.identity.table.users_cached_for), "How long logins use a service-managed user that was read; changes by other replicas count after that"),
    S::new("identity", "users_stale_seconds", K::Seconds(0..=604_800, |c| &mut c.identity.table.users_stale_for), "While `users_store` cannot be read, users that were read within this time still log in"),
    S::new("identity", "event", word!(Event, identity.table.event), "Form of requests to the `webhook`: the gateway's own, or exactly AWS Transfer Family's five fields"),
    S::new("identity", "function", K::OptionalText(|c| &mut c.identity.table.function), "Function of the `lambda` provider: its name, ARN or partial ARN"),
    S::new("identity", "qualifier", K::OptionalText(|c| &mut c.identity.table.qualifier), "A version or an alias of the function"),
    S::new("identity", "omit_blank_password", K::Flag(|c| &mut c.identity.table.omit_blank_password), "Leaves `password` out of Transfer Family's event for a key look-up, instead of sending it empty: for `lambda`, and for a `webhook` with `event = \"transfer-family\"`"),
    S::new("identity", "sign", word!(Sign, identity.table.sign), "`aws` signs requests to `api-gateway`, for an API method with the authorization `AWS_IAM`"),
    S::new("identity", "aws_region", K::OptionalText(|c| &mut c.identity.table.aws.region), "Region of the function or the API; default: the one in the function's ARN or the API's host name"),
    S::new("identity", "aws_endpoint", K::OptionalText(|c| &mut c.identity.table.aws.endpoint), "URL of Lambda; default: AWS's own"),
    S::new("identity", "aws_access_key_id", K::OptionalText(|c| &mut c.identity.table.aws.access_key_id), "Access key for `lambda` and `sign`; default: the AWS chain (environment, profile, web identity, ECS, EC2)"),
    S::new("identity", "aws_secret_access_key", K::Secret(|c| &mut c.identity.table.aws.secret_access_key), "Its secret key"),
    S::new("identity", "aws_session_token", K::Secret(|c| &mut c.identity.table.aws.session_token), "Its session token"),
    S::new("identity", "headers", K::Headers(|c| &mut c.identity.table.headers), "HTTP headers of every request, such as `Authorization`; in the environment and in a file: one `Name: value` per line"),
    S::new("identity", "ca_file", K::FileText(|c| &mut c.identity.table.ca_pem), "Certificate authorities (PEM) to trust instead of the system's"),
    S::new("identity", "client_certificate_file", K::FileText(|c| &mut c.identity.table.client_certificate_pem), "Client certificate (PEM, with its chain) for TLS to the provider"),
    S::new("identity", "client_key", K::Secret(|c| &mut c.identity.table.client_key_pem), "Private key (PEM) of `client_certificate_file`"),
    S::new("identity", "signing_key_files", K::Texts(|c| &mut c.identity.table.signing.key_files), "Private keys (PKCS#8 PEM, P-256 or Ed25519): the first one signs every request as a JWT in `Authorization`, all are published at `/.well-known/jwks.json` of the admin port; changed files are reloaded"),
    S::new("identity", "signing_issuer", K::OptionalText(|c| &mut c.identity.table.signing.issuer), "`iss` of signed requests; default: the server id"),
    S::new("identity", "signing_audience", K::OptionalText(|c| &mut c.identity.table.signing.audience), "`aud` of signed requests; default: the origin of the URL"),
    S::new("identity", "signing_lifetime_seconds", K::Seconds(1..=3_600, |c| &mut c.identity.table.signing.lifetime), "How long the signature of a request is valid"),
    S::new("identity", "hmac_secret", K::Secret(|c| &mut c.identity.table.hmac_secret), "Signs every request with HMAC-SHA256 in `X-Portcullis-Signature`"),
    S::new("identity", "hmac_secret_next", K::Secret(|c| &mut c.identity.table.hmac_secret_next), "Second secret while `hmac_secret` is being changed: signs every request too, in `X-Portcullis-Signature-Next`"),
    S::new("identity", "breaker_failures", K::Count(0..=1_000, |c| &mut c.identity.breaker_failures), "Consecutive unanswered requests of one kind (password or key) that open the circuit breaker for 1 to 30 seconds: failed connections, and time-outs and errors of three different users who logged in before; 0 = never"),
    S::new("identity", "questions_max", K::Count(2..=10_000, |c| &mut c.identity.questions_max), "Concurrent requests to the provider; half of them are reserved for users who logged in before, and one source has eight at most"),
    S::new("identity", "token_jwks_url", K::OptionalText(|c| &mut c.identity.table.token.jwks_url), "URL of the public keys of tokens (JWKS); `https://`, or `http://` to this host"),
    S::new("identity", "token_jwks_file", K::OptionalText(|c| &mut c.identity.table.token.jwks_file), "The same as a file; it is reloaded when it changes"),
    S::new("identity", "token_jwks_fresh_seconds", K::Seconds(10..=86_400, |c| &mut c.identity.table.token.jwks_fresh_for), "How long keys from `token_jwks_url` are used before they are fetched again"),
    S::new("identity", "token_jwks_stale_seconds", K::Seconds(0..=86_400, |c| &mut c.identity.table.token.jwks_stale_for), "How much longer they are used if they cannot be fetched"),
    S::new("identity", "token_jwks_refetch_seconds", K::Seconds(1..=3_600, |c| &mut c.identity.table.token.jwks_refetch_after), "A token with an unknown `kid` causes a fetch of the keys at the earliest this long after the last one"),
    S::new("identity", "token_issuer", K::OptionalText(|c| &mut c.identity.table.token.issuer), "Required `iss` of tokens"),
    S::new("identity", "token_audience", K::OptionalText(|c| &mut c.identity.table.token.audience), "Required `aud` of tokens, alone or among others"),
    S::new("identity", "token_algorithms", K::Texts(|c| &mut c.identity.table.token.algorithms), "Accepted signature algorithms, out of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA"),
    S::new("identity", "token_clock_skew_seconds", K::Seconds(0..=300, |c| &mut c.identity.table.token.clock_skew), "Largest allowed difference between the clocks of gateway and issuer"),
    S::new("identity", "token_user_claim", K::Text(|c| &mut c.identity.table.token.user_claim), "The claim that must equal the user name"),
    S::new("identity", "token_mappings", K::Texts(|c| &mut c.identity.table.token.mappings), "Mappings of the user: rows of `entry=target:access`, such as `/in=/bucket/{tenant}/in:write`; a name in braces stands for a claim"),
    S::new("identity", "token_home", K::OptionalText(|c| &mut c.identity.table.token.home), "First directory of the session; may contain claims"),
    S::new("identity", "token_role", K::OptionalText(|c| &mut c.identity.table.token.role), "Role of the session; may contain claims"),
    S::new("identity", "token_policy", K::OptionalText(|c| &mut c.identity.table.token.policy), "Session policy (JSON); its strings may contain claims"),
    S::new("identity", "connect_timeout_ms", K::Milliseconds(MILLISECONDS, |c| &mut c.identity.connect_timeout), "Time-out for a connection to the provider"),
    S::new("identity", "total_timeout_ms", K::Milliseconds(MILLISECONDS, |c| &mut c.identity.total_timeout), "Time-out for a whole request to the provider and its answer"),
    S::new("identity", "plaintext", K::Flag(|c| &mut c.identity.table.plaintext), "Allows passwords over `http://` to hosts other than this one"),
    S::new("identity", "accept_keys_with_password", K::Flag(|c| &mut c.identity.table.accept_keys_with_password), "Accepts an answer to a password that also lists keys; otherwise it is invalid, because it may be the answer to a key look-up"),
    S::new("identity", "send_session_id", K::Flag(|c| &mut c.identity.table.send_session_id), "Adds `sessionId` to the gateway's own request"),
    S::new("identity", "methods", word!(Methods, identity.methods), "Allowed ways to log in"),
    S::new("identity", "user_names", word!(UserNames, identity.user_names), "Allowed user names: `auto` is `aws` for providers in AWS's form and `open` for the others, `aws` is Transfer Family's rule, without `root`, `open` is any text up to 100 characters without `/`, control and invisible format characters"),
    S::new("identity", "roles", word!(Roles, identity.roles), "S3 credentials of a session: the gateway's own, those of the table `[role.NAME]` with the answer's role, or those of the assumed role (`[sts]`). Only the last supports session policies: with the others, an answer that has one is refused"),
    S::new("identity", "path_homes", word!(PathHomes, identity.path_homes), "How far a session with a home directory of type PATH may go: `confined` to that directory, or, with `roles = \"assume\"`, to all buckets and prefixes that its `role` allows, as on AWS Transfer Family"),
    S::new("identity", "default_role", K::OptionalText(|c| &mut c.identity.default_role), "Role of users whose answer has none; without it their logins are refused if roles are mapped or assumed"),
    S::new("identity", "cache_seconds", K::Seconds(0..=86_400, |c| &mut c.identity.cache.allowed_for), "How long an allowed answer is cached, and the upper limit for its own `cacheSeconds`; 0 = not at all"),
    S::new("identity", "cache_denied_seconds", K::Seconds(0..=3_600, |c| &mut c.identity.cache.denied_for), "How long an explicit denial is cached; 0 = not at all"),
    S::new("identity", "cache_stale_seconds", K::Seconds(0..=86_400, |c| &mut c.identity.cache.stale_for), "How much longer an allowed answer may be used as a stale answer while the provider is unavailable"),
    S::new("identity", "cache_bytes_max", K::Bytes(64 * KIB..=16 * GIB, |c| &mut c.identity.cache.bytes_max), "Memory for cached answers"),

    S::new("role", "arn", K::Text(|c| &mut c.role.arn), "The role, as answers name it"),
    S::new("role", "access_key_id", K::Text(|c| &mut c.role.access_key_id), "Access key of sessions with this role"),
    S::new("role", "secret_access_key", K::Secret(|c| &mut c.role.secret_access_key), "Secret of `access_key_id`"),
    S::new("role", "session_token", K::Secret(|c| &mut c.role.session_token), "Session token of temporary keys"),
    S::new("role", "access_key_id_next", K::OptionalText(|c| &mut c.role.next.access_key_id), "A second access key, used from when S3 no longer takes the first"),
    S::new("role", "secret_access_key_next", K::Secret(|c| &mut c.role.next.secret_access_key), "Secret of `access_key_id_next`"),

    S::new("sts", "endpoint", K::OptionalText(|c| &mut c.sts.endpoint), "URL of STS; default: AWS's own for the region. Required together with `storage.endpoint`"),
    S::new("sts", "region", K::OptionalText(|c| &mut c.sts.region), "Region for signing requests to STS; default: that of `[storage]`"),
    S::new("sts", "external_id", K::OptionalText(|c| &mut c.sts.external_id), "External id that the roles' trust policies require"),
    S::new("sts", "source_identity", K::OptionalText(|c| &mut c.sts.source_identity), "Source identity of the sessions, which CloudTrail shows and which stays when a role assumes another; `${transfer:UserName}` is the user's name. The roles must allow `sts:SetSourceIdentity`"),
    S::new("sts", "duration_seconds", K::Seconds(900..=43_200, |c| &mut c.sts.duration), "Lifetime of the credentials; the gateway renews them before they expire. STS refuses more than the role's own maximum"),
    S::new("sts", "tags", K::Texts(|c| &mut c.sts.tags), "Session tags, as `key=value`; `${transfer:UserName}` in a value is the user's name. The roles must allow `sts:TagSession`"),
    S::new("sts", "transitive_tags", K::Texts(|c| &mut c.sts.transitive_tags), "Keys of `tags` that stay when the role is used to assume another"),
    S::new("sts", "timeout_ms", K::Milliseconds(MILLISECONDS, |c| &mut c.sts.timeout), "Time-out for one AssumeRole with its retries"),

    S::new("storage", "region", K::Text(|c| &mut c.storage.region), "Region for signing requests"),
    S::new("storage", "endpoint", K::OptionalText(|c| &mut c.storage.endpoint), "URL of an S3-compatible store; default: AWS's own"),
    S::new("storage", "path_style", K::Flag(|c| &mut c.storage.path_style), "Puts the bucket into the path of the URL instead of the host name"),
    S::new("storage", "storage_class", K::OptionalText(|c| &mut c.storage.storage_class), "Storage class of new objects, in S3's spelling; default: the bucket's own"),
    S::new("storage", "encryption", word!(Encryption, storage.encryption), "Server-side encryption requested for every new object"),
    S::new("storage", "kms_key_id", K::OptionalText(|c| &mut c.storage.kms_key_id), "Key for `encryption = \"kms\"`"),
    S::new("storage", "access_key_id", K::OptionalText(|c| &mut c.storage.access_key_id), "Access key; default: the AWS chain (environment, web identity, container, instance)"),
    S::new("storage", "secret_access_key", K::Secret(|c| &mut c.storage.secret_access_key), "Secret of `access_key_id`"),
    S::new("storage", "access_key_id_next", K::OptionalText(|c| &mut c.storage.next.access_key_id), "Second access key, used once S3 (for assumed roles: STS) no longer accepts the first; either may be the older one"),
    S::new("storage", "secret_access_key_next", K::Secret(|c| &mut c.storage.next.secret_access_key), "Secret of `access_key_id_next`"),
    S::new("storage", "session_token", K::Secret(|c| &mut c.storage.session_token), "Session token of temporary keys"),
    S::new("storage", "ca_file", K::FileText(|c| &mut c.storage.ca_pem), "Certificate authorities (PEM) to trust in addition to the system's"),
    S::new("storage", "connect_timeout_ms", K::Milliseconds(MILLISECONDS, |c| &mut c.storage.connect_timeout), "Time-out for a connection to S3"),
    S::new("storage", "call_timeout_ms", K::Milliseconds(MILLISECONDS, |c| &mut c.storage.call_timeout), "Time-out for a call without a payload, and for a GET until its headers"),
    S::new("storage", "work_timeout_seconds", K::Seconds(1..=3_600, |c| &mut c.storage.work_timeout), "Upper limit for one try of a call in which S3 moves the bytes: CopyObject, and by size CompleteMultipartUpload and UploadPartCopy"),
    S::new("storage", "look_timeout_seconds", K::Seconds(1..=600, |c| &mut c.storage.retries.look), "Time for a read-only operation with all retries: STAT, a page of a listing, opening a file"),
    S::new("storage", "retry_timeout_seconds", K::Seconds(1..=86_400, |c| &mut c.storage.retries.under_way), "How long the gateway retries a call of an upload, a download, a move or a removal that S3 throttles, fails or does not answer"),
    S::new("storage", "retries_per_second_max", K::Count(1..=100_000, |c| &mut c.storage.retries.per_second_max), "Rate limit for retries of S3 calls in the process, for each store; further ones wait"),
    S::new("storage", "object_bytes_max", K::Bytes(0..=OBJECT_BYTES_MAX, |c| &mut c.storage.object_bytes_max), "Largest object of the store, at least 5MiB; 0 = 48.8 TiB with AWS's own endpoints, 5 TiB if `endpoint` is set"),
    S::new("storage", "conditional_put", K::Flag(|c| &mut c.storage.capabilities.conditional_put), "Whether the store supports conditions on PutObject"),
    S::new("storage", "conditional_complete", K::Flag(|c| &mut c.storage.capabilities.conditional_complete), "Whether the store supports conditions on CompleteMultipartUpload"),
    S::new("storage", "conditional_copy", K::Flag(|c| &mut c.storage.capabilities.conditional_copy), "Whether the store supports conditions on CopyObject"),
    S::new("storage", "conditional_delete", K::Flag(|c| &mut c.storage.capabilities.conditional_delete), "Whether the store supports conditions on DeleteObject"),
    S::new("storage", "checksums", K::Flag(|c| &mut c.storage.capabilities.checksums), "Whether the store supports CRC-64/NVME checksums"),
    S::new("storage", "is_truncated", K::Flag(|c| &mut c.storage.capabilities.is_truncated), "Whether the store says on every page of a listing, also on the last, if more follows (`IsTruncated`). With `true` a page that does not say so is refused, since it may be incomplete; with `false` it is taken for the last one"),

    S::new("store", "kind", word!(StoreKind, store.kind), "What the store is: `s3`, or a `directory` of this machine or of a network file system (docs/stores.md)"),
    S::new("store", "root", K::OptionalText(|c| &mut c.store.root), "With `kind = \"directory\"`: the directory; targets are `/NAME/path`"),
    S::new("store", "fs_ids", K::Texts(|c| &mut c.store.fs_ids), "With `kind = \"directory\"`: other names of it in targets, such as the `fs-…` of Amazon EFS"),
    S::new("store", "buckets", K::Texts(|c| &mut c.store.buckets), "Buckets that this store serves: names, or beginnings of names with `*` after them, such as `archive-*`. If several match a bucket, the longest one decides, and a name before beginnings"),
    S::new("store", "roles", word!(StoreRoles, store.roles), "With `identity.roles = \"map\"` or `\"assume\"`: `refuse` refuses logins with a mapping into this store, `gateway` lets them use it with the gateway's own credentials, confined by their mappings alone, unless their answer has a policy; `assume` (only with `identity.roles = \"assume\"`, not for a directory) uses the answer's role and policy there as well, with credentials from `sts_endpoint`"),
    S::new("store", "sts_endpoint", K::OptionalText(|c| &mut c.store.sts_endpoint), "With `roles = \"assume\"`: URL of the STS that gives credentials for this store; default: AWS's own for the region. Required together with `endpoint`. Everything else about the roles (external id, tags, duration, …) is that of `[sts]`"),
    S::new("store", "sts_region", K::OptionalText(|c| &mut c.store.sts_region), "With `roles = \"assume\"`: region for signing requests to that STS; default: that of the store"),

    S::new("ssh", "algorithms", word!(Algorithms, ssh.algorithms), "Key exchanges: `modern` offers those on elliptic curves; `compatible` adds the finite-field groups 14 and 16 for clients older than about 2013, which cost the gateway nine to thirty times as much processor time before login (docs/security.md)"),
    S::new("ssh", "host_key_next_files", K::Texts(|c| &mut c.ssh.host_key_next_files), "Private host keys that the gateway announces to clients but does not use yet; the same on all replicas (docs/operations.md)"),
    S::new("ssh", "rekey_bytes", K::Bytes(64 * MIB..=64 * GIB, |c| &mut c.ssh.rekey_bytes), "Bytes in one direction after which the gateway starts a new key exchange, as OpenSSH's server does; at most 1 GiB if the client chose ChaCha20. Time alone starts none: several clients cannot handle a key exchange that the server starts"),

    S::new("sftp", "partial_uploads", word!(PartialUploads, sftp.partial_uploads), "What happens to a file if the client disconnects without CLOSE: `discard` leaves nothing of it, `keep` stores what arrived in sequence, marked as partial, unless a whole file is there (docs/semantics.md); an answer's `partialUploads` overrides it"),
    S::new("sftp", "partial_state", K::OptionalText(|c| &mut c.sftp.partial_state), "Where the gateway records uploads of which a part is kept (`partial_uploads`), so that they are also kept if the process is killed (`kill -9`, a crash, a lost machine): a directory, for one process at a time, or `s3://bucket/prefix`, which replicas share, with the credentials of `[storage]`. Unset: such an upload is lost. Only for stores that users reach with the gateway's own credentials (docs/semantics.md)"),
    S::new("sftp", "setstat", word!(SetStat, sftp.setstat), "Without effect, and a warning if it is set: `sftp.modes` decides what becomes of modes and owners, and a client that sets them gets success"),
    S::new("sftp", "mtime", word!(Mtime, sftp.mtime), "What happens to a modification time that a client sets when the upload has begun or is complete: `skip` keeps the time of the upload; `copy` copies the object onto itself with the new time, which causes one more event and, in a versioned bucket, one more version (docs/semantics.md)"),
    S::new("sftp", "modes", word!(Modes, sftp.modes), "What happens to modes and owners that a client sets: `ignore` shows the same mode for all files; `keep` stores them with the file as s3fs does (`x-amz-meta-mode`, `uid`, `gid`) and shows them in STAT and, with `list_times = \"kept\"`, in listings. A mode that a client sets when the upload has begun or is complete (`chmod`) is set by a copy of the object onto itself, as with `mtime = \"copy\"` (docs/semantics.md). The gateway never enforces modes. Not with `stat_times = \"store\"`"),
    S::new("sftp", "keep_empty_directories", K::Flag(|c| &mut c.sftp.keep_empty_directories), "Writes a marker object for a directory that would vanish with its last file; without it such a directory is gone from S3, as with other tools"),
    S::new("sftp", "names_fresh_seconds", K::Seconds(0..=60, |c| &mut c.sftp.names_fresh_for), "How long a session relies on the names that STAT or a listing showed, instead of calling S3 again, when it puts a file or makes a directory; its own changes count at once; 0 = not at all"),
    S::new("sftp", "stat_times", word!(StatTimes, sftp.stat_times), "Which modification time STAT and FSTAT show: `kept` shows the one that a client or another program stored with the file (`x-amz-meta-mtime`), and S3's own if there is none; `store` always shows S3's own, as listings do. With `store`, STAT of a file that the session listed within `names_fresh_seconds` needs no call to S3. Not with `mtime = \"copy\"`"),
    S::new("sftp", "list_times", word!(ListTimes, sftp.list_times), "Which modification time listings show: `store` shows S3's own; `kept` shows the one that is stored with the file, as STAT does, so that sync programs find unchanged files unchanged: one HEAD for each listed file, 16 at a time for each user, remembered for its version (65,536 in the process)"),
    S::new("sftp", "history", K::Flag(|c| &mut c.sftp.history), "Shows the versions of files, and their deletions, in the read-only directory `/.history`, which no listing shows; a RENAME out of it brings a version back. For buckets with versions; needs `s3:ListBucketVersions` and `s3:GetObjectVersion` (docs/semantics.md). It hides a directory of that name"),
    S::new("sftp", "keep_first_part", K::Flag(|c| &mut c.limits.keep_first_part), "Sends the first part of an upload last, unless others wait for memory: for programs that write the header of a file at the end. Each upload needs memory for one more part"),
    S::new("sftp", "exec", word!(Exec, sftp.exec), "Commands that clients can run beside SFTP; no shell is behind them: `scp` is its old protocol, which `scp -O`, `pscp -scp` and old devices speak; `all` adds `md5sum`, `sha1sum`, `sha256sum`, `sha512sum`, `pwd` and `ls`. With `all`, rclone has the gateway read every file again that it uploaded, to compare checksums (docs/semantics.md); `off` refuses every command"),
    S::new("sftp", "banner", K::OptionalText(|c| &mut c.sftp.banner), "Text that clients show before login"),

    S::new("limits", "connections_max", K::Count(COUNT, |c| &mut c.limits.connections_max), "Open connections"),
    S::new("limits", "unauthenticated_connections_max", K::Count(COUNT, |c| &mut c.limits.unauthenticated_connections_max), "Open connections that have not logged in; when the limit is reached, a new connection replaces one of the network that has most (docs/semantics.md)"),
    S::new("limits", "connections_per_source_max", K::Count(COUNT, |c| &mut c.limits.connections_per_source_max), "Open connections from one address (IPv6: one /64; twice as many from a /56, four times as many from a /48); sources of `login.unthrottled_networks` are exempt"),
    S::new("limits", "connections_per_user_max", K::Count(0..=1_000_000, |c| &mut c.limits.connections_per_user_max), "Open connections of one user, if the identity provider's answer does not limit sessions (otherwise: two more than those); 0 = a tenth of `connections_max`"),
    S::new("limits", "channels_per_connection_max", K::Count(1..=1_000, |c| &mut c.limits.channels_per_connection_max), "Open channels of one connection"),
    S::new("limits", "channel_opens_per_connection_max", K::Count(COUNT, |c| &mut c.limits.channel_opens_per_connection_max), "Channels that one connection may open in total"),
    S::new("limits", "hello_timeout_seconds", K::Seconds(1..=600, |c| &mut c.limits.hello_timeout), "Time allowed from TCP accept until the key exchange begins"),
    S::new("limits", "login_grace_seconds", K::Seconds(1..=3_600, |c| &mut c.limits.login_grace), "Time allowed to log in, from TCP accept"),
    S::new("limits", "idle_timeout_seconds", K::Seconds(SECONDS, |c| &mut c.limits.idle_timeout), "Time without requests and without operations in progress after which a connection is closed"),
    S::new("limits", "stalled_output_timeout_seconds", K::Seconds(SECONDS, |c| &mut c.limits.stalled_output_timeout), "Time after which a connection is closed if the client does not read its output"),
    S::new("limits", "keepalive_interval_seconds", K::Seconds(SECONDS, |c| &mut c.limits.keepalive_interval), "Time between keep-alives; not less than `login_grace_seconds`"),
    S::new("limits", "password_attempts_max", K::Count(1..=100, |c| &mut c.limits.password_attempts_max), "Passwords that a client may try on one connection"),
    S::new("limits", "key_offers_max", K::Count(1..=1_000, |c| &mut c.limits.key_offers_max), "Keys that a client may offer on one connection"),
    S::new("limits", "refusal_delay_ms", K::Milliseconds(0..=10_000, |c| &mut c.limits.refusal_delay), "Shortest time until a refused password is answered"),
    S::new("limits", "sessions_per_user_max", K::Count(COUNT, |c| &mut c.limits.sessions_per_user_max), "Sessions of one user, unless the identity provider's answer says otherwise"),
    S::new("limits", "handles_per_session_max", K::Count(1..=65_536, |c| &mut c.limits.handles_per_session_max), "Open handles of one session"),
    S::new("limits", "storage_calls_per_session_max", K::Count(1..=10_000, |c| &mut c.limits.storage_calls_per_session_max), "Concurrent S3 calls of one session"),
    S::new("limits", "upload_memory_bytes_max", K::Bytes(PART_BYTES_MIN..=1024 * GIB, |c| &mut c.limits.upload_memory_bytes_max), "Memory for parts of all uploads: concurrent uploads × part size"),
    S::new("limits", "edit_bytes_max", K::Bytes(0..=GIB, |c| &mut c.limits.edit_bytes_max), "Written bytes of one open file that stay in memory until CLOSE, if the file is also open for reading or is changed in the middle: they can be read and written again. Part of `upload_memory_bytes_max`"),
    S::new("limits", "download_memory_bytes_max", K::Bytes(MIB..=1024 * GIB, |c| &mut c.limits.download_memory_bytes_max), "Read-ahead memory of all downloads"),
    S::new("limits", "session_memory_bytes_max", K::Bytes(4 * MIB..=1024 * GIB, |c| &mut c.limits.session_memory_bytes_max), "Other memory of all sessions: waiting requests and replies, directory names, lists of moves, bodies of requests to AWS's API"),
    S::new("limits", "part_bytes", K::Bytes(PART_BYTES_MIN..=PART_BYTES_MAX, |c| &mut c.limits.part_bytes), "Size of the first parts of a multipart upload; later ones grow"),
    S::new("limits", "parts_in_flight_per_upload_max", K::Count(1..=1_000, |c| &mut c.limits.parts_in_flight_per_upload_max), "Concurrent part uploads of one file"),
    S::new("limits", "read_ahead_per_handle_bytes_max", K::Bytes(256 * KIB..=16 * GIB, |c| &mut c.limits.read_ahead_per_handle_bytes_max), "Read-ahead memory of one file"),
    S::new("limits", "upload_rate_bytes_min", K::Count(0..=1_000_000, |c| &mut c.limits.upload_rate_bytes_min), "While others wait for memory, an upload fails if its client sends fewer bytes per second over a minute; 0 = never"),
    S::new("limits", "slot_idle_timeout_seconds", K::Seconds(SECONDS, |c| &mut c.limits.slot_idle_timeout), "While others wait for read-ahead memory, a file that nobody has read for this long loses its own"),
    S::new("limits", "gate_timeout_seconds", K::Seconds(SECONDS, |c| &mut c.limits.gate_timeout), "If no memory becomes free for this long, uploads fail that wait for memory while holding partly filled parts"),
    S::new("limits", "drain_timeout_seconds", K::Seconds(SECONDS, |c| &mut c.limits.drain_timeout), "Time for open transfers to finish after the signal to stop"),

    S::new("login", "failures_max", K::Count(1..=1_000_000, |c| &mut c.login.failures_max), "Lock-out of a user at a source: wrong passwords of this user from this source within the window"),
    S::new("login", "failures_per_source_max", K::Count(1..=1_000_000, |c| &mut c.login.failures_per_source_max), "Lock-out of a source (IPv6: one /64): wrong passwords from it within the window, for any user; not enforced while all logins come from one address (a load balancer)"),
    S::new("login", "names_per_source_max", K::Count(1..=10_000, |c| &mut c.login.names_per_source_max), "User names whose keys one source (IPv6: one /64) may look up within the window without logging in; not enforced while all logins come from one address (a load balancer)"),
    S::new("login", "failure_window_seconds", K::Seconds(SECONDS, |c| &mut c.login.failure_window), "How long failures count: those of a user at a source since the last one, those of a source since the first one"),
    S::new("login", "lockout_seconds", K::Seconds(SECONDS, |c| &mut c.login.lockout), "How long a lock-out lasts"),
    S::new("login", "unthrottled_networks", K::Texts(|c| &mut c.login.unthrottled_networks), "Networks exempt from lock-outs and from `limits.connections_per_source_max`, such as a load balancer that hides client addresses; half of the connections before login are reserved for them (docs/semantics.md)"),

    S::new("admin", "listen", K::AddressOrOff(|c| &mut c.admin.listen), "Admin port: health checks (`/livez`, `/readyz`), `/metrics` and admin commands; or `off`"),
    S::new("admin", "probe_listen", K::AddressOrOff(|c| &mut c.admin.probe_listen), "Separate port for health checks: only `/livez` and `/readyz`, which `admin.listen` answers as well; or `off`"),
    S::new("admin", "api_listen", K::AddressOrOff(|c| &mut c.admin.api_listen), "Separate port for AWS's own tools, with TLS; `admin.listen` then no longer answers them. Or `off`"),
    S::new("admin", "api_certificate_file", K::FileText(|c| &mut c.admin.api_certificate_pem), "Certificate (PEM, with its chain) of `admin.api_listen`; a changed file is reloaded"),
    S::new("admin", "api_certificate_key", K::Secret(|c| &mut c.admin.api_certificate_key), "Private key (PEM) of `admin.api_certificate_file`"),
    S::new("admin", "api_plaintext", K::Flag(|c| &mut c.admin.api_plaintext), "Answers AWS's own tools at `admin.api_listen` without TLS although it is not an address of this machine alone: whoever is on the way can read the requests"),
    S::new("admin", "token", K::Secret(|c| &mut c.admin.token), "Token that admin commands must send as `Authorization: Bearer …`; without it the gateway accepts commands only from this machine"),
    S::new("admin", "access_key_id", K::OptionalText(|c| &mut c.admin.access_key_id), "Access key with which AWS's own tools may call `TestIdentityProvider`; without it the call is refused"),
    S::new("admin", "token_next", K::Secret(|c| &mut c.admin.token_next), "Second accepted token while `admin.token` is being changed"),
    S::new("admin", "secret_access_key", K::Secret(|c| &mut c.admin.secret_access_key), "Secret of `admin.access_key_id`"),

    S::new("api_key", "access_key_id", K::Text(|c| &mut c.api_key.access_key_id), "Access key of the caller"),
    S::new("api_key", "secret_access_key", K::Secret(|c| &mut c.api_key.secret_access_key), "Secret of `access_key_id`"),
    S::new("api_key", "scope", word!(ApiScope, api_key.scope), "What the key may do: `test`: call `TestIdentityProvider`; `read`: describe and list servers and users; `users`: also change service-managed users; `all`: everything"),

    S::new("log", "format", word!(LogFormat, log.format), "Format of log lines"),
    S::new("log", "filter", K::Text(|c| &mut c.log.filter), "Log level, or `info,portcullis::session=debug`"),
];
