//! The reasons (pure). A row: name, word, verdict, as what a password counts that was refused so,
//! whether the refusal may be remembered, what it says about the provider; its cause, and what to
//! change.
//!
//! Words are stable: alerts and scripts hang on them.

use super::{Caching, Counts, Health, Row, Verdict};

reasons! {
    // The provider that reads a file, and the choice among providers.
    UnknownUser "unknown-user" Denied PairAndSource Cached Answered
        "the users file, or the store of service-managed users, has no such user",
        "check the name against `[users.NAME]` in `identity.users_file`, or against \
         `aws transfer list-users`";
    NoProviderForName "no-provider-for-name" Denied PairAndSource Uncached Nothing
        "no provider is configured for this user name on this port",
        "check `listen`, `user_suffix` and `user_prefix` of the providers (docs/providers.md)";
    NoPassword "no-password" Denied PairAndSource Cached Answered
        "the user has no `password_hash` in the users file",
        "add one (`portcullis hash-password`), or log in with a key";
    WrongPassword "wrong-password" Denied PairAndSource Cached Answered
        "the password does not match the hash in the users file",
        "check the password; make a new hash with `portcullis hash-password`";
    PasswordCheck "password-check" Unavailable Nothing Uncached Nothing
        "the password hash could not be computed",
        "see `detail` in the log; the machine may be short of memory";
    // Users that the gateway keeps.
    KeysOnly "keys-only" Denied PairAndSource Cached Nothing
        "service-managed users have keys and no passwords",
        "log in with a key (`aws transfer import-ssh-public-key`)";
    UserDocument "user-document" Invalid Nothing Uncached Answered
        "the document of a service-managed user cannot be read",
        "`detail` says what is wrong; see docs/service-managed-users.md";
    UsersStore "users-store" Unavailable Nothing Uncached Nothing
        "the store of service-managed users cannot be read",
        "check `identity.users_store` and what the gateway may do there; `detail` says what went \
         wrong";
    // Before anybody is asked.
    UserName "user-name" Denied PairAndSource Uncached Nothing
        "the user name is not allowed by `identity.user_names`",
        "use another name, or set `identity.user_names = \"open\"`";
    PasswordBlank "password-blank" Denied PairAndSource Uncached Nothing
        "the password has no visible character; the provider gets no request",
        "use another password: many services take a blank one for a key look-up";
    PasswordControlCharacters "password-control-characters" Denied PairAndSource Uncached Nothing
        "the password has a control character, such as a NUL or a line break; the provider gets \
         no request",
        "use another password: many services fail at such characters";
    PasswordTooLong "password-too-long" Denied PairAndSource Cached Nothing
        "the password is longer than 1024 bytes, or the token longer than 16 KiB",
        "use a shorter password; let the issuer put less into tokens";
    MethodNotAllowed "method-not-allowed" Denied Nothing Uncached Nothing
        "`identity.methods` does not allow this way to log in",
        "log in the other way, or change `identity.methods`";
    TooManyAttempts "too-many-attempts" Denied Nothing Uncached Nothing
        "the connection tried too many passwords or keys",
        "connect again; let the client offer fewer keys (`IdentitiesOnly=yes`)";
    KeyTypeUnsupported "key-type-unsupported" Denied Nothing Uncached Nothing
        "the key's type is not supported",
        "make an ed25519, ECDSA or RSA key, with or without hardware";
    KeyOptionsUnsupported "key-options-unsupported" Denied Nothing Uncached Answered
        "the key is listed with options that the gateway cannot enforce, such as `from=` or \
         `verify-required`",
        "list the key without options; restrict users to networks with `networks`";
    LockedOut "locked-out" Denied Nothing Uncached Nothing
        "brute-force protection: too many wrong passwords of this user from this source",
        "wait, or `portcullis admin unlock --user NAME`; limits: `[login]`";
    UserBlocked "user-blocked" Denied Nothing Uncached Nothing
        "an admin command blocks this user",
        "`portcullis admin blocks` lists all blocks, `admin unblock --user NAME` lifts this one";
    SourceBlocked "source-blocked" Denied Nothing Uncached Nothing
        "an admin command blocks this network",
        "`portcullis admin blocks` lists all blocks, `admin unblock --network NETWORK` lifts \
         this one";
    ProviderBlocked "provider-blocked" Unavailable Nothing Uncached Nothing
        "an admin command blocks this provider",
        "`portcullis admin blocks` lists all blocks, `admin unblock --provider NAME` lifts this \
         one";
    SourceLockedOut "source-locked-out" Denied Nothing Uncached Nothing
        "brute-force protection: too many wrong passwords from this source",
        "wait, or `portcullis admin unlock --source ADDRESS`; add a load balancer that hides \
         client addresses to `login.unthrottled_networks`";
    TooManyNames "too-many-names" Denied Nothing Uncached Nothing
        "this source looked up the keys of too many user names without logging in",
        "wait, or `portcullis admin unlock --source ADDRESS`; limit: `login.names_per_source_max`";
    ClientGone "client-gone" Denied Nothing Uncached Nothing
        "the client disconnected, or ran out of time, before the login was complete",
        "see `limits.login_grace_seconds`; a wrong password counts although the client has \
         disconnected";
    GivenUp "given-up" Unavailable Nothing Uncached Nothing
        "the client disconnected before the gateway sent a request to the provider",
        "nothing";
    Revoked "revoked" Denied Nothing Uncached Nothing
        "an admin command revoked the user during the login",
        "log in again, if the user is still allowed to";
    AnswersDisagree "answers-disagree" Invalid Nothing Uncached Answered
        "the answers to the key and to the password name two users, or come from two providers",
        "let both answers name the same `user`";
    KeySignatureSha1 "key-signature-sha1" Denied Nothing Uncached Nothing
        "the client signs with SHA-1 (`ssh-rsa`)",
        "use a newer client, or an ed25519 key";
    KeyMalformed "key-malformed" Denied Nothing Uncached Nothing
        "the key does not match the type it names",
        "make a new key";
    KeyRsaTooShort "key-rsa-too-short" Denied Nothing Uncached Nothing
        "the RSA key is too short",
        "make an ed25519 key, or RSA with 3072 bits";
    // The provider said no.
    NotAllowed "not-allowed" Denied PairAndSource Cached Answered
        "the service answered `\"allow\": false`",
        "see the service's reason, if any, in `detail`";
    EmptyAnswer "empty-answer" Denied PairAndSource Cached Answered
        "the service answered with an empty body, `null` or `{}`",
        "this is a denial: look into the service's log for this user";
    NoRole "no-role" Denied PairAndSource Cached Answered
        "the answer has neither `allow` nor a non-empty `Role`",
        "correct for a denial; otherwise answer with `\"allow\": true` or a `Role`";
    StatusDenied "status-denied" Denied Pair Uncached Answered
        "the service answered 401 or 403",
        "check how the gateway authenticates to the service (`identity.headers`, \
         `identity.sign`). To deny a user answer 200 and `{\"allow\": false}`";
    FunctionError "function-error" Denied PairAndSource Uncached Answered
        "the function raised an error",
        "look into the function's log";
    NoUsablePublicKey "no-usable-public-key" Denied Nothing Cached Answered
        "the answer to a key look-up lists no key, or none that can be read",
        "list the user's keys in `publicKeys` (`PublicKeys`), each as the line of a `.pub` file; \
         `detail` names those that cannot be read";
    KeyNotListed "key-not-listed" Denied Nothing Uncached Answered
        "the answer lists keys, but not the client's",
        "add the line of the key's `.pub` file, without options before it";
    KeyExpired "key-expired" Denied Nothing Uncached Answered
        "the key is listed with an `Expires` in the past",
        "make a new key, or list this one with a later time";
    SourceNotInNetworks "source-not-in-networks" Denied PairAndSource Uncached Answered
        "the client's address is in none of the answer's `networks`",
        "add its network, or check that the gateway sees the client's own address";
    // It did not answer.
    Timeout "timeout" Unavailable Nothing Uncached TimedOut
        "no complete answer within `identity.total_timeout_ms`",
        "make the service faster, or raise the setting";
    ConnectTimeout "connect-timeout" Unavailable Nothing Uncached Gone
        "no connection to the service within `identity.connect_timeout_ms`",
        "check the URL, DNS and firewalls, or raise the setting";
    Connect "connect" Unavailable Nothing Uncached Gone
        "no connection to the service",
        "check the URL, DNS, firewalls and the service's certificate (`identity.ca_file`)";
    Transport "transport" Unavailable Nothing Uncached Failed
        "the connection broke before the answer was complete",
        "look into the service's log: it may have crashed, or close connections early";
    Redirect "redirect" Unavailable Nothing Uncached Nothing
        "the service answered with a redirect, which the gateway does not follow",
        "set `identity.url` to the address it redirects to";
    Status "status" Unavailable Nothing Uncached Nothing
        "the service answered with a status that the gateway does not expect, such as 204 or 429",
        "answer 200 to allow and to deny";
    StatusRefused "status-refused" Unavailable Delay Uncached Nothing
        "the service answered 400, 404, 409, 410 or 422",
        "answer 200 to allow and to deny; to deny a user answer 200 and `{\"allow\": false}`";
    StatusFailed "status-failed" Unavailable Delay Uncached Failed
        "the service answered 500 or another 5xx",
        "look into the service's log for this user; answer 200 to allow and to deny";
    StatusGateway "status-gateway" Unavailable Delay Uncached GatewayFailed
        "a proxy or load balancer in front of the service answered 502, 503 or 504",
        "check that the service is running. Behind an API Gateway a handler that raises an error \
         answers 502 as well";
    AnswerTooLarge "answer-too-large" Unavailable Nothing Uncached Nothing
        "the answer is longer than allowed",
        "answer with less: only keys and mappings of this user";
    NotJson "not-json" Unavailable Nothing Uncached Nothing
        "the answer is not JSON",
        "check the URL: is the answer a login page or a proxy's error?";
    AnswerEncoded "answer-encoded" Unavailable Nothing Uncached Nothing
        "the answer is compressed, although the gateway did not ask for it",
        "turn compression off in the service and in proxies in front of it";
    AwsCredentials "aws-credentials" Unavailable Nothing Uncached Nothing
        "no AWS credentials were found, or AWS rejects them",
        "set `identity.aws_access_key_id` and its secret, or give the machine a role; see `detail`";
    FunctionAccessDenied "function-access-denied" Unavailable Nothing Uncached Nothing
        "the gateway is not allowed to invoke the function",
        "allow `lambda:InvokeFunction` for the gateway's own identity";
    FunctionNotFound "function-not-found" Unavailable Nothing Uncached Nothing
        "Lambda has no such function or qualifier",
        "check `identity.function`, `identity.qualifier` and `identity.aws_region`";
    FunctionThrottled "function-throttled" Unavailable Nothing Uncached Nothing
        "Lambda has too many concurrent invocations (429)",
        "reserve concurrency for the function, or raise the account's limit";
    FunctionCrashed "function-crashed" Unavailable Delay Uncached Failed
        "Lambda ended the function or could not start it; `detail` names the error",
        "look into the function's log; check its handler, time-out and memory";
    BreakerOpen "breaker-open" Unavailable Nothing Uncached Nothing
        "the circuit breaker is open: several consecutive requests got no answer, so the \
         provider gets none for up to 30 seconds",
        "see the reasons logged before; `identity.breaker_failures` sets how many";
    ProviderBusy "provider-busy" Unavailable Nothing Uncached Nothing
        "concurrency limit: too many requests to the provider are in progress, in all or for \
         this source, and none ended in time",
        "make the service faster, or raise `identity.questions_max`; find the source of the \
         requests";
    NoTimeLeft "no-time-left" Unavailable Nothing Uncached Nothing
        "the login came too late: the time to log in might end before the provider's answer",
        "log in again; raise `limits.login_grace_seconds`, or lower `identity.total_timeout_ms`";
    Signing "signing" Unavailable Nothing Uncached Nothing
        "the request could not be signed",
        "check the keys of `identity.signing_key_files`";
    FlightLost "flight-lost" Unavailable Nothing Uncached Nothing
        "the request that several logins shared was lost",
        "log in again; if it repeats, report it";
    // The answer as a whole.
    NotAnObject "not-an-object" Invalid Nothing Uncached Answered
        "the answer is JSON but not an object",
        "answer with an object: `{\"allow\": …}`";
    DuplicateKey "duplicate-key" Invalid Nothing Uncached Answered
        "a key occurs twice in one object",
        "write each key once";
    TooDeep "too-deep" Invalid Nothing Uncached Answered
        "the answer is nested too deeply",
        "remove what is not part of the contract";
    TwoContracts "two-contracts" Invalid Nothing Uncached Answered
        "the answer has both `allow` and `Role`",
        "use one of the two contracts";
    UnknownKey "unknown-key" Invalid Nothing Uncached Answered
        "the answer has a key that the plain contract does not know",
        "check its spelling; remove it if it is not part of the contract";
    WrongType "wrong-type" Invalid Nothing Uncached Answered
        "a value has the wrong type",
        "`detail` names the key and the expected type";
    KeysInPasswordAnswer "keys-in-password-answer" Invalid Nothing Uncached Answered
        "the answer to a password lists public keys",
        "list keys only for key look-ups, or set `identity.accept_keys_with_password = true` \
         once you know that the service checks passwords";
    PasswordNotRead "password-not-read" Invalid Nothing Uncached Answered
        "the service allows the login with and without a password that only the header \
         `PasswordBase64` can carry",
        "let the function read `PasswordBase64`, and answer key look-ups of users without keys \
         with `{}`";
    AnswerExpired "answer-expired" Invalid Nothing Uncached Answered
        "`expiresAt` is in the past",
        "deny the user, or answer with a time in the future";
    ExpiresAt "expires-at" Invalid Nothing Uncached Answered
        "`expiresAt` is not a valid time",
        "write it as `2026-12-31T00:00:00Z`";
    User "user" Invalid Nothing Uncached Answered
        "`user` is empty, too long or has a control or format character",
        "answer with 1 to 100 visible characters";
    TooManyKeys "too-many-keys" Invalid Nothing Uncached Answered
        "the answer lists too many keys",
        "list fewer";
    KeyTooLong "key-too-long" Invalid Nothing Uncached Answered
        "a key in the answer is too long",
        "list keys as in their `.pub` file";
    NetworksEmpty "networks-empty" Invalid Nothing Uncached Answered
        "`networks` is an empty array",
        "leave it out to allow any network";
    Network "network" Invalid Nothing Uncached Answered
        "an entry of `networks` is not a network, or is an address within one",
        "write `203.0.113.0/24` or `2001:db8::/32`, with no bit set past the prefix; `detail` \
         names the network that was meant";
    // Role and policy.
    Role "role" Invalid Nothing Uncached Answered
        "the role is too long or has a control character",
        "answer with the role's ARN";
    PolicyNotEnforceable "policy-not-enforceable" Invalid Nothing Uncached Answered
        "the answer has a session policy, which only an assumed role can enforce",
        "set `identity.roles = \"assume\"`: STS then applies the policy to the role \
         (docs/security.md). Without STS leave the policy out: the mappings confine the session";
    StoreWithoutRoles "store-without-roles" Invalid Nothing Uncached Answered
        "a mapping leads into a store of `[store.NAME]` that cannot apply the answer's role or \
         policy",
        "leave the policy or the mapping out, or set `roles` for that store: with `\"assume\"` it \
         has an STS of its own, with `\"gateway\"` the mappings alone confine its users there \
         (docs/stores.md)";
    PolicyTooLong "policy-too-long" Invalid Nothing Uncached Answered
        "the policy is longer than STS allows",
        "shorten it: 2048 characters after substitution";
    PolicyNotJson "policy-not-json" Invalid Nothing Uncached Answered
        "the policy is not JSON",
        "check its quotes and escapes";
    PolicyNotAnObject "policy-not-an-object" Invalid Nothing Uncached Answered
        "the policy is JSON but not an object",
        "answer with a policy document";
    PolicyVariable "policy-variable" Invalid Nothing Uncached Answered
        "the policy has a variable that cannot be substituted",
        "use the variables that docs/identity-provider.md lists";
    // Mappings and home.
    MappingsMissing "mappings-missing" Invalid Nothing Uncached Answered
        "the answer allows the login but has no mapping",
        "add `mappings`: `[{\"entry\": \"/\", \"target\": \"/bucket/prefix\"}]`";
    MappingIncomplete "mapping-incomplete" Invalid Nothing Uncached Answered
        "a mapping lacks its entry or its target",
        "give both";
    MappingType "mapping-type" Invalid Nothing Uncached Answered
        "a mapping's type is neither a directory nor a file",
        "write `directory` or `file` (`DIRECTORY`, `FILE`)";
    MappingAccess "mapping-access" Invalid Nothing Uncached Answered
        "a mapping's access is unknown",
        "write `read`, `write` or `read-write`";
    PartialUploads "partial-uploads" Invalid Nothing Uncached Answered
        "`partialUploads` of the answer or of a mapping is unknown",
        "write `discard`, `keep` or `replace`";
    ObjectSettings "object-settings" Invalid Nothing Uncached Answered
        "`objects` of the answer or of a mapping has an unknown key or a value that no store \
         takes, or two mappings with one target differ in it",
        "write it as docs/identity-provider.md shows; `detail` names what was found and what is \
         allowed";
    StoreWithoutObjectSettings "store-without-object-settings" Invalid Nothing Uncached Answered
        "`objects` asks for a class, encryption, tags or a lock in a store that is a directory, \
         which keeps none of them, or for a lock in one without checksums, which S3 asks for \
         with a lock",
        "leave `objects` out of that mapping, or map to a bucket of S3, with \
         `storage.checksums = true` for a lock";
    MappingTooLong "mapping-too-long" Invalid Nothing Uncached Answered
        "an entry or a target is too long",
        "shorten it to 1024 characters";
    TooManyMappings "too-many-mappings" Invalid Nothing Uncached Answered
        "the answer has too many mappings",
        "map a directory above them";
    EntriesOverlap "entries-overlap" Invalid Nothing Uncached Answered
        "an entry equals another one, or is below it",
        "map each directory once; `/` must be the only entry";
    EntryNotNormal "entry-not-normal" Invalid Nothing Uncached Answered
        "an entry is not an absolute path without `.`, `..` and `//`",
        "write an absolute path, such as `/in`";
    EntryVariable "entry-variable" Invalid Nothing Uncached Answered
        "an entry has a variable, such as `${transfer:UserName}`, which only targets can have",
        "write the name itself, or an entry that is the same for all: `/home`";
    TargetNoLeadingSlash "target-no-leading-slash" Invalid Nothing Uncached Answered
        "a target does not begin with `/`",
        "write `/bucket/prefix`";
    TargetTrailingSlash "target-trailing-slash" Invalid Nothing Uncached Answered
        "a target ends with `/`",
        "remove it";
    TargetVariable "target-variable" Invalid Nothing Uncached Answered
        "a target has an unsupported variable",
        "use `${transfer:UserName}`";
    UserNameInTarget "user-name-in-target" Invalid Nothing Uncached Answered
        "the user name cannot be part of a target",
        "answer with a `user` that has no `/` and is not `.` or `..`";
    TargetComponent "target-component" Invalid Nothing Uncached Answered
        "a target has an empty, `.` or `..` component or a NUL",
        "write `/bucket/prefix`";
    TargetBucket "target-bucket" Invalid Nothing Uncached Answered
        "a target does not begin with a valid bucket name",
        "begin the target with the bucket: `/bucket/prefix`";
    FileWithoutKey "file-without-key" Invalid Nothing Uncached Answered
        "a target of type file names a bucket but no key",
        "name the object: `/bucket/key`";
    FileAtRoot "file-at-root" Invalid Nothing Uncached Answered
        "the entry `/` is a file",
        "give the file a name: `/rates.csv`";
    HomeNotNormal "home-not-normal" Invalid Nothing Uncached Answered
        "the home directory is not an absolute path without `.`, `..`, `//` and variables",
        "write `/in`; a PATH home is `/bucket/prefix`";
    HomeBucket "home-bucket" Invalid Nothing Uncached Answered
        "the home directory does not begin with the name of a bucket",
        "write `/bucket/prefix`, or map it: `LOGICAL` with `HomeDirectoryDetails`";
    HomeNotInMappings "home-not-in-mappings" Invalid Nothing Uncached Answered
        "the home directory is not in any mapping",
        "name an entry, or a directory below or above one";
    HomeType "home-type" Invalid Nothing Uncached Answered
        "`HomeDirectoryType` is unknown",
        "write `PATH` or `LOGICAL`";
    EfsTarget "efs-target" Invalid Nothing Uncached Answered
        "the target is on an EFS file system that no store serves",
        "map to a bucket, or name the file system in `fs_ids` of a `[store.NAME]` \
         (docs/stores.md)";
    DetailsMissing "details-missing" Invalid Nothing Uncached Answered
        "the answer has `LOGICAL` but no `HomeDirectoryDetails`",
        "add the mappings, or use `PATH`";
    DetailsTooLong "details-too-long" Invalid Nothing Uncached Answered
        "`HomeDirectoryDetails` is too long",
        "map a directory above them";
    DetailsNotJson "details-not-json" Invalid Nothing Uncached Answered
        "the string `HomeDirectoryDetails` is not JSON",
        "check its quotes and escapes";
    DetailsNotAnArray "details-not-an-array" Invalid Nothing Uncached Answered
        "`HomeDirectoryDetails` is not an array",
        "write `[{\"Entry\": …, \"Target\": …}]`";
    // Whose credentials a session has at S3.
    RoleMissing "role-missing" Invalid Nothing Uncached Answered
        "roles are mapped or assumed, but the answer has none",
        "answer with a `role` (`Role`), or set `identity.default_role`";
    RoleUnknown "role-unknown" Invalid Nothing Uncached Answered
        "no table `[role.NAME]` has the answer's role",
        "add one, or correct the role; every character must match";
    RoleNotAssumable "role-not-assumable" Invalid Nothing Uncached Answered
        "STS does not allow the gateway to assume the role",
        "the role's trust policy must name the gateway's role as principal, with the external id \
         if there is one, and the gateway needs `sts:AssumeRole` on it (docs/security.md)";
    PolicyMalformed "policy-malformed" Invalid Nothing Uncached Answered
        "STS cannot parse the session policy",
        "`detail` says where; test the policy with IAM's policy simulator";
    PolicyTooLargePacked "policy-too-large-packed" Invalid Nothing Uncached Answered
        "policy and tags together are larger than STS allows in their packed form",
        "shorten the policy, or use fewer `sts.tags`";
    SessionTag "session-tag" Invalid Nothing Uncached Answered
        "the user name is not allowed in a session tag",
        "answer with a `user` of letters, digits, spaces and `_.:/=+-@`, or leave the variable \
         out of `sts.tags`";
    SourceIdentity "source-identity" Invalid Nothing Uncached Answered
        "the user name is not allowed in a source identity",
        "answer with a `user` of letters, digits and `_+=,.@-` that makes 2 to 64 characters, or \
         leave the variable out of `sts.source_identity`";
    StsRefused "sts-refused" Invalid Nothing Uncached Answered
        "STS refuses the request",
        "`detail` says why: a role that is not an ARN, or `sts.duration_seconds` above the \
         role's maximum";
    StsCredentials "sts-credentials" Unavailable Nothing Uncached Nothing
        "STS rejects the gateway's own credentials",
        "check those of `[storage]`, or the AWS chain (service account, instance role)";
    StsUnavailable "sts-unavailable" Unavailable Nothing Uncached Nothing
        "STS did not answer in time, or answered with an internal error",
        "check `sts.endpoint` and the network to it; see `sts.timeout_ms`";
    StsAnswer "sts-answer" Unavailable Nothing Uncached Nothing
        "STS's answer cannot be used",
        "check that `sts.endpoint` is an STS endpoint";
    // Tokens.
    TokenOnly "token-only" Denied Nothing Cached Nothing
        "the provider accepts only tokens, not keys",
        "log in with a token as the password";
    TokenMalformed "token-malformed" Denied PairAndSource Cached Nothing
        "the password is not a signed JWT, or has no expiry",
        "`detail` says what is wrong; `exp` is required, and no claim may occur twice";
    TokenAlgorithm "token-algorithm" Denied PairAndSource Cached Nothing
        "the token's signature algorithm is not allowed",
        "check `identity.token_algorithms`; symmetric ones and `none` are never allowed";
    TokenKey "token-key" Denied Nothing Uncached Answered
        "the token's signing key is unknown, or not for its algorithm",
        "check that the token comes from the right issuer. A new key is fetched after \
         `identity.token_jwks_refetch_seconds`";
    TokenSignature "token-signature" Denied PairAndSource Cached Answered
        "the token's signature is wrong",
        "get a new token";
    TokenExpired "token-expired" Denied PairAndSource Cached Answered
        "the token has expired",
        "get a new token; compare the clocks of gateway and issuer";
    TokenNotYetValid "token-not-yet-valid" Denied PairAndSource Cached Answered
        "the token is not valid yet",
        "compare the clocks of gateway and issuer; see `identity.token_clock_skew_seconds`";
    TokenIssuer "token-issuer" Denied PairAndSource Cached Answered
        "the token comes from another issuer",
        "check `identity.token_issuer` against `iss`, including the last slash";
    TokenAudience "token-audience" Denied PairAndSource Cached Answered
        "the token is for another audience",
        "check `identity.token_audience` against `aud`; ask the issuer for a token for the gateway";
    TokenUser "token-user" Denied PairAndSource Cached Answered
        "the token belongs to another user, or names no user",
        "log in with the name in the claim `identity.token_user_claim`, in the same case";
    TokenClaim "token-claim" Invalid Nothing Uncached Answered
        "a claim that the settings use is missing, or its value cannot be used",
        "`detail` names the claim; see docs/token.md";
    TokenKeys "token-keys" Unavailable Nothing Uncached Gone
        "the issuer's keys cannot be loaded",
        "check `identity.token_jwks_url`; `detail` says what went wrong";
}
