//! What is offered to clients, and the SSH library's settings.
//!
//! Left out on purpose: SHA-1, CBC, compression, and group exchange with the larger groups. Finite
//! fields cost much processor time, which anybody could make the gateway spend before login: two
//! groups can be had, last, for clients that know no elliptic curve.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use super::hello::{self, CipherOffer};
use super::host_keys::HostKeys;
use super::window;
use crate::auth::Methods;
use crate::config::{Algorithms, Ssh};
use crate::limits::Limits;

/// The version line, without its end.
pub(super) const VERSION: &str = concat!("SSH-2.0-Portcullis_", env!("CARGO_PKG_VERSION"));

const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    // Not key exchanges: they announce server-sig-algs and strict key exchange.
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const KEY_EXCHANGES_COMPATIBLE: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// Returns the names of the key exchanges that are offered.
#[must_use]
pub fn key_exchanges(algorithms: Algorithms) -> Vec<&'static str> {
    let all = match algorithms {
        Algorithms::Modern => KEY_EXCHANGES,
        Algorithms::Compatible => KEY_EXCHANGES_COMPATIBLE,
    };
    let names = all.iter().map(AsRef::as_ref);
    names.filter(|name| !is_announcement(name)).collect()
}

/// Returns the names of the ciphers that are offered, to one client or another.
#[must_use]
pub fn ciphers() -> Vec<&'static str> {
    CIPHERS_FULL.iter().map(AsRef::as_ref).collect()
}

/// Returns the names of the algorithms with which host keys sign.
#[must_use]
pub fn host_key_signatures() -> Vec<&'static str> {
    let of_host_keys = SIGNATURES.iter().filter(|algorithm| {
        !matches!(
            algorithm,
            Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
        )
    });
    of_host_keys.map(Algorithm::as_str).collect()
}

/// Returns the names of the message authentication codes that are offered.
#[must_use]
pub fn macs() -> Vec<&'static str> {
    MACS.iter().map(AsRef::as_ref).collect()
}

fn is_announcement(name: &str) -> bool {
    let names = [
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    names
        .iter()
        .any(|other| AsRef::<str>::as_ref(other) == name)
}

/// For host keys and, as `server-sig-algs`, for what users may sign with.
const SIGNATURES: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

const CIPHERS_GCM: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];

const CIPHERS_FULL: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: &[mac::Name] = &[
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
];

/// Largest packet we ask clients to send: OpenSSH's; larger ones were measured to gain nothing.
const PACKET_BYTES_MAX: u32 = 32 * 1024;
/// Messages of one channel that wait for its session; their bytes are bounded by its window.
const MESSAGES_PER_CHANNEL_MAX: usize = 64;
/// Messages that wait to be encrypted.
const MESSAGES_OUT_MAX: usize = 2;
/// Keep-alives without an answer before a connection is given up.
const KEEPALIVES_UNANSWERED_MAX: usize = 3;

/// As OpenSSH has it for ciphers with blocks of eight bytes, and for `ChaCha20`.
const REKEY_BYTES_SMALL_BLOCKS: usize = 1 << 30;
/// Several clients do not cope with a key exchange that the server begins: none because of time.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What the transport is made of.
#[derive(Debug, Clone)]
pub struct Transport {
    pub host_keys: HostKeys,
    pub algorithms: Algorithms,
    /// One way under one key; less where the cipher is `ChaCha20`.
    pub rekey_bytes: u64,
    /// Leaves out everything else of what `algorithms` offers.
    pub alone: Option<Arc<OfferedAlone>>,
}

/// Names of algorithms, as the protocol has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfferedAlone {
    pub key_exchanges: Vec<&'static str>,
    pub ciphers: Vec<&'static str>,
    pub macs: Vec<&'static str>,
}

impl From<HostKeys> for Transport {
    fn from(host_keys: HostKeys) -> Self {
        Self {
            host_keys,
            algorithms: Algorithms::default(),
            rekey_bytes: Ssh::default().rekey_bytes,
            alone: None,
        }
    }
}

/// The settings for each kind of client.
#[derive(Debug)]
pub(super) struct Offers {
    /// What they are made of.
    transport: Transport,
    gcm: Arc<Config>,
    counter: Arc<Config>,
    full: Arc<Config>,
}

impl Offers {
    pub(super) fn new(transport: &Transport, limits: &Limits) -> Self {
        let exchanges = match transport.algorithms {
            Algorithms::Modern => KEY_EXCHANGES,
            Algorithms::Compatible => KEY_EXCHANGES_COMPATIBLE,
        };
        let rekey = usize::try_from(transport.rekey_bytes).unwrap_or(usize::MAX);
        let alone = transport.alone.as_deref();
        let exchanges = only(exchanges, alone.map(|alone| &*alone.key_exchanges));
        let of_ciphers = |all| only(all, alone.map(|alone| &*alone.ciphers));
        let macs = only(MACS, alone.map(|alone| &*alone.macs));
        let gcm = Some(of_ciphers(CIPHERS_GCM)).filter(|gcm| !gcm.is_empty());
        let gcm = gcm.unwrap_or_else(|| of_ciphers(CIPHERS_FULL));
        let full = of_ciphers(CIPHERS_FULL);
        let config = |ciphers: &Cow<'static, [cipher::Name]>, rekey_bytes| {
            let config = config(&transport.host_keys, limits);
            Arc::new(Config {
                limits: russh::Limits {
                    rekey_write_limit: rekey_bytes,
                    rekey_read_limit: rekey_bytes,
                    rekey_time_limit: NEVER,
                },
                preferred: Preferred {
                    kex: exchanges.clone(),
                    cipher: ciphers.clone(),
                    mac: macs.clone(),
                    ..config.preferred
                },
                ..config
            })
        };
        Self {
            transport: transport.clone(),
            gcm: config(&gcm, rekey),
            counter: config(&full, rekey),
            full: config(&full, rekey.min(REKEY_BYTES_SMALL_BLOCKS)),
        }
    }

    pub(super) const fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn choose(&self, offer: CipherOffer) -> Arc<Config> {
        Arc::clone(match offer {
            CipherOffer::Gcm => &self.gcm,
            CipherOffer::Counter => &self.counter,
            CipherOffer::Full => &self.full,
        })
    }
}

/// Leaves out what is not among names; announcements, which are no algorithms, stay.
fn only<T: Clone + AsRef<str>>(
    all: &'static [T],
    names: Option<&[&'static str]>,
) -> Cow<'static, [T]> {
    let Some(names) = names else {
        return Cow::Borrowed(all);
    };
    let stays = |one: &&T| {
        let name: &str = (*one).as_ref();
        names.contains(&name) || is_announcement(name)
    };
    all.iter().filter(stays).cloned().collect()
}

/// Says what a client's offer and ours come to.
pub(super) fn found(config: &Config, received: &[u8]) -> Option<hello::Algorithms> {
    fn names<T: AsRef<str>>(all: &[T]) -> Vec<&str> {
        all.iter().map(AsRef::as_ref).collect()
    }
    let Preferred {
        kex, cipher, mac, ..
    } = &config.preferred;
    hello::algorithms(received, &names(kex), &names(cipher), &names(mac))
}

/// The methods that a client may go on with after a refusal.
pub(super) fn method_set(methods: Methods) -> MethodSet {
    let mut set = MethodSet::empty();
    if methods.key() {
        set.push(MethodKind::PublicKey);
    }
    if methods.password_first() {
        set.push(MethodKind::Password);
        set.push(MethodKind::KeyboardInteractive);
    }
    set
}

/// The methods that carry a password.
pub(super) fn password_alone() -> MethodSet {
    MethodSet::from(&[MethodKind::Password, MethodKind::KeyboardInteractive][..])
}

fn config(host_keys: &HostKeys, limits: &Limits) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(VERSION)),
        // What a port takes is said in the answer to `none`, and to every refusal.
        methods: method_set(Methods::KeyOrPassword),
        // Whoever judges the login delays its refusals; a delay here would also hold up every key
        // of an agent.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        // A backstop: the login counts for itself, `none` comes on top.
        max_auth_attempts: limits
            .key_offers_max
            .saturating_add(limits.password_attempts_max)
            .saturating_add(2),
        keys: host_keys.private_keys(),
        certificates: Vec::new(),
        host_keys: host_keys.announced(),
        limits: russh::Limits::default(),
        window_size: window::first_bytes(limits),
        maximum_packet_size: PACKET_BYTES_MAX,
        channel_buffer_size: MESSAGES_PER_CHANNEL_MAX,
        event_buffer_size: MESSAGES_OUT_MAX,
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            key: Cow::Borrowed(SIGNATURES),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS_FULL),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        // The connection's own deadlines rule.
        inactivity_timeout: None,
        // Before login OpenSSH's client takes a keep-alive for an attack.
        keepalive_interval: Some(limits.keepalive_interval.max(limits.login_grace)),
        keepalive_max: KEEPALIVES_UNANSWERED_MAX,
        nodelay: true,
    }
}
