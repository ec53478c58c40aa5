//! Listeners: tables, short forms, and what is wrong with them.

use super::{GOOD, read, refused};
use crate::config::{Algorithms, Config, ProxyProtocol};

/// Two providers, with what stands at the top and below.
fn two(top: &str, below: &str) -> String {
    format!(
        "state_directory = \"state\"\n{top}[identity]\nproviders = [\"a\", \"b\"]\n\
         [provider.a]\nurl = \"https://a.example.com\"\n\
         [provider.b]\nurl = \"https://b.example.com\"\n{below}"
    )
}

fn shown(config: &Config) -> Vec<String> {
    let all = config.listeners.iter();
    all.map(|one| format!("{} {} {}", one.name, one.listen, one.providers.join("+")))
        .collect()
}

#[test]
fn without_tables_there_is_the_main_one_and_those_of_providers() {
    let config = read(GOOD, &[]).unwrap();
    assert_eq!(shown(&config), ["main 0.0.0.0:2222 "]);
    let config = read(&two("", ""), &[]).unwrap();
    assert_eq!(shown(&config), ["main 0.0.0.0:2222 a+b"]);
    let config = read(&two("", "listen = \"0.0.0.0:2223\"\n"), &[]).unwrap();
    assert_eq!(shown(&config), ["main 0.0.0.0:2222 a", "b 0.0.0.0:2223 b"]);
}

#[test]
fn beside_tables_the_main_one_is_there_if_it_is_written_with_what_no_table_names() {
    let table = "[listener.x]\nlisten = \"127.0.0.1:22\"\n";
    let config = read(&two("", table), &[]).unwrap();
    assert_eq!(shown(&config), ["x 127.0.0.1:22 a+b"]);
    let config = read(&format!("{GOOD}{table}"), &[]).unwrap();
    assert_eq!(shown(&config), ["x 127.0.0.1:22 "]);
    let named = format!("{table}providers = [\"b\", \"a\"]\n");
    let config = read(&two("", &named), &[]).unwrap();
    assert_eq!(shown(&config), ["x 127.0.0.1:22 b+a"], "in its own order");
    let top = "listen = \"0.0.0.0:2222\"\n";
    let one = format!("{table}providers = [\"b\"]\n");
    let config = read(&two(top, &one), &[]).unwrap();
    assert_eq!(shown(&config), ["main 0.0.0.0:2222 a", "x 127.0.0.1:22 b"]);
    let variables = [("PORTCULLIS_LISTENER_Y_LISTEN", "127.0.0.1:23")];
    let config = read(&two(top, &one), &variables).unwrap();
    assert_eq!(config.listeners[2].name, "y");
    assert_eq!(config.listeners[2].providers, ["a", "b"], "shared");
    let off = format!("{one}[listener.y]\nlisten = \"off\"\nproviders = [\"a\"]\n");
    let config = read(&two("", &off.replace("[\"b\"]", "[\"a\", \"b\"]")), &[]).unwrap();
    assert_eq!(shown(&config), ["x 127.0.0.1:22 a+b"]);
}

#[test]
fn no_two_listeners_have_the_same_name() {
    let text = two("listen = \"[::]:22\"\n", "listen = \"[::]:23\"\n");
    let text = text
        .replace("\"b\"", "\"main\"")
        .replace("[provider.b]", "[provider.main]");
    let config = read(&text, &[]).unwrap();
    assert_eq!(
        shown(&config),
        ["main [::]:22 a", "provider.main [::]:23 main"]
    );
    // Only one that the top of the file has is the main one.
    let table = format!("{text}[listener.main]\nlisten = \"[::]:24\"\nproviders = [\"a\"]\n");
    let config = read(&table.replace("listen = \"[::]:22\"\n", ""), &[]).unwrap();
    assert_eq!(
        shown(&config),
        ["provider.main [::]:23 main", "main [::]:24 a"]
    );
}

#[test]
fn a_listener_that_is_off_keeps_its_providers_from_the_main_port() {
    let top = "listen = \"[::]:22\"\n";
    let off = "[listener.x]\nlisten = \"off\"\nproviders = [\"b\"]\n";
    let config = read(&two(top, off), &[]).unwrap();
    assert_eq!(shown(&config), ["main [::]:22 a"]);
    assert_eq!(
        config.warnings,
        ["nobody can log in with [provider.b]: only [listener.x] names it, which is off"]
    );
    let other = format!("{off}[listener.y]\nlisten = \"[::]:23\"\nproviders = [\"a\"]\n");
    let config = read(&two("", &other), &[]).unwrap();
    assert_eq!(shown(&config), ["y [::]:23 a"]);
    assert_eq!(config.warnings.len(), 1);
    // One that another listener names as well is nowhere missing.
    let shared = other.replace("[\"a\"]", "[\"a\", \"b\"]");
    let config = read(&two("", &shared), &[]).unwrap();
    assert_eq!(shown(&config), ["y [::]:23 a+b"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let all = off.replace("[\"b\"]", "[\"a\", \"b\"]");
    let errors = refused(&two(top, &all), &[]);
    assert!(
        errors.contains("one of a [listener.NAME] that is off"),
        "{errors}"
    );
}

#[test]
fn a_table_without_providers_has_those_without_a_port_of_their_own() {
    let own = "listen = \"[::]:23\"\n";
    let table = "[listener.x]\nlisten = \"[::]:22\"\n";
    let config = read(&two("", &format!("{own}{table}")), &[]).unwrap();
    assert_eq!(shown(&config), ["b [::]:23 b", "x [::]:22 a"]);
    let named = format!("{own}{table}providers = [\"b\"]\n[listener.y]\nlisten = \"[::]:24\"\n");
    let config = read(&two("", &named), &[]).unwrap();
    assert_eq!(
        shown(&config),
        ["b [::]:23 b", "x [::]:22 b", "y [::]:24 a"],
        "named it is there as well"
    );
    let every = two("", &format!("{own}{table}"));
    let every = every.replace("[provider.b]", "listen = \"[::]:23\"\n[provider.b]");
    let errors = refused(&every, &[]);
    let expected = "listener.x.providers: missing: every provider has a listen of its own";
    assert!(errors.contains(expected), "{errors}");
    let variables = [("PORTCULLIS_LISTENER_X_PROVIDERS", "")];
    let errors = refused(&two("", table), &variables);
    assert!(
        errors.contains("found none; allowed: at least one name"),
        "{errors}"
    );
    let errors = refused(&format!("{GOOD}{table}providers = []\n"), &[]);
    assert!(
        errors.contains("listener.x.providers: found none"),
        "{errors}"
    );
}

#[test]
fn a_main_port_that_has_no_provider_is_told() {
    let top = "listen = \"[::]:22\"\n";
    let table = "[listener.x]\nlisten = \"[::]:23\"\nproviders = [\"a\", \"b\"]\n";
    let config = read(&two(top, table), &[]).unwrap();
    assert_eq!(shown(&config), ["x [::]:23 a+b"]);
    assert_eq!(
        config.warnings,
        ["listen has no effect: other listeners name every provider"]
    );
    let config = read(&two("", table), &[]).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_a_table_does_not_set_comes_from_the_top_and_pairs_are_not_mixed() {
    let top = "host_key_files = [\"k\"]\nproxy_protocol = \"required\"\n\
        trusted_networks = [\"10.0.0.0/8\"]\n";
    let below = "[ssh]\nhost_key_next_files = [\"n\"]\n[sftp]\nbanner = \"hello\"\n\
        [listener.x]\nlisten = \"127.0.0.1:22\"\n\
        [listener.y]\nlisten = \"127.0.0.1:23\"\nalgorithms = \"compatible\"\nbanner = \"other\"\n\
        host_key_files = [\"l\"]\nproxy_protocol = \"off\"\n";
    let config = read(&two(top, below), &[]).unwrap();
    let [x, y] = &*config.listeners else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(x.host_key_files, ["k"]);
    assert_eq!(x.host_key_next_files, ["n"]);
    assert_eq!(x.proxy, config.proxy);
    assert_eq!(x.algorithms, Algorithms::Modern);
    assert_eq!(x.banner.as_deref(), Some("hello"));
    assert_eq!(y.host_key_files, ["l"]);
    assert!(y.host_key_next_files.is_empty());
    assert_eq!(y.proxy.protocol, ProxyProtocol::Off);
    assert!(y.proxy.trusted_networks.is_empty());
    assert_eq!(y.algorithms, Algorithms::Compatible);
    assert_eq!(y.banner.as_deref(), Some("other"));
    assert_eq!(config.ssh.algorithms, Algorithms::Modern);
}

/// What is written at the top, what in tables, and what is said.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "",
        "[listener.x]\n",
        "listener.x.listen: missing: set listen under [listener.x], or \
         PORTCULLIS_LISTENER_X_LISTEN",
    ),
    (
        "",
        "[listener.x]\nlisten = \"off\"\n",
        "listen: missing: nobody could log in",
    ),
    (
        "",
        "[listener.x]\nlisten = \"127.0.0.1:22\"\nproviders = [\"a\", \"c\", \"a\"]\n",
        "listener.x.providers: \"c\" has no table [provider.c]",
    ),
    (
        "",
        "[listener.x]\nlisten = \"127.0.0.1:22\"\nproviders = [\"b\", \"b\"]\n",
        "listener.x.providers: \"b\" occurs twice",
    ),
    (
        "",
        "[listener.x]\nlisten = \"127.0.0.1:22\"\nproviders = [\"b\"]\n",
        "provider.a: no listener has this provider",
    ),
    (
        TOP,
        "[listener.x]\nlisten = \"127.0.0.1:22\"\nproviders = [\"b\"]\n",
        "listener.x.listen: this is the main port (listen); allowed: another one",
    ),
    (
        "",
        "[listener.x]\nlisten = \"[::]:22\"\n[listener.y]\nlisten = \"[::]:22\"\n",
        "listener.y.listen: this is listener.x.listen as well",
    ),
    (
        TOP,
        "[listener.main]\nlisten = \"127.0.0.1:23\"\nproviders = [\"b\"]\n",
        "listener.main: allowed: another name: listen is the listener \"main\"",
    ),
    (
        "",
        "listen = \"[::]:22\"\n[listener.b]\nlisten = \"[::]:23\"\n",
        "listener.b: allowed: another name: provider.b.listen is the listener \"b\"",
    ),
    (
        "",
        "[listener.x]\nlisten = \"[::]:22\"\nproxy_protocol = \"required\"\n",
        "listener.x.trusted_networks: missing",
    ),
    (
        "",
        "methods = \"key\"\n[listener.x]\nlisten = \"[::]:22\"\n",
        "provider.b.methods: found \"key\"; allowed: \"key-or-password\", as for the other",
    ),
    (
        "",
        "[listener.x]\nlisten = \"[::]:22\"\nrekey_bytes = 1\n",
        "listener.x.rekey_bytes: unknown setting here; it belongs under [ssh]",
    ),
    (
        "",
        "[listener.X-1]\nlisten = \"[::]:22\"\n",
        "listener.X-1: allowed: a name of lower-case letters",
    ),
];

const TOP: &str = "listen = \"127.0.0.1:22\"\n";

#[test]
fn what_is_wrong_with_a_listener_is_said_with_its_name() {
    for (top, below, expected) in WRONG {
        let errors = refused(&two(top, below), &[]);
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    let keys = "[identity]\nurl = \"https://a.example.com\"\n\
        [listener.x]\nlisten = \"[::]:22\"\nhost_key_files = [\"k\"]\n";
    read(keys, &[]).unwrap();
    let errors = refused(&format!("{keys}[listener.y]\nlisten = \"[::]:23\"\n"), &[]);
    assert!(errors.contains("no host key"), "{errors}");
}
