use super::*;

mod identity;
mod listeners;
mod stores;

const GOOD: &str = "state_directory = \"state\"\n[identity]\nurl = \"https://idp.example.com/\"\n";

fn read(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let files = |name: &str| match name {
        "secret.txt" => Ok("from-a-file\n".to_owned()),
        "headers.txt" => Ok("Authorization: Bearer tok\n".to_owned()),
        "ca.pem" => Ok("-----BEGIN CERTIFICATE-----".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    Config::from_sources(Some(toml), &environment, &files, Purpose::Serve)
}

fn refused(toml: &str, environment: &[(&str, &str)]) -> String {
    read(toml, environment).unwrap_err().to_string()
}

#[test]
fn defaults_hold_where_nothing_is_written() {
    let config = read(GOOD, &[]).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.listen.to_string(), "0.0.0.0:2222");
    assert_eq!(config.admin.listen.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(config.admin.probe_listen, None);
    assert_eq!(config.identity.cache.allowed_for, Duration::ZERO);
    assert_eq!(config.storage.capabilities, Capabilities::all());
}

#[test]
fn the_largest_object_is_aws_own_or_that_of_other_stores_or_what_is_said() {
    let with = |lines: &str| read(&format!("{GOOD}[storage]\n{lines}"), &[]);
    let most = |lines: &str| with(lines).unwrap().limits.object_bytes_max >> 30;
    let elsewhere = "endpoint = \"https://s3.example.com\"\n";
    assert_eq!(most(""), 50_000);
    assert_eq!(most(elsewhere), 5 * 1_024);
    let said = "object_bytes_max = \"9TiB\"\n";
    assert_eq!(most(&format!("{elsewhere}{said}")), 9 * 1_024);
    assert_eq!(most("object_bytes_max = \"5GiB\"\n"), 5);
    for (found, allowed) in [
        ("\"4MiB\"", "allowed: 0, or at least 5MiB"),
        ("1", "allowed: 0, or at least 5MiB"),
        ("\"49TiB\"", "allowed: 0 to 50000GiB"),
    ] {
        let error = with(&format!("object_bytes_max = {found}\n")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("storage.object_bytes_max"), "{error}");
        assert!(error.contains(allowed), "{error}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = format!("{GOOD}[limits]\npart_bytes = \"16MiB\"\nhandles_per_session_max = 7\n");
    let environment = [
        ("PORTCULLIS_LIMITS_PART_BYTES", "33554432"),
        ("PORTCULLIS_ADMIN_LISTEN", "off"),
        ("PORTCULLIS_HOST_KEY_FILES", "a, b"),
        ("PORTCULLIS_STORAGE_PATH_STYLE", "true"),
        ("PORTCULLIS_IDENTITY_EVENT", "transfer-family"),
    ];
    let config = read(&text, &environment).unwrap();
    assert_eq!(config.limits.part_bytes, 32 << 20);
    assert_eq!(config.limits.handles_per_session_max, 7);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.host_key_files, ["a", "b"]);
    assert!(config.storage.path_style);
    let ProviderSettings::Webhook(webhook) = &config.identity.settings else {
        panic!("{config:?}")
    };
    assert_eq!(webhook.event, Event::TransferFamily);
}

#[test]
fn health_checks_have_a_port_of_their_own_or_none() {
    let with = |lines: &str| read(&format!("{GOOD}[admin]\n{lines}"), &[]);
    let config = with("probe_listen = \"0.0.0.0:9091\"\n").unwrap();
    assert_eq!(config.admin.probe_listen.unwrap().port(), 9091);
    let same = with("probe_listen = \"127.0.0.1:9090\"\n").unwrap_err();
    let text = same.to_string();
    assert!(
        text.contains("admin.probe_listen: found the address of admin.listen"),
        "{text}"
    );
    // Without the operator's port there is nothing to be the same as.
    with("listen = \"off\"\nprobe_listen = \"127.0.0.1:9090\"\n").unwrap();
}

#[test]
fn aws_tools_have_a_port_with_tls_or_say_that_they_need_none() {
    let keys = "[api_key.a]\naccess_key_id = \"A\"\nsecret_access_key = \"b\"\n";
    let with = |lines: &str, keys: &str| read(&format!("{GOOD}[admin]\n{lines}{keys}"), &[]);
    let (local, open) = (
        "api_listen = \"127.0.0.1:9443\"\n",
        "api_listen = \"[::]:9443\"\n",
    );
    let config = with(local, keys).unwrap();
    assert_eq!(config.admin.api_listen.unwrap().port(), 9443);
    with(&format!("listen = \"off\"\n{local}"), keys).unwrap();
    with(&format!("{open}api_plaintext = true\n"), keys).unwrap();
    let key = "api_certificate_key = \"k\"\n";
    for (lines, keys, said) in [
        (
            open,
            keys,
            "admin.api_listen: missing: api_certificate_file and",
        ),
        (
            local,
            "",
            "admin.api_listen: has no effect without an access key",
        ),
        (
            "api_listen = \"127.0.0.1:9090\"\n",
            keys,
            "admin.api_listen: found the address",
        ),
        (
            &*format!("{local}{key}"),
            keys,
            "admin.api_certificate_file: missing",
        ),
        (
            key,
            keys,
            "admin.api_certificate_key: has no effect without admin.api_listen",
        ),
        (
            "api_plaintext = true\n",
            keys,
            "admin.api_plaintext: has no effect without",
        ),
        ("listen = \"off\"\n", keys, "api_key.a: has no effect"),
    ] {
        let text = with(lines, keys).unwrap_err().to_string();
        assert!(text.contains(said), "{lines}: {text}");
    }
}

#[test]
fn each_provider_has_its_own_settings() {
    let with = |identity: &str| {
        let text = format!("state_directory = \"s\"\n[identity]\n{identity}");
        read(&text, &[]).map_err(|errors| errors.to_string())
    };
    let file = "provider = \"static\"\nusers_file = \"users.toml\"\n";
    let config = with(file).unwrap();
    assert_eq!(config.identity.provider(), Provider::Static);
    let ProviderSettings::Static(settings) = &config.identity.settings else {
        panic!("{config:?}")
    };
    assert_eq!(settings.users_file, "users.toml");
    for (more, key) in [
        ("url = \"https://idp/\"", "identity.url"),
        ("headers = { a = \"b\" }", "identity.headers"),
        ("ca_file = \"ca.pem\"", "identity.ca_file"),
        ("cache_seconds = 5", "identity.cache_seconds"),
    ] {
        let message = with(&format!("{file}{more}\n")).unwrap_err();
        let expected = format!("configuration:5: {key}: unknown with provider = \"static\"");
        assert!(message.starts_with(&expected), "{message}");
    }
    let message = with("users_file = \"u\"\nurl = \"https://idp/\"\n").unwrap_err();
    assert!(
        message.contains(
            "identity.users_file: unknown with provider = \"webhook\"; it belongs to provider = \
             \"static\""
        ),
        "{message}"
    );
    let message = with("provider = \"static\"\n").unwrap_err();
    assert!(
        message.contains("PORTCULLIS_IDENTITY_USERS_FILE"),
        "{message}"
    );
}

#[test]
fn a_blank_password_can_be_left_out_of_transfer_familys_event_alone() {
    let with = |identity: &str| {
        let text = format!(
            "state_directory = \"s\"\n[identity]\nomit_blank_password = true\nurl = \"https://a/\"\n{identity}"
        );
        read(&text, &[]).map_err(|errors| errors.to_string())
    };
    assert!(with("event = \"transfer-family\"").is_ok());
    let key = "identity.omit_blank_password";
    let message = with("").unwrap_err();
    let expected = format!("{key}: has no effect; set event = \"transfer-family\"");
    assert!(message.contains(&expected), "{message}");
    let message = with("provider = \"api-gateway\"").unwrap_err();
    let expected = format!(
        "{key}: unknown with provider = \"api-gateway\"; it belongs to provider = \"webhook\" or \
         \"lambda\""
    );
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn providers_of_aws_need_what_they_need_and_nothing_else() {
    let with = |identity: &str| {
        let text = format!("state_directory = \"s\"\n[identity]\n{identity}");
        read(&text, &[]).map_err(|errors| errors.to_string())
    };
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:idp";
    let lambda = format!("provider = \"lambda\"\nfunction = \"{arn}\"\n");
    let api = "provider = \"api-gateway\"\nurl = \"https://a/prod\"\n";
    let config = with(&lambda).unwrap();
    assert_eq!(config.identity.provider(), Provider::Lambda);
    assert!(with(api).is_ok());
    let keys = "aws_access_key_id = \"AK\"\naws_secret_access_key = \"S\"\n";
    assert!(with(&format!("{lambda}{keys}ca_file = \"ca.pem\"")).is_ok());
    assert!(with(&format!("{api}{keys}sign = \"aws\"")).is_ok());
    let clear = "aws_endpoint = \"http://localstack:4566\"";
    for (text, expected) in [
        ("provider = \"lambda\"", "identity.function: missing"),
        (
            "provider = \"lambda\"\nfunction = \"idp\"",
            "identity.aws_region: missing",
        ),
        (
            &format!("{lambda}url = \"https://a/\""),
            "identity.url: unknown with provider = \"lambda\"",
        ),
        (
            &format!("{lambda}sign = \"aws\""),
            "identity.sign: unknown with provider = \"lambda\"",
        ),
        (
            &format!("{lambda}headers = {{ a = \"b\" }}"),
            "identity.headers: unknown with provider = \"lambda\"",
        ),
        (
            &format!("{lambda}{clear}"),
            "passwords would be sent to localstack",
        ),
        (
            &format!("{lambda}aws_access_key_id = \"AK\""),
            "aws_secret_access_key: missing",
        ),
        (
            &format!("{lambda}aws_session_token = \"T\""),
            "aws_session_token: has no effect",
        ),
        ("provider = \"api-gateway\"", "identity.url: missing"),
        (
            &format!("{api}function = \"idp\""),
            "identity.function: unknown with provider = \"api-gateway\"",
        ),
        (&format!("{api}{keys}"), "set sign = \"aws\" as well"),
        (
            &format!("{api}event = \"transfer-family\""),
            "identity.event: unknown with provider = \"api-gateway\"",
        ),
        (
            "provider = \"api-gateway\"\nurl = \"http://a/\"",
            "would be sent to a unencrypted",
        ),
        (
            "url = \"https://a/\"\nqualifier = \"x\"",
            "it belongs to provider = \"lambda\"",
        ),
        (
            "url = \"https://a/\"\nsign = \"aws\"",
            "it belongs to provider = \"api-gateway\"",
        ),
    ] {
        let message = with(text).unwrap_err();
        assert!(message.contains(expected), "{text}\n{message}");
    }
}

#[test]
fn what_all_providers_share_may_be_of_use_to_some() {
    let text = "state_directory = \"s\"\n[identity]\nproviders = [\"a\", \"b\"]\n\
        aws_region = \"eu-west-1\"\nheaders = { a = \"b\" }\n\
        [provider.a]\nprovider = \"lambda\"\nfunction = \"idp\"\n\
        [provider.b]\nurl = \"https://b/\"\n";
    assert!(read(text, &[]).is_ok());
    let message = refused(&format!("{text}qualifier = \"live\"\n"), &[]);
    let expected = "provider.b.qualifier: unknown with provider = \"webhook\"; it belongs to \
                    provider = \"lambda\"";
    assert!(message.contains(expected), "{message}");
    let text = text.replace("[provider.a]", "token_issuer = \"https://i\"\n[provider.a]");
    let message = refused(&text, &[]);
    let expected = "identity.token_issuer: no [provider.NAME] takes it; it belongs to provider = \
                    \"token\"";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let text = format!(
        "{GOOD}headers_file = \"headers.txt\"\nca_file = \"ca.pem\"\n\
        [storage]\naccess_key_id = \"AK\"\nsecret_access_key_file = \"secret.txt\"\n"
    );
    let config = read(&text, &[]).unwrap();
    let secret = config.storage.secret_access_key.as_ref().unwrap();
    assert_eq!(secret.expose(), "from-a-file");
    let ProviderSettings::Webhook(webhook) = &config.identity.settings else {
        panic!("{config:?}")
    };
    let (name, value) = webhook.headers.first().unwrap();
    assert_eq!(
        (name.as_str(), value.expose()),
        ("Authorization", "Bearer tok")
    );
    assert!(webhook.ca_pem.as_deref().unwrap().starts_with("-----BEGIN"));
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("from-a-file") && !shown.contains("tok\""),
        "{shown}"
    );
}

#[test]
fn an_empty_variable_is_no_secret() {
    let environment = [
        ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", ""),
        ("PORTCULLIS_STORAGE_ENDPOINT", ""),
    ];
    let config = read(GOOD, &environment).unwrap();
    assert!(config.storage.secret_access_key.is_none());
    assert_eq!(config.storage.endpoint, None);
}

#[test]
fn refused_secrets_are_not_quoted() {
    for text in [
        "[storage]\nsecret_access_key = [\"hunter2\"]",
        "[storage]\nsecret_access_key = 1\nsession_token = \"hunter2\"",
        "[identity]\nheaders = { \"hun ter\" = \"hunter2\" }",
        "[identity]\nheaders = \"hunter2\"",
        "[identity]\nurl = \"https://ann:hunter2@host/\"",
        "[storage]\nsecret_access_key = \"hunter2",
        "[storage]\nsecret_access_key = hunter2",
    ] {
        let message = refused(text, &[]);
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_place_and_remedy() {
    let text = "lisen = \"0.0.0.0:22\"\n\n[identity]\nurl = \"http://idp.example.com\"\n\
        connect_timeout_ms = \"fast\"\nevent = \"aws\"\n[limits]\npart_bytes = \"1MiB\"\n[nosuch]\nx = 1\n";
    let message = refused(text, &[("PORTCULLIS_LOG_FROMAT", "json")]);
    let lines: Vec<_> = message.lines().collect();
    for expected in [
        "configuration:1: lisen: unknown setting; did you mean listen?",
        "configuration:4: identity.url: passwords would be sent to idp.example.com unencrypted; \
            allowed: https://, or plaintext = true",
        "configuration:5: identity.connect_timeout_ms: found \"fast\"; \
            allowed: 1 to 600000 milliseconds",
        "configuration:6: identity.event: found \"aws\"; allowed: \"plain\" or \"transfer-family\"",
        "configuration:8: limits.part_bytes: found \"1MiB\"; allowed: 5MiB to 5GiB",
        "configuration:9: [nosuch]: unknown section; allowed: [admin], [api_key], [identity], [limits], [listener], [log], \
            [login], [provider], [role], [sftp], [ssh], [storage], [store], [sts]",
        "PORTCULLIS_LOG_FROMAT (PORTCULLIS_LOG_FROMAT): unknown setting; \
            did you mean PORTCULLIS_LOG_FORMAT?",
    ] {
        assert!(lines.contains(&expected), "{expected}\n---\n{message}");
    }
    assert!(message.contains("host_key_files: no host key"), "{message}");
}

#[test]
fn what_cannot_work_together_is_refused() {
    for (text, part) in [
        (
            "[sftp]\nmtime = \"copy\"\nstat_times = \"store\"",
            "sftp.stat_times: found \"store\"; allowed: kept",
        ),
        (
            "[sftp]\nmodes = \"keep\"\nstat_times = \"store\"",
            "sftp.stat_times: found \"store\"; allowed: kept, unless modes",
        ),
        (
            "[storage]\nencryption = \"kms\"",
            "storage.kms_key_id: missing",
        ),
        (
            "[storage]\nkms_key_id = \"k\"",
            "storage.kms_key_id: has no effect",
        ),
        (
            "[storage]\naccess_key_id = \"AK\"",
            "storage.secret_access_key: missing",
        ),
        (
            "[storage]\nsession_token = \"t\"",
            "storage.session_token: has no effect",
        ),
        (
            "[storage]\nendpoint = \"localhost:9000\"",
            "storage.endpoint: does not begin with https:// or http://; allowed",
        ),
        (
            "[storage]\nsession_token = \"t\"\nsession_token_file = \"secret.txt\"",
            "not both",
        ),
        (
            "[storage]\nca_file = \"gone\"",
            "cannot read \"gone\": no such file",
        ),
        (
            "[limits]\nkeepalive_interval_seconds = 5",
            "keep-alives start after the login",
        ),
        (
            "[limits]\nconnections_max = 10\nconnections_per_source_max = 11",
            "limits.connections_per_source_max: found 11; allowed: up to limits.connections_max, which is 10",
        ),
        (
            "cache_stale_seconds = 60",
            "has no effect while cache_seconds is 0",
        ),
        (
            "[limits]\nconnections_max = -1",
            "found a number that is negative",
        ),
        (
            "[limits]\nconnections_max = 0",
            "found 0; allowed: 1 to 1000000",
        ),
        (
            "total_timeout_ms = 8000\n[limits]\nlogin_grace_seconds = 8",
            "identity.total_timeout_ms",
        ),
    ] {
        let message = refused(&format!("{GOOD}{text}\n"), &[]);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn a_default_gives_way_to_what_was_written() {
    for text in [
        "[limits]\nconnections_max = 3",
        "[limits]\nupload_memory_bytes_max = \"6MiB\"\ndownload_memory_bytes_max = \"4MiB\"",
        "[limits]\nlogin_grace_seconds = 5",
        "[limits]\nlogin_grace_seconds = 600",
        "[storage]\nretry_timeout_seconds = 2",
        "total_timeout_ms = 400",
    ] {
        let read = read(&format!("{GOOD}{text}\n"), &[]);
        assert!(read.is_ok(), "{text}: {read:?}");
    }
    let providers = "state_directory = \"s\"\n[identity]\nproviders = [\"a\"]\n\
        [limits]\nlogin_grace_seconds = 5\n[provider.a]\nurl = \"https://idp.example.com/\"\n";
    let config = read(providers, &[]).unwrap();
    assert_eq!(config.providers[0].identity.total_timeout.as_secs(), 3);
    let written = format!("{providers}total_timeout_ms = 6000\n");
    assert!(refused(&written, &[]).contains("provider.a.total_timeout_ms"));
}

#[test]
fn who_only_tries_a_login_needs_no_host_key() {
    let toml = GOOD.strip_prefix("state_directory = \"state\"\n").unwrap();
    let none = BTreeMap::new();
    let unread = |_: &str| Err(io::Error::other("not read"));
    let read = |purpose| Config::from_sources(Some(toml), &none, &unread, purpose);
    assert!(read(Purpose::Login).is_ok());
    let refused = read(Purpose::Serve).unwrap_err().to_string();
    assert!(refused.contains("no host key"), "{refused}");
}

#[test]
fn plaintext_is_for_loopback_or_on_purpose() {
    let with = |url: &str, more: &str| {
        read(
            &format!("state_directory = \"s\"\n[identity]\nurl = \"{url}\"\n{more}"),
            &[],
        )
    };
    for url in [
        "http://127.0.0.1:8000",
        "http://localhost/x",
        "http://[::1]:8000/",
    ] {
        assert!(with(url, "").is_ok(), "{url}");
    }
    assert!(with("http://localhost.example.com", "").is_err());
    assert!(with("http://idp", "plaintext = true").is_ok());
}

#[test]
fn kubernetes_variables_are_no_settings() {
    let links = [
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
        ("PORTCULLIS_SERVICE_PORT_SFTP", "22"),
        ("PORTCULLIS_PORT", "tcp://10.0.0.1:22"),
        ("PORTCULLIS_PORT_22_TCP_ADDR", "10.0.0.1"),
        ("PORTCULLIS_ADMIN_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
    ];
    assert!(read(GOOD, &links).is_ok());
}

#[test]
fn the_example_is_a_file_that_lacks_only_what_has_no_default() {
    let message = refused(&example(), &[]);
    let lines: Vec<_> = message
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["configuration", "identity.url"], "{message}");
}

#[test]
fn no_two_settings_share_a_variable() {
    let mut names: Vec<_> = settings::SETTINGS
        .iter()
        .map(|setting| settings::variable(&setting.path()))
        .collect();
    names.sort();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}

#[test]
fn whoever_is_believed_about_addresses_is_named() {
    let main =
        |top: &str| read(&format!("{top}\n{GOOD}"), &[]).map_err(|errors| errors.to_string());
    let required = "proxy_protocol = \"required\"\n";
    let networks = "trusted_networks = [\"10.0.0.0/8\"]\n";
    let config = main(&[required, networks].concat()).unwrap();
    assert_eq!(config.proxy.protocol, ProxyProtocol::Required);
    assert_eq!(config.proxy.trusted_networks, ["10.0.0.0/8"]);
    assert!(main("proxy_protocol = \"ignore\"").is_ok());
    for (top, complaint) in [
        (required, "trusted_networks: missing"),
        (networks, "trusted_networks: has no effect"),
        ("proxy_protocol = \"v2\"", "proxy_protocol"),
    ] {
        let found = main(top).unwrap_err();
        assert!(found.contains(complaint), "{found}");
    }
    let alone = format!("{GOOD}{required}{networks}");
    assert!(refused(&alone, &[]).contains("only in a table [provider.NAME]"));

    let ports = |a: &str, b: &str| {
        let text = format!(
            "state_directory = \"s\"\n[identity]\nproviders = [\"a\", \"b\"]\n\
             url = \"https://idp.example.com/\"\n[provider.a]\n{a}\n[provider.b]\n{b}\n"
        );
        read(&text, &[]).map_err(|errors| errors.to_string())
    };
    let own = "listen = \"0.0.0.0:2223\"\n";
    let behind = [own, required, networks].concat();
    let config = ports("", &behind).unwrap();
    assert_eq!(config.proxy, Proxy::default());
    assert_eq!(
        config.providers[1].identity.proxy.trusted_networks,
        ["10.0.0.0/8"]
    );
    assert!(ports(&behind, &behind).is_ok());
    for (a, b, complaint) in [
        (
            "",
            &*[required, networks].concat(),
            "provider.b.proxy_protocol: has an effect only",
        ),
        (
            "",
            &[own, required].concat(),
            "provider.b.trusted_networks: missing",
        ),
        (&behind, own, "provider.b.proxy_protocol: allowed: the same"),
    ] {
        let found = ports(a, b).unwrap_err();
        assert!(found.contains(complaint), "{found}");
    }
}
