//! Settings that take one word of a few.

/// Defines an enum together with the words that stand for it in a configuration.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The words, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the word of the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Returns what a word means.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words!(
    /// How the identity provider is reached.
    Provider {
        /// A POST to a URL.
        #[default]
        Webhook = "webhook",
        /// AWS Transfer Family's GET, in its exact form.
        ApiGateway = "api-gateway",
        /// AWS Transfer Family's event, given to a function.
        Lambda = "lambda",
        /// A file of users.
        Static = "static",
        /// Nobody is asked: the password is a token.
        Token = "token",
        /// Users that the gateway keeps, changed through AWS's API.
        ServiceManaged = "service-managed",
    }
);

words!(
    /// What a load balancer sends before the client's own bytes.
    ProxyProtocol {
        /// Nothing.
        #[default]
        Off = "off",
        /// A header of version 2 that is passed over.
        Ignore = "ignore",
        /// A header that names the client.
        Required = "required",
    }
);

words!(
    /// What a store is.
    StoreKind {
        #[default]
        S3 = "s3",
        /// Files on this machine.
        Directory = "directory",
    }
);

words!(
    /// What becomes of logins with roles whose mappings lead into a store beside `[storage]`.
    StoreRoles {
        #[default]
        Refuse = "refuse",
        /// They use the gateway's own credentials there.
        Gateway = "gateway",
        /// They use those of the answer's role, which an STS of the store gives.
        Assume = "assume",
    }
);

words!(
    /// What an access key may ask of AWS's API.
    ApiScope {
        /// Try logins.
        #[default]
        Test = "test",
        Read = "read",
        /// Read, and change users.
        Users = "users",
        All = "all",
    }
);

words!(
    /// Whether questions to an API are signed.
    Sign {
        #[default]
        None = "none",
        /// As AWS's IAM wants it.
        Aws = "aws",
    }
);

words!(
    /// What the identity provider is sent.
    Event {
        /// The gateway's own question.
        #[default]
        Plain = "plain",
        /// AWS Transfer Family's five fields.
        TransferFamily = "transfer-family",
    }
);

words!(
    /// Whose credentials a session uses at S3.
    Roles {
        /// The gateway's own.
        #[default]
        Gateway = "gateway",
        /// Keys for each role.
        Map = "map",
        /// Those that STS gives for the answer's role and session policy.
        Assume = "assume",
    }
);

words!(
    /// How far a session with a PATH home may walk.
    PathHomes {
        /// Not out of its home directory.
        #[default]
        Confined = "confined",
        /// As far as its role lets it, as on AWS Transfer Family.
        Role = "role",
    }
);

words!(
    /// The ways to log in.
    Methods {
        #[default]
        KeyOrPassword = "key-or-password",
        Password = "password",
        Key = "key",
        /// A key first, then a password.
        KeyAndPassword = "key-and-password",
    }
);

words!(
    /// Which key exchanges are offered.
    Algorithms {
        /// Those on elliptic curves.
        #[default]
        Modern = "modern",
        /// Finite-field groups as well.
        Compatible = "compatible",
    }
);

words!(
    /// Which user names are asked about at all.
    UserNames {
        /// `aws` for providers of AWS's shape, `open` for the others.
        #[default]
        Auto = "auto",
        /// 1 to 100 characters, no control character, no `/`.
        Open = "open",
        /// AWS Transfer Family's rule.
        Aws = "aws",
    }
);

words!(
    /// Which server-side encryption is asked for with every new object.
    Encryption {
        /// Nothing is asked: the bucket's default holds.
        #[default]
        None = "none",
        S3 = "s3",
        Kms = "kms",
    }
);

words!(
    /// What becomes of a file whose client left without CLOSE.
    PartialUploads {
        /// Nothing of it becomes visible.
        #[default]
        Discard = "discard",
        /// What arrived in sequence becomes the object, marked as partial.
        Keep = "keep",
    }
);

words!(
    /// What a client hears that sets modes and owners.
    SetStat {
        /// Success; nothing is kept.
        #[default]
        Ignore = "ignore",
    }
);

words!(
    /// Whether modes and owners that clients set are kept.
    Modes {
        /// Clients hear that they are set.
        #[default]
        Ignore = "ignore",
        /// With the object, also by a copy of it onto itself.
        Keep = "keep",
    }
);

words!(
    /// Whether modification times that clients set are kept.
    Mtime {
        /// Only when it costs no call of its own.
        #[default]
        Skip = "skip",
        /// Also by a copy of the object onto itself.
        Copy = "copy",
    }
);

words!(
    /// Which commands clients can run beside SFTP.
    Exec {
        /// None.
        Off = "off",
        /// `scp` in its old protocol.
        #[default]
        Scp = "scp",
        /// Checksums, `pwd` and `ls` as well.
        All = "all",
    }
);

words!(
    /// Which modification time listings show.
    ListTimes {
        /// S3's own.
        #[default]
        Store = "store",
        /// The one that was stored with the file, if there is one.
        Kept = "kept",
    }
);

words!(
    /// Which modification time STAT shows.
    StatTimes {
        /// The one that was stored with the file, if there is one.
        #[default]
        Kept = "kept",
        /// S3's own, as in listings.
        Store = "store",
    }
);

words!(
    /// How log lines look.
    LogFormat {
        #[default]
        Json = "json",
        Text = "text",
    }
);
