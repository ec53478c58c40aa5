//! The reasons (pure). A row: name, word, verdict, as what a password counts that was refused so,
//! whether the refusal may be remembered, what it says about the provider; its cause, and what to
//! change.
//!
//! Words are stable: alerts and scripts hang on them.

use super::{Caching, Counts, Health, Row, Verdict};

reasons! {
    // The provider that reads a file, and the choice among providers.
    UnknownUser "unknown-user" Denied PairAndSource Cached Answered
        "the file of users has no such user",
        "check the name against `[users.NAME]` of identity.users_file";
    NoProviderForName "no-provider-for-name" Denied PairAndSource Uncached Nothing
        "no provider is asked about such a name on that port",
        "check `listen`, `user_suffix` and `user_prefix` of the providers (docs/providers.md)";
    NoPassword "no-password" Denied PairAndSource Cached Answered
        "the user of the file has no `password_hash`",
        "add one (`portcullis hash-password`), or log in with a key";
    WrongPassword "wrong-password" Denied PairAndSource Cached Answered
        "the password is not the one of the file's hash",
        "check the password; make a new hash with `portcullis hash-password`";
    PasswordCheck "password-check" Unavailable Nothing Uncached Nothing
        "the hash could not be computed",
        "see the detail in the log; the machine may be short of memory";
    // Before anybody is asked.
    UserName "user-name" Denied PairAndSource Uncached Nothing
        "the user name breaks the rule of `identity.user_names`",
        "use another name, or set `identity.user_names = \"open\"`";
    PasswordBlank "password-blank" Denied PairAndSource Uncached Nothing
        "the password has no visible character; nobody is asked",
        "give a password: many services take a blank one for a key look-up";
    PasswordControlCharacters "password-control-characters" Denied PairAndSource Uncached Nothing
        "the password has a control character, such as a NUL or a line break; nobody is asked",
        "give a password without: many services fail at such characters";
    PasswordTooLong "password-too-long" Denied PairAndSource Cached Nothing
        "the password is longer than 1024 bytes, or the token longer than 16 KiB",
        "use a shorter one; let the issuer put less into tokens";
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
        "the key is listed with options that would not be kept, such as `from=` or \
         `verify-required`",
        "list the key alone; bind users to networks with `networks`";
    LockedOut "locked-out" Denied Nothing Uncached Nothing
        "too many wrong passwords of this user from this source",
        "wait, or `portcullis admin unlock --user NAME`; bounds: `[login]`";
    UserBlocked "user-blocked" Denied Nothing Uncached Nothing
        "the operator keeps this user out",
        "`portcullis admin blocks` lists who is kept out, `admin unblock --user NAME` lets them in";
    SourceBlocked "source-blocked" Denied Nothing Uncached Nothing
        "the operator keeps this network out",
        "`portcullis admin blocks` lists them, `admin unblock --network NETWORK` lets it in";
    ProviderBlocked "provider-blocked" Unavailable Nothing Uncached Nothing
        "the operator switched this provider off",
        "`portcullis admin blocks` lists them, `admin unblock --provider NAME` switches it on";
    SourceLockedOut "source-locked-out" Denied Nothing Uncached Nothing
        "too many wrong passwords from this source",
        "wait, or `portcullis admin unlock --source ADDRESS`; a balancer that hides its \
         clients belongs into `login.unthrottled_networks`";
    TooManyNames "too-many-names" Denied Nothing Uncached Nothing
        "this source looked up the keys of too many user names without logging in",
        "wait, or `portcullis admin unlock --source ADDRESS`; bound: `login.names_per_source_max`";
    ClientGone "client-gone" Denied Nothing Uncached Nothing
        "the client went away, or the login took too long, before it was in",
        "see `limits.login_grace_seconds`; who sends guesses and leaves is counted all the same";
    GivenUp "given-up" Unavailable Nothing Uncached Nothing
        "the client went away before anybody was asked",
        "nothing";
    Revoked "revoked" Denied Nothing Uncached Nothing
        "the operator revoked the user while the login was under way",
        "log in again, if the user still may";
    AnswersDisagree "answers-disagree" Invalid Nothing Uncached Answered
        "the answers to the key and to the password are about two users, or from two providers",
        "let both answers name the same `user`";
    KeySignatureSha1 "key-signature-sha1" Denied Nothing Uncached Nothing
        "the client signs with SHA-1 (`ssh-rsa`)",
        "use a newer client, or an ed25519 key";
    KeyMalformed "key-malformed" Denied Nothing Uncached Nothing
        "the key is not what its name says",
        "make the key anew";
    KeyRsaTooShort "key-rsa-too-short" Denied Nothing Uncached Nothing
        "the RSA key is too short",
        "make an ed25519 key, or RSA with 3072 bits";
    // The provider said no.
    NotAllowed "not-allowed" Denied PairAndSource Cached Answered
        "the service answered `\"allow\": false`",
        "the service's own words, if any, stand in `detail`";
    EmptyAnswer "empty-answer" Denied PairAndSource Cached Answered
        "the service answered nothing, `null` or `{}`",
        "this is a denial: look into the service's log for this user";
    NoRole "no-role" Denied PairAndSource Cached Answered
        "the answer has neither `allow` nor a `Role` with text",
        "for a denial this is right; otherwise answer `\"allow\": true` or a `Role`";
    StatusDenied "status-denied" Denied Pair Uncached Answered
        "the service answered 401 or 403",
        "is the gateway's own authorization right (`identity.headers`, `identity.sign`)? To \
         refuse a user answer 200 and `{\"allow\": false}`";
    FunctionError "function-error" Denied PairAndSource Uncached Answered
        "the function raised an error of its own",
        "look into the function's log";
    NoUsablePublicKey "no-usable-public-key" Denied Nothing Cached Answered
        "the answer to a key look-up lists no key, or none that can be read",
        "list the user's keys in `publicKeys` (`PublicKeys`), each the line of a `.pub` file; \
         `detail` names those that cannot be read";
    KeyNotListed "key-not-listed" Denied Nothing Uncached Answered
        "the answer lists keys, but not this one",
        "add the line of the key's `.pub` file, without options before it";
    KeyExpired "key-expired" Denied Nothing Uncached Answered
        "the key is listed with an `Expires` in the past",
        "make a new key, or list it with a later time";
    SourceNotInNetworks "source-not-in-networks" Denied PairAndSource Uncached Answered
        "the client's address is in none of the answer's `networks`",
        "add its network, or check that the gateway sees the client's own address";
    // It did not answer.
    Timeout "timeout" Unavailable Nothing Uncached TimedOut
        "no complete answer within `identity.total_timeout_ms`",
        "make the service faster, or raise the setting";
    ConnectTimeout "connect-timeout" Unavailable Nothing Uncached Gone
        "no connection to the service within `identity.connect_timeout_ms`",
        "check the url, DNS and firewalls; see the setting";
    Connect "connect" Unavailable Nothing Uncached Gone
        "no connection to the service",
        "check the url, DNS, firewalls and the service's certificate (`identity.ca_file`)";
    Transport "transport" Unavailable Nothing Uncached Failed
        "the connection broke before the answer was complete",
        "look into the service's log: it may have crashed, or closes connections early";
    Redirect "redirect" Unavailable Nothing Uncached Nothing
        "the service answered with a redirect, which is not followed",
        "set `identity.url` to where it leads";
    Status "status" Unavailable Nothing Uncached Nothing
        "the service answered a status that has no meaning here, such as 204 or 429",
        "answer 200 for yes and for no alike";
    StatusRefused "status-refused" Unavailable Delay Uncached Nothing
        "the service answered 400, 404, 409, 410 or 422",
        "answer 200 for yes and for no alike; to refuse a user answer 200 and `{\"allow\": false}`";
    StatusFailed "status-failed" Unavailable Delay Uncached Failed
        "the service answered 500 or another 5xx",
        "look into the service's log for this user; answer 200 for yes and for no alike";
    StatusGateway "status-gateway" Unavailable Delay Uncached GatewayFailed
        "what stands before the service answered 502, 503 or 504",
        "is the service running? Behind an API Gateway a handler that raises an error answers \
         502 as well";
    AnswerTooLarge "answer-too-large" Unavailable Nothing Uncached Nothing
        "the answer is longer than allowed",
        "answer with less: keys and mappings of this user alone";
    NotJson "not-json" Unavailable Nothing Uncached Nothing
        "the answer is not JSON",
        "is it a login page or a proxy's error? Check the url";
    AnswerEncoded "answer-encoded" Unavailable Nothing Uncached Nothing
        "the answer is compressed, which was not asked for",
        "turn compression off in the service and in what stands before it";
    AwsCredentials "aws-credentials" Unavailable Nothing Uncached Nothing
        "no AWS credentials were found, or AWS does not take them",
        "set `identity.aws_access_key_id` and its secret, or give the machine a role; see the \
         detail";
    FunctionAccessDenied "function-access-denied" Unavailable Nothing Uncached Nothing
        "the gateway may not invoke the function",
        "allow `lambda:InvokeFunction` on it to the gateway's own identity";
    FunctionNotFound "function-not-found" Unavailable Nothing Uncached Nothing
        "Lambda knows no such function or qualifier",
        "check `identity.function`, `identity.qualifier` and `identity.aws_region`";
    FunctionThrottled "function-throttled" Unavailable Nothing Uncached Nothing
        "Lambda has too many invocations at once (429)",
        "reserve concurrency for the function, or raise the account's";
    FunctionCrashed "function-crashed" Unavailable Delay Uncached Failed
        "Lambda ended the function or could not start it; `detail` names the error",
        "look into the function's log; check its handler, time-out and memory";
    BreakerOpen "breaker-open" Unavailable Nothing Uncached Nothing
        "the service did not answer several times in a row, and is left alone for up to 30 seconds",
        "see the reasons of the questions before; `identity.breaker_failures` sets how many";
    ProviderBusy "provider-busy" Unavailable Nothing Uncached Nothing
        "as many questions are under way as the provider may be asked at once, or this source may \
         ask, and none ended in time",
        "make the service faster, or raise `identity.questions_max`; see who asks so much";
    NoTimeLeft "no-time-left" Unavailable Nothing Uncached Nothing
        "the login came too late: an answer might not be there before the connection is cut",
        "log in again; raise `limits.login_grace_seconds`, or lower `identity.total_timeout_ms`";
    Signing "signing" Unavailable Nothing Uncached Nothing
        "the question could not be signed",
        "check the keys of `identity.signing_key_files`";
    FlightLost "flight-lost" Unavailable Nothing Uncached Nothing
        "the question that several logins waited for was lost",
        "log in again; if it repeats, report it";
    // The answer as a whole.
    NotAnObject "not-an-object" Invalid Nothing Uncached Answered
        "the answer is JSON but no object",
        "answer with an object: `{\"allow\": …}`";
    DuplicateKey "duplicate-key" Invalid Nothing Uncached Answered
        "a key stands twice in one object",
        "write each key once";
    TooDeep "too-deep" Invalid Nothing Uncached Answered
        "the answer is nested too deeply",
        "remove what does not belong to the contract";
    TwoContracts "two-contracts" Invalid Nothing Uncached Answered
        "the answer has both `allow` and `Role`",
        "use one of the two contracts";
    UnknownKey "unknown-key" Invalid Nothing Uncached Answered
        "the answer has a key that the plain contract does not know",
        "check its spelling; remove it if it is your own";
    WrongType "wrong-type" Invalid Nothing Uncached Answered
        "a value has another type than the contract says",
        "`detail` names the key and the type";
    KeysInPasswordAnswer "keys-in-password-answer" Invalid Nothing Uncached Answered
        "the answer to a password lists public keys",
        "list keys only for look-ups, or set `identity.accept_keys_with_password = true` once \
         you know that passwords are checked";
    PasswordNotRead "password-not-read" Invalid Nothing Uncached Answered
        "the answer is yes with and without a password that only the header `PasswordBase64` \
         can carry",
        "let the function read `PasswordBase64`, and answer look-ups of users without keys \
         with `{}`";
    AnswerExpired "answer-expired" Invalid Nothing Uncached Answered
        "`expiresAt` is in the past",
        "deny the user, or answer with a time to come";
    ExpiresAt "expires-at" Invalid Nothing Uncached Answered
        "`expiresAt` is no time",
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
        "leave it out for any network";
    Network "network" Invalid Nothing Uncached Answered
        "an entry of `networks` is no network, or an address within one",
        "write `203.0.113.0/24` or `2001:db8::/32`, with no bit set past the prefix; `detail` names \
         the network that was meant";
    // Role and policy.
    Role "role" Invalid Nothing Uncached Answered
        "the role is too long or has a control character",
        "answer with the role's ARN";
    PolicyNotEnforceable "policy-not-enforceable" Invalid Nothing Uncached Answered
        "the answer has a session policy, and only assumed roles can be narrowed by one",
        "set `identity.roles = \"assume\"`: STS then narrows the role by the policy (docs/security.md). \
         Without STS leave the policy out: the mappings confine the session";
    PolicyTooLong "policy-too-long" Invalid Nothing Uncached Answered
        "the policy is longer than STS takes",
        "shorten it: 2048 characters after substitution";
    PolicyNotJson "policy-not-json" Invalid Nothing Uncached Answered
        "the policy is not JSON",
        "check its quotes and escapes";
    PolicyNotAnObject "policy-not-an-object" Invalid Nothing Uncached Answered
        "the policy is JSON but no object",
        "answer with a policy document";
    PolicyVariable "policy-variable" Invalid Nothing Uncached Answered
        "the policy has a variable that cannot be filled in",
        "use the variables that docs/identity-provider.md lists";
    // Mappings and home.
    MappingsMissing "mappings-missing" Invalid Nothing Uncached Answered
        "the answer says yes without a mapping",
        "add `mappings`: `[{\"entry\": \"/\", \"target\": \"/bucket/prefix\"}]`";
    MappingIncomplete "mapping-incomplete" Invalid Nothing Uncached Answered
        "a mapping lacks its entry or its target",
        "give both";
    MappingType "mapping-type" Invalid Nothing Uncached Answered
        "a mapping's type is neither a directory nor a file",
        "write `directory` or `file` (`DIRECTORY`, `FILE`)";
    MappingAccess "mapping-access" Invalid Nothing Uncached Answered
        "a mapping's access is not known",
        "write `read`, `write` or `read-write`";
    MappingTooLong "mapping-too-long" Invalid Nothing Uncached Answered
        "an entry or a target is too long",
        "shorten it to 1024 characters";
    TooManyMappings "too-many-mappings" Invalid Nothing Uncached Answered
        "the answer has too many mappings",
        "map a directory above them";
    EntriesOverlap "entries-overlap" Invalid Nothing Uncached Answered
        "an entry is, or stands below, another one",
        "map each directory once; `/` must be alone";
    EntryNotNormal "entry-not-normal" Invalid Nothing Uncached Answered
        "an entry is no absolute path without `.`, `..` and `//`",
        "write `/in`";
    EntryVariable "entry-variable" Invalid Nothing Uncached Answered
        "an entry has a variable, such as `${transfer:UserName}`; they are filled in in targets alone",
        "write the name itself, or an entry that is the same for all: `/home`";
    TargetNoLeadingSlash "target-no-leading-slash" Invalid Nothing Uncached Answered
        "a target does not begin with `/`",
        "write `/bucket/prefix`";
    TargetTrailingSlash "target-trailing-slash" Invalid Nothing Uncached Answered
        "a target ends with `/`",
        "remove it";
    TargetVariable "target-variable" Invalid Nothing Uncached Answered
        "a target has a variable that is not filled in",
        "use `${transfer:UserName}`";
    UserNameInTarget "user-name-in-target" Invalid Nothing Uncached Answered
        "the user name cannot stand in a target",
        "answer with a `user` that has no `/` and is not `.` or `..`";
    TargetComponent "target-component" Invalid Nothing Uncached Answered
        "a target has an empty, `.` or `..` component or a NUL",
        "write `/bucket/prefix`";
    TargetBucket "target-bucket" Invalid Nothing Uncached Answered
        "a target's bucket is no bucket name",
        "begin the target with the bucket: `/bucket/prefix`";
    FileWithoutKey "file-without-key" Invalid Nothing Uncached Answered
        "a target of type file names a bucket and no key",
        "name the object: `/bucket/key`";
    FileAtRoot "file-at-root" Invalid Nothing Uncached Answered
        "the entry `/` is a file",
        "give the file a name: `/rates.csv`";
    HomeNotNormal "home-not-normal" Invalid Nothing Uncached Answered
        "the home directory is no absolute path without `.`, `..`, `//` and variables",
        "write `/in`; a PATH home is `/bucket/prefix`";
    HomeBucket "home-bucket" Invalid Nothing Uncached Answered
        "the home directory does not begin with the name of a bucket",
        "write `/bucket/prefix`, or map it: `LOGICAL` with `HomeDirectoryDetails`";
    HomeNotInMappings "home-not-in-mappings" Invalid Nothing Uncached Answered
        "the home directory is in no mapping",
        "name an entry, or a directory below or above one";
    HomeType "home-type" Invalid Nothing Uncached Answered
        "`HomeDirectoryType` is not known",
        "write `PATH` or `LOGICAL`";
    EfsTarget "efs-target" Invalid Nothing Uncached Answered
        "the target is on EFS, not on S3",
        "map to a bucket";
    DetailsMissing "details-missing" Invalid Nothing Uncached Answered
        "`LOGICAL` without `HomeDirectoryDetails`",
        "add the mappings, or use `PATH`";
    DetailsTooLong "details-too-long" Invalid Nothing Uncached Answered
        "`HomeDirectoryDetails` is too long",
        "map a directory above them";
    DetailsNotJson "details-not-json" Invalid Nothing Uncached Answered
        "`HomeDirectoryDetails` is no JSON inside its string",
        "check its quotes and escapes";
    DetailsNotAnArray "details-not-an-array" Invalid Nothing Uncached Answered
        "`HomeDirectoryDetails` is no array",
        "write `[{\"Entry\": …, \"Target\": …}]`";
    // Whose credentials a session has at S3.
    RoleMissing "role-missing" Invalid Nothing Uncached Answered
        "roles are mapped or assumed, and the answer names none",
        "answer with a `role` (`Role`), or set `identity.default_role`";
    RoleUnknown "role-unknown" Invalid Nothing Uncached Answered
        "no table `[role.NAME]` has the answer's role",
        "add one, or correct the role; it is compared letter by letter";
    RoleNotAssumable "role-not-assumable" Invalid Nothing Uncached Answered
        "STS does not let the gateway assume the role",
        "the role's trust policy must name the gateway's role as principal, with the external \
         id if there is one, and the gateway needs `sts:AssumeRole` on it (docs/security.md)";
    PolicyMalformed "policy-malformed" Invalid Nothing Uncached Answered
        "STS does not understand the session policy",
        "the detail says where; try the document with IAM's policy simulator";
    PolicyTooLargePacked "policy-too-large-packed" Invalid Nothing Uncached Answered
        "policy and tags together are more than STS takes in its packed form",
        "shorten the policy, or use fewer `sts.tags`";
    SessionTag "session-tag" Invalid Nothing Uncached Answered
        "the user's name cannot stand in a session tag",
        "answer with a `user` of letters, digits, spaces and `_.:/=+-@`, or leave the variable \
         out of `sts.tags`";
    SourceIdentity "source-identity" Invalid Nothing Uncached Answered
        "the user's name cannot stand in a source identity",
        "answer with a `user` of letters, digits and `_+=,.@-` that makes 2 to 64 characters, or \
         leave the variable out of `sts.source_identity`";
    StsRefused "sts-refused" Invalid Nothing Uncached Answered
        "STS refuses the request",
        "the detail says why: a role that is no ARN, or `sts.duration_seconds` above the \
         role's maximum";
    StsCredentials "sts-credentials" Unavailable Nothing Uncached Nothing
        "the gateway's own credentials do not work at STS",
        "check those of `[storage]`, or the AWS chain (service account, instance role)";
    StsUnavailable "sts-unavailable" Unavailable Nothing Uncached Nothing
        "STS did not answer in time, or answered with an error of its own",
        "check `sts.endpoint` and the way there; see `sts.timeout_ms`";
    StsAnswer "sts-answer" Unavailable Nothing Uncached Nothing
        "STS's answer cannot be used",
        "is `sts.endpoint` an STS?";
    // Tokens.
    TokenOnly "token-only" Denied Nothing Cached Nothing
        "the provider takes tokens, and knows no keys of users",
        "log in with a token as the password";
    TokenMalformed "token-malformed" Denied PairAndSource Cached Nothing
        "the password is no signed JWT, or one without an end",
        "`detail` says what is wrong; `exp` must be there, and no claim twice";
    TokenAlgorithm "token-algorithm" Denied PairAndSource Cached Nothing
        "the token is signed in a way that is not allowed",
        "check `identity.token_algorithms`; symmetric ones and `none` are never allowed";
    TokenKey "token-key" Denied Nothing Uncached Answered
        "the token is of a key that is not known, or not for its algorithm",
        "is it of the right issuer? A new key is known after `identity.token_jwks_refetch_seconds`";
    TokenSignature "token-signature" Denied PairAndSource Cached Answered
        "the token was changed, or is of somebody else",
        "get a new token";
    TokenExpired "token-expired" Denied PairAndSource Cached Answered
        "the token's time is over",
        "get a new token; compare the clocks of gateway and issuer";
    TokenNotYetValid "token-not-yet-valid" Denied PairAndSource Cached Answered
        "the token's time has not come",
        "compare the clocks of gateway and issuer; see `identity.token_clock_skew_seconds`";
    TokenIssuer "token-issuer" Denied PairAndSource Cached Answered
        "the token is of another issuer",
        "check `identity.token_issuer` against `iss`, to the last slash";
    TokenAudience "token-audience" Denied PairAndSource Cached Answered
        "the token is for somebody else",
        "check `identity.token_audience` against `aud`; ask the issuer for a token for the gateway";
    TokenUser "token-user" Denied PairAndSource Cached Answered
        "the token is of another user, or does not say of whom",
        "log in with the name in the claim `identity.token_user_claim`, in the same case";
    TokenClaim "token-claim" Invalid Nothing Uncached Answered
        "a claim that the settings refer to is missing, or cannot stand where it is put",
        "`detail` names the claim; see docs/token.md";
    TokenKeys "token-keys" Unavailable Nothing Uncached Gone
        "the keys of tokens cannot be had",
        "check `identity.token_jwks_url`; `detail` says what went wrong";
}
