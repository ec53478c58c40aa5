//! What each reason of a refused login means and what to change: for the tester and for
//! `docs/troubleshooting.md`.

mod roles;
mod tokens;

/// One reason, as it stands in the log.
#[derive(Debug, Clone, Copy)]
pub struct Remedy {
    pub reason: &'static str,
    pub cause: &'static str,
    pub change: &'static str,
}

/// Finds what to do about a reason.
#[must_use]
pub fn remedy(reason: &str) -> Option<&'static Remedy> {
    all().find(|remedy| remedy.reason == reason)
}

/// Writes the table of `docs/troubleshooting.md`.
#[must_use]
pub fn document() -> String {
    let row = |remedy: &Remedy| {
        let Remedy {
            reason,
            cause,
            change,
        } = remedy;
        format!("| `{reason}` | {cause} | {change} |\n")
    };
    let rows: String = all().map(row).collect();
    format!("\n| reason | cause | what to change |\n| --- | --- | --- |\n{rows}\n")
}

fn all() -> impl Iterator<Item = &'static Remedy> {
    REMEDIES
        .iter()
        .chain(roles::REMEDIES)
        .chain(tokens::REMEDIES)
}

const fn row(reason: &'static str, cause: &'static str, change: &'static str) -> Remedy {
    Remedy {
        reason,
        cause,
        change,
    }
}

/// Reasons that any provider may have: denied, invalid and unavailable, by where they come from.
const REMEDIES: &[Remedy] = &[
    row(
        "unknown-user",
        "the file of users has no such user",
        "check the name against `[users.NAME]` of identity.users_file",
    ),
    row(
        "no-provider-for-name",
        "no provider is asked about such a name on that port",
        "check `listen`, `user_suffix` and `user_prefix` of the providers (docs/providers.md)",
    ),
    row(
        "no-password",
        "the user of the file has no `password_hash`",
        "add one (`portcullis hash-password`), or log in with a key",
    ),
    row(
        "wrong-password",
        "the password is not the one of the file's hash",
        "check the password; make a new hash with `portcullis hash-password`",
    ),
    row(
        "password-check",
        "the hash could not be computed",
        "see the detail in the log; the machine may be short of memory",
    ),
    // Before anybody is asked.
    row(
        "user-name",
        "the user name breaks the rule of `identity.user_names`",
        "use another name, or set `identity.user_names = \"open\"`",
    ),
    row(
        "password-blank",
        "the password has no visible character; nobody is asked",
        "give a password: many services take a blank one for a key look-up",
    ),
    row(
        "password-too-long",
        "the password is longer than 1024 bytes, or the token longer than 16 KiB",
        "use a shorter one; let the issuer put less into tokens",
    ),
    row(
        "method-not-allowed",
        "`identity.methods` does not allow this way to log in",
        "log in the other way, or change `identity.methods`",
    ),
    row(
        "too-many-attempts",
        "the connection tried too many passwords or keys",
        "connect again; let the client offer fewer keys (`IdentitiesOnly=yes`)",
    ),
    row(
        "key-type-unsupported",
        "the key's type is not supported",
        "make an ed25519, ECDSA or RSA key, with or without hardware",
    ),
    row(
        "key-options-unsupported",
        "the key is listed with options that would not be kept, such as `from=` or `verify-required`",
        "list the key alone; bind users to networks with `networks`",
    ),
    row(
        "locked-out",
        "too many wrong passwords of this user from this source",
        "wait, or `portcullis admin unlock --user NAME`; bounds: `[login]`",
    ),
    row(
        "source-locked-out",
        "too many wrong passwords from this source",
        "wait, or `portcullis admin unlock --source ADDRESS`; a balancer that hides its clients \
         belongs into `login.unthrottled_networks`",
    ),
    row(
        "revoked",
        "the operator revoked the user while the login was under way",
        "log in again, if the user still may",
    ),
    row(
        "answers-disagree",
        "the answers to the key and to the password are about two users, or from two providers",
        "let both answers name the same `user`",
    ),
    row(
        "key-signature-sha1",
        "the client signs with SHA-1 (`ssh-rsa`)",
        "use a newer client, or an ed25519 key",
    ),
    row(
        "key-malformed",
        "the key is not what its name says",
        "make the key anew",
    ),
    row(
        "key-rsa-too-short",
        "the RSA key is too short",
        "make an ed25519 key, or RSA with 3072 bits",
    ),
    // The provider said no.
    row(
        "not-allowed",
        "the service answered `\"allow\": false`",
        "the service's own words, if any, stand in `detail`",
    ),
    row(
        "empty-answer",
        "the service answered nothing, `null` or `{}`",
        "this is a denial: look into the service's log for this user",
    ),
    row(
        "no-role",
        "the answer has neither `allow` nor a `Role` with text",
        "for a denial this is right; otherwise answer `\"allow\": true` or a `Role`",
    ),
    row(
        "status-denied",
        "the service answered 401 or 403",
        "is the gateway's own authorization right (`identity.headers`, `identity.sign`)? To refuse a user answer 200 and `{\"allow\": false}`",
    ),
    row(
        "function-error",
        "the function raised an error of its own",
        "look into the function's log",
    ),
    row(
        "no-usable-public-key",
        "the answer to a key look-up lists no key",
        "list the user's keys in `publicKeys` (`PublicKeys`)",
    ),
    row(
        "key-not-listed",
        "the answer lists keys, but not this one",
        "add the line of the key's `.pub` file, without options before it",
    ),
    row(
        "source-not-in-networks",
        "the client's address is in none of the answer's `networks`",
        "add its network, or check that the gateway sees the client's own address",
    ),
    // It did not answer.
    row(
        "timeout",
        "no complete answer within `identity.total_timeout_ms`, or no connection within `identity.connect_timeout_ms`",
        "make the service faster, or raise the setting",
    ),
    row(
        "connect",
        "no connection to the service",
        "check the url, DNS, firewalls and the service's certificate (`identity.ca_file`)",
    ),
    row(
        "transport",
        "the connection broke before the answer was complete",
        "look into the service's log: it may have crashed, or closes connections early",
    ),
    row(
        "redirect",
        "the service answered with a redirect, which is not followed",
        "set `identity.url` to where it leads",
    ),
    row(
        "status",
        "the service answered another status than 200",
        "answer 200 for yes and for no alike; look into the service's log",
    ),
    row(
        "answer-too-large",
        "the answer is longer than allowed",
        "answer with less: keys and mappings of this user alone",
    ),
    row(
        "not-json",
        "the answer is not JSON",
        "is it a login page or a proxy's error? Check the url",
    ),
    row(
        "answer-encoded",
        "the answer is compressed, which was not asked for",
        "turn compression off for this API",
    ),
    row(
        "aws-credentials",
        "no AWS credentials were found, or AWS does not take them",
        "set `identity.aws_access_key_id` and its secret, or give the machine a role; see the detail",
    ),
    row(
        "function-access-denied",
        "the gateway may not invoke the function",
        "allow `lambda:InvokeFunction` on it to the gateway's own identity",
    ),
    row(
        "function-not-found",
        "Lambda knows no such function or qualifier",
        "check `identity.function`, `identity.qualifier` and `identity.aws_region`",
    ),
    row(
        "function-throttled",
        "Lambda has too many invocations at once (429)",
        "reserve concurrency for the function, or raise the account's",
    ),
    row(
        "function-crashed",
        "Lambda ended the function or could not start it; `detail` names the error",
        "look into the function's log; check its handler, time-out and memory",
    ),
    row(
        "breaker-open",
        "the service did not answer several times in a row, and is left alone for up to 30 seconds",
        "see the reasons of the questions before; `identity.breaker_failures` sets how many",
    ),
    row(
        "signing",
        "the question could not be signed",
        "check the keys of `identity.signing_key_files`",
    ),
    row(
        "flight-lost",
        "the question that several logins waited for was lost",
        "log in again; if it repeats, report it",
    ),
    // The answer as a whole.
    row(
        "not-an-object",
        "the answer is JSON but no object",
        "answer with an object: `{\"allow\": …}`",
    ),
    row(
        "duplicate-key",
        "a key stands twice in one object",
        "write each key once",
    ),
    row(
        "too-deep",
        "the answer is nested too deeply",
        "remove what does not belong to the contract",
    ),
    row(
        "two-contracts",
        "the answer has both `allow` and `Role`",
        "use one of the two contracts",
    ),
    row(
        "unknown-key",
        "the answer has a key that the plain contract does not know",
        "check its spelling; remove it if it is your own",
    ),
    row(
        "wrong-type",
        "a value has another type than the contract says",
        "`detail` names the key and the type",
    ),
    row(
        "keys-in-password-answer",
        "the answer to a password lists public keys",
        "list keys only for look-ups, or set `identity.accept_keys_with_password = true` once you know that passwords are checked",
    ),
    row(
        "password-not-read",
        "the answer is yes with and without a password that only the header `PasswordBase64` can carry",
        "let the function read `PasswordBase64`, and answer look-ups of users without keys with `{}`",
    ),
    row(
        "answer-expired",
        "`expiresAt` is in the past",
        "deny the user, or answer with a time to come",
    ),
    row(
        "expires-at",
        "`expiresAt` is no time",
        "write it as `2026-12-31T00:00:00Z`",
    ),
    row(
        "user",
        "`user` is empty, too long or has a control character",
        "answer with 1 to 100 visible characters",
    ),
    row(
        "too-many-keys",
        "the answer lists too many keys",
        "list fewer",
    ),
    row(
        "key-too-long",
        "a key in the answer is too long",
        "list keys as in their `.pub` file",
    ),
    row(
        "networks-empty",
        "`networks` is an empty array",
        "leave it out for any network",
    ),
    row(
        "network",
        "an entry of `networks` is no network",
        "write `203.0.113.0/24` or `2001:db8::/32`, with no bit set past the prefix",
    ),
    // Role and policy.
    row(
        "role",
        "the role is too long or has a control character",
        "answer with the role's ARN",
    ),
    row(
        "policy-not-enforceable",
        "the answer has a session policy, and only assumed roles can be narrowed by one",
        "leave the policy out: the mappings confine the session",
    ),
    row(
        "policy-too-long",
        "the policy is longer than STS takes",
        "shorten it: 2048 characters after substitution",
    ),
    row(
        "policy-not-json",
        "the policy is not JSON",
        "check its quotes and escapes",
    ),
    row(
        "policy-not-an-object",
        "the policy is JSON but no object",
        "answer with a policy document",
    ),
    row(
        "policy-variable",
        "the policy has a variable that cannot be filled in",
        "use the variables that docs/identity-provider.md lists",
    ),
    // Mappings and home.
    row(
        "mappings-missing",
        "the answer says yes without a mapping",
        "add `mappings`: `[{\"entry\": \"/\", \"target\": \"/bucket/prefix\"}]`",
    ),
    row(
        "mapping-incomplete",
        "a mapping lacks its entry or its target",
        "give both",
    ),
    row(
        "mapping-type",
        "a mapping's type is neither a directory nor a file",
        "write `directory` or `file` (`DIRECTORY`, `FILE`)",
    ),
    row(
        "mapping-access",
        "a mapping's access is not known",
        "write `read`, `write` or `read-write`",
    ),
    row(
        "mapping-too-long",
        "an entry or a target is too long",
        "shorten it to 1024 characters",
    ),
    row(
        "too-many-mappings",
        "the answer has too many mappings",
        "map a directory above them",
    ),
    row(
        "entries-overlap",
        "an entry is, or stands below, another one",
        "map each directory once; `/` must be alone",
    ),
    row(
        "entry-not-normal",
        "an entry is no absolute path without `.`, `..` and `//`",
        "write `/in`",
    ),
    row(
        "target-no-leading-slash",
        "a target does not begin with `/`",
        "write `/bucket/prefix`",
    ),
    row(
        "target-trailing-slash",
        "a target ends with `/`",
        "remove it",
    ),
    row(
        "target-variable",
        "a target has a variable that is not filled in",
        "use `${transfer:UserName}`",
    ),
    row(
        "user-name-in-target",
        "the user name cannot stand in a target",
        "answer with a `user` that has no `/` and is not `.` or `..`",
    ),
    row(
        "target-component",
        "a target has an empty, `.` or `..` component or a NUL",
        "write `/bucket/prefix`",
    ),
    row(
        "target-bucket",
        "a target's bucket is no bucket name",
        "begin the target with the bucket: `/bucket/prefix`",
    ),
    row(
        "file-without-key",
        "a target of type file names a bucket and no key",
        "name the object: `/bucket/key`",
    ),
    row(
        "file-at-root",
        "the entry `/` is a file",
        "give the file a name: `/rates.csv`",
    ),
    row(
        "home-not-normal",
        "the home directory is no absolute path",
        "write `/in`",
    ),
    row(
        "home-not-in-mappings",
        "the home directory is in no mapping",
        "name an entry, or a directory below or above one",
    ),
    row(
        "home-type",
        "`HomeDirectoryType` is not known",
        "write `PATH` or `LOGICAL`",
    ),
    row(
        "efs-target",
        "the target is on EFS, not on S3",
        "map to a bucket",
    ),
    row(
        "details-missing",
        "`LOGICAL` without `HomeDirectoryDetails`",
        "add the mappings, or use `PATH`",
    ),
    row(
        "details-too-long",
        "`HomeDirectoryDetails` is too long",
        "map a directory above them",
    ),
    row(
        "details-not-json",
        "`HomeDirectoryDetails` is no JSON inside its string",
        "check its quotes and escapes",
    ),
    row(
        "details-not-an-array",
        "`HomeDirectoryDetails` is no array",
        "write `[{\"Entry\": …, \"Target\": …}]`",
    ),
];
