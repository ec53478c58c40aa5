//! docs/configuration.md and the example file, out of the table.

use std::fmt::Write as _;

use super::Config;
use super::settings::{
    API_KEYS, Kind, LISTENERS, PROVIDERS, ROLES, SETTINGS, STORES, Setting, is_repeated, variable,
};

/// Returns docs/configuration.md.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    let mut defaults = Config::default();
    let mut section = None;
    for setting in SETTINGS {
        if section != Some(setting.section) {
            section = Some(setting.section);
            let title = title(setting.section);
            let about = about(setting.section);
            push(
                &mut text,
                format_args!("\n## {title}\n\n{about}{TABLE_HEAD}"),
            );
        }
        row(&mut text, setting, &mut defaults);
    }
    text
}

/// The least that a configuration says, for `check-config --print-minimal`.
pub const MINIMAL: &str = "\
# The minimal configuration. Every other setting has a default: check-config --print-default

# The first start generates host keys in this directory.
state_directory = \"state\"

[identity]
# Your service, which decides every login: docs/identity-provider.md
url = \"https://idp.example.com/sftp\"

[storage]
# Credentials come from the AWS chain, unless access_key_id and secret_access_key are set.
region = \"us-east-1\"
";

/// Returns a file with every setting at its default, for `check-config --print-default`.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Every setting with its default. Settings without a default are commented out.\n",
    );
    let mut defaults = Config::default();
    let mut section = "";
    for setting in SETTINGS {
        // A table that may be written many times is there only once it has a name.
        let off = if is_repeated(setting.section) {
            "#"
        } else {
            ""
        };
        if section != setting.section {
            section = setting.section;
            let name = if off.is_empty() { "" } else { ".NAME" };
            push(&mut text, format_args!("\n{off}[{section}{name}]\n"));
        }
        let Setting { key, about, .. } = setting;
        push(&mut text, format_args!("# {about}.\n"));
        match setting.kind.show(&mut defaults) {
            Some(value) if off.is_empty() && !setting.is_without_effect() => {
                push(&mut text, format_args!("{key} = {value}\n"));
            }
            Some(_) | None => push(&mut text, format_args!("#{key} =\n")),
        }
    }
    text
}

fn row(text: &mut String, setting: &Setting, defaults: &mut Config) {
    let Setting {
        key, about, kind, ..
    } = setting;
    let path = if is_repeated(setting.section) {
        format!("{}.NAME.{key}", setting.section)
    } else {
        setting.path()
    };
    let variable = variable(&path);
    // What a listener does not set it has from elsewhere.
    let own = kind
        .show(defaults)
        .filter(|_| setting.section != LISTENERS.section);
    let default = own.map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
    let allowed = if matches!(kind, Kind::Word(_)) {
        kind.allowed().replace(" or ", ", ")
    } else {
        kind.allowed()
    };
    let or_file = match setting.file_key() {
        Some(file_key) => format!(" or `{file_key}`"),
        None => String::new(),
    };
    push(
        text,
        format_args!("| `{key}`{or_file} | `{variable}` | {default} | {allowed} | {about} |\n"),
    );
}

fn title(section: &str) -> String {
    if section.is_empty() {
        "Top of the file".to_owned()
    } else if is_repeated(section) {
        format!("`[{section}.NAME]`")
    } else {
        format!("`[{section}]`")
    }
}

/// Says what holds for a section as a whole.
fn about(section: &str) -> String {
    if section == LISTENERS.section {
        "Several addresses for SSH, each with its own providers, host keys and algorithms: a table for each, \
         with a name of lower-case letters and digits. What a table does not set comes from the top \
         of the file, `[ssh]` and `[sftp]`. `listen` at the top is the listener `main`, for the \
         providers that no other listener names; beside these tables it is open only if it is set. \
         `listen` in `[provider.NAME]` is a listener of that name (of a provider called `main`: \
         `provider.main`). All limits hold for all listeners together.\n\n"
            .to_owned()
    } else if section == PROVIDERS.section {
        let table = PROVIDERS.table;
        let shared: Vec<_> = PROVIDERS
            .shared
            .iter()
            .map(|key| format!("`{key}`"))
            .collect();
        format!(
            "For several providers, write a table `[{table}.NAME]` for each, with a name of lower-case \
             letters and digits. It takes every setting of this section except {}; settings that it \
             does not have come from this section. Variables: `{}`. How the gateway chooses one: \
             [providers](providers.md).\n\n",
            enumerated(&shared),
            variable(&format!("{table}.NAME.url")),
        )
    } else if section == ROLES.section {
        "With `identity.roles = \"map\"`: one table for each role that an answer may have.\n\n"
            .to_owned()
    } else if section == STORES.own {
        let shared = STORES.shared.iter().map(|key| format!("`{key}`"));
        format!(
            "Further stores, each for some buckets ([stores](stores.md)): a table `[{table}.NAME]` \
             for each, with a name of lower-case letters and digits. It takes every setting of \
             `[storage]` except {}, which hold for each store alike, and takes no value from there; and \
             these. Variables: `{}`.\n\n",
            enumerated(&shared.collect::<Vec<_>>()),
            variable(&format!("{}.NAME.endpoint", STORES.table)),
            table = STORES.table,
        )
    } else if section == API_KEYS.section {
        "One table for each access key with which AWS's own tools may call the gateway's part of \
         AWS's API on the admin port ([the commands](service-managed-users.md#the-commands)).\n\n"
            .to_owned()
    } else if section == "sts" {
        "With `identity.roles = \"assume\"`: how the gateway assumes roles ([security](security.md)). It \
         calls STS with the credentials of `[storage]`.\n\n"
            .to_owned()
    } else {
        String::new()
    }
}

/// Returns `a, b and c`.
fn enumerated(words: &[String]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        words => words.concat(),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
}

const TABLE_HEAD: &str = "| setting | variable | default | allowed | what it does |\n\
    | --- | --- | --- | --- | --- |\n";

const INTRODUCTION: &str = "<!-- Generated from src/config/settings.rs: \
REGENERATE=1 cargo test --test documents -->
# Configuration

`portcullis serve --config portcullis.toml` reads a TOML file. Every setting can also be an environment \
variable, which overrides the file. `portcullis check-config --config portcullis.toml` \
reports all mistakes at once, with line and remedy; `check-config --print-minimal` prints a \
minimal file, `--print-default` one with every setting; `check-config --probe s3://bucket/prefix` tests what the store supports, removes \
its test objects, and says what to set under `[storage]`.

- Sizes are bytes, or strings such as `\"8MiB\"` (`KiB`, `MiB`, `GiB`, `TiB`).
- Lists are separated by commas in a variable.
- Secrets can be read from a file instead: write `<setting>_file` with the file's name. \
Trailing white space in the file is ignored. Changed files are reloaded \
([operations](operations.md#secrets-in-files)).
- Defaults adapt to settings: with `connections_max = 10` you do not have to lower the other \
limits on connections.
- Unknown settings and unknown `PORTCULLIS_…` variables are errors, except those that Kubernetes \
sets for a Service of that name (`PORTCULLIS_PORT`, `PORTCULLIS_SERVICE_HOST`, …).
";
