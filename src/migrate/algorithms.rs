//! Security policies of Transfer Family by name, and what their clients would lose here.

/// What a policy of AWS offers to SFTP clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) ciphers: &'static [&'static str],
    pub(crate) kex: &'static [&'static str],
    pub(crate) macs: &'static [&'static str],
    /// Clients may sign, and check the host key, with SHA-1.
    pub(crate) has_sha1_signatures: bool,
}

/// What a policy offers and the gateway does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) kex: Vec<&'static str>,
    pub(crate) macs: Vec<&'static str>,
    pub(crate) sha1_signatures: bool,
    /// What both offer.
    pub(crate) kept: Vec<&'static str>,
}

impl Policy {
    /// The names of those that do not stand for validated cryptography, which nobody can promise
    /// for another server.
    pub(crate) const NAMES: &[&str] = &[
        "TransferSecurityPolicy-2018-11",
        "TransferSecurityPolicy-2020-06",
        "TransferSecurityPolicy-2022-03",
        "TransferSecurityPolicy-2023-05",
        "TransferSecurityPolicy-2024-01",
        "TransferSecurityPolicy-2025-03",
        "TransferSecurityPolicy-AS2Restricted-2025-07",
        "TransferSecurityPolicy-Restricted-2018-11",
        "TransferSecurityPolicy-Restricted-2020-06",
        "TransferSecurityPolicy-SshAuditCompliant-2025-02",
    ];

    /// Returns what is known of a policy.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (_, version) = name.split_once("SecurityPolicy-")?;
        let (ciphers, kex, macs, has_sha1_signatures) = match version {
            "2025-03" | "AS2Restricted-2025-07" => (CIPHERS_AES, KEX_2025, MACS_ETM, false),
            "FIPS-2025-03" => (CIPHERS_AES, KEX_FIPS_2025, MACS_ETM, false),
            "SshAuditCompliant-2025-02" => (CIPHERS_AES, KEX_2023, MACS_ETM, false),
            "2023-05" => (CIPHERS_2022, KEX_2023, MACS_ETM, false),
            "2024-01" => (CIPHERS_AES, KEX_2024, MACS_ETM, false),
            "FIPS-2024-01" => (CIPHERS_AES, KEX_FIPS_2024, MACS_ETM, true),
            "FIPS-2024-05" => (CIPHERS_AES, KEX_FIPS_2024, MACS_ETM, false),
            "FIPS-2023-05" => (CIPHERS_2022, KEX_FIPS_2023, MACS_ETM, true),
            "2022-03" => (CIPHERS_2022, KEX_2023, MACS_SHA2, false),
            "2020-06" => (CIPHERS_2018, KEX_2020, MACS_2020, true),
            "Restricted-2020-06" => (CIPHERS_AES, KEX_2020, MACS_2020, true),
            "FIPS-2020-06" => (CIPHERS_AES, KEX_2020, MACS_SHA2, true),
            "2018-11" => (CIPHERS_2018, KEX_2018, MACS_2018, true),
            "Restricted-2018-11" => (CIPHERS_AES, KEX_2018, MACS_2018, true),
            _ => return None,
        };
        Some(Self {
            ciphers,
            kex,
            macs,
            has_sha1_signatures,
        })
    }

    /// Compares with what the gateway offers.
    pub(crate) fn lost(&self, kex: &[&str], macs: &[&str]) -> Lost {
        let missing = |theirs: &[&'static str], ours: &[&str]| {
            let theirs = theirs.iter().copied();
            theirs.filter(|name| !ours.contains(name)).collect()
        };
        let kept = self.kex.iter().copied();
        Lost {
            kex: missing(self.kex, kex),
            macs: missing(self.macs, macs),
            sha1_signatures: self.has_sha1_signatures,
            kept: kept.filter(|name| kex.contains(name)).collect(),
        }
    }
}

const CIPHERS_AES: &[&str] = &[
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];

const CIPHERS_2022: &[&str] = &[
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
];

const CIPHERS_2018: &[&str] = &[
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];

const KEX_2025: &[&str] = &[
    "mlkem768x25519-sha256",
    "mlkem768nistp256-sha256",
    "mlkem1024nistp384-sha384",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha256",
];

const KEX_FIPS_2025: &[&str] = &[
    "mlkem768x25519-sha256",
    "mlkem768nistp256-sha256",
    "mlkem1024nistp384-sha384",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
];

const KEX_2024: &[&str] = &[
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
];

const KEX_FIPS_2024: &[&str] = &[
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
];

const KEX_2023: &[&str] = &[
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha256",
];

const KEX_FIPS_2023: &[&str] = &[
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha256",
];

const KEX_2020: &[&str] = &[
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
];

const KEX_2018: &[&str] = &[
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group14-sha1",
];

const MACS_ETM: &[&str] = &[
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
];

const MACS_SHA2: &[&str] = &[
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "hmac-sha2-256",
];

const MACS_2020: &[&str] = &[
    "umac-128-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
];

const MACS_2018: &[&str] = &[
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
];
