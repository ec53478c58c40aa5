//! Several providers, roles, tokens, and what proves a question.

use super::{GOOD, read, refused};
use crate::config::{PathHomes, ProviderSettings};

#[test]
fn a_provider_takes_from_identity_what_its_table_does_not_set() {
    let text = "state_directory = \"state\"\n\
        [identity]\nproviders = [\"b\", \"a\"]\ntotal_timeout_ms = 4321\n\
        [provider.a]\nurl = \"https://a.example.com\"\nserver_id = \"s-a\"\n\
        [provider.b]\nprovider = \"static\"\n";
    let variables = [("PORTCULLIS_PROVIDER_B_USERS_FILE", "users.toml")];
    let config = read(text, &variables).unwrap();
    let [b, a] = &*config.providers else {
        panic!("{:?}", config.providers)
    };
    assert_eq!((&*a.name, &*b.name), ("a", "b"));
    let ProviderSettings::Webhook(webhook) = &a.identity.settings else {
        panic!("{a:?}")
    };
    assert_eq!(webhook.url, "https://a.example.com");
    assert_eq!(a.identity.server_id.as_deref(), Some("s-a"));
    assert_eq!(a.identity.total_timeout.as_millis(), 4321);
    let ProviderSettings::Static(users) = &b.identity.settings else {
        panic!("{b:?}")
    };
    assert_eq!(users.users_file, "users.toml");
}

#[test]
fn what_is_wrong_with_one_provider_of_several_is_said_with_its_name() {
    let text = "state_directory = \"state\"\n\
        [identity]\nproviders = [\"a\", \"c\"]\n\
        [provider.a]\nulr = \"x\"\n\
        [provider.b]\nlisten = \"0.0.0.0:2222\"\nmethods = \"key\"\n\
        [provider.Not-plain]\n[role]\narn = \"x\"\n";
    let errors = refused(text, &[]);
    for expected in [
        "provider.a.ulr: unknown setting",
        "provider.a.url: missing: set url under [provider.a], or PORTCULLIS_PROVIDER_A_URL",
        "identity.providers: \"c\" has no table [provider.c]",
        "identity.providers: \"b\" is missing",
        "provider.b.listen: this is the main port",
        "provider.Not-plain: allowed: a name",
        "role.arn: allowed: tables, for example [role.main]",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn a_second_access_key_is_whole_and_has_a_first() {
    let pair = "access_key_id = \"AK\"\nsecret_access_key = \"s\"";
    for (text, part) in [
        (
            format!("[storage]\n{pair}\naccess_key_id_next = \"AL\""),
            "storage.secret_access_key_next: missing",
        ),
        (
            format!("[storage]\n{pair}\nsecret_access_key_next = \"t\""),
            "storage.access_key_id_next: missing",
        ),
        (
            "[storage]\naccess_key_id_next = \"AL\"\nsecret_access_key_next = \"t\"".to_owned(),
            "storage.access_key_id_next: has no effect",
        ),
        (
            format!("roles = \"map\"\n[role.a]\narn = \"r\"\n{pair}\naccess_key_id_next = \"AL\""),
            "role.a.secret_access_key_next: missing",
        ),
    ] {
        let errors = refused(&format!("{GOOD}{text}"), &[]);
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

#[test]
fn only_a_role_of_the_users_own_may_stand_for_the_confinement_of_a_path_home() {
    let roles = "[role.a]\narn = \"r\"\naccess_key_id = \"AK\"\nsecret_access_key = \"s\"";
    for (text, found) in [
        ("path_homes = \"role\"".to_owned(), "gateway"),
        (
            format!("roles = \"map\"\npath_homes = \"role\"\n{roles}"),
            "map",
        ),
    ] {
        let errors = refused(&format!("{GOOD}{text}"), &[]);
        let expected = format!(
            "identity.path_homes: with \"role\" only the user's own role confines a session: \
             allowed only with roles = \"assume\", found roles = {found:?}"
        );
        assert!(errors.contains(&expected), "{errors}");
    }
    let config = read(
        &format!("{GOOD}roles = \"assume\"\npath_homes = \"role\""),
        &[],
    );
    assert_eq!(config.unwrap().identity.path_homes, PathHomes::Role);
}

#[test]
fn whose_credentials_sessions_have_is_complete_and_has_nothing_to_no_effect() {
    for (text, part) in [
        ("roles = \"map\"", "identity.roles: \"map\" needs a table"),
        (
            "roles = \"map\"\n[role.a]\narn = \"r\"\naccess_key_id = \"AK\"",
            "role.a.secret_access_key: missing",
        ),
        (
            "roles = \"map\"\n[role.a]\nsession_token = \"t\"",
            "role.a.arn: missing",
        ),
        (
            "roles = \"map\"\ndefault_role = \"x\"\n[role.a]\narn = \"r\"",
            "identity.default_role: no table",
        ),
        (
            "roles = \"map\"\n[role.a]\narn = \"r\"\n[role.b]\narn = \"r\"",
            "role.b.arn: another table",
        ),
        (
            "[role.a]\narn = \"r\"",
            "role: has no effect; set roles = \"map\"",
        ),
        (
            "default_role = \"x\"",
            "identity.default_role: has no effect",
        ),
        (
            "[sts]\nexternal_id = \"x\"",
            "sts.external_id: has no effect",
        ),
        (
            "roles = \"assume\"\n[storage]\nendpoint = \"https://s3.example.com\"",
            "sts.endpoint: missing: storage.endpoint requires it",
        ),
        (
            "roles = \"assume\"\n[sts]\nendpoint = \"http://sts.example.com\"",
            "sts.endpoint: keys would be sent unencrypted",
        ),
        (
            "roles = \"assume\"\n[sts]\ntags = [\"x\"]",
            "sts.tags: found \"x\"",
        ),
        (
            "roles = \"assume\"\n[sts]\ntags = [\"a=1\", \"a=2\"]",
            "sts.tags: \"a\" occurs twice",
        ),
        (
            "roles = \"assume\"\n[sts]\ntransitive_tags = [\"a\"]",
            "sts.transitive_tags: \"a\" is not a key",
        ),
        (
            "roles = \"assume\"\n[sts]\nsource_identity = \"the gateway\"",
            "sts.source_identity: found \"the gateway\"; allowed: 2 to 64",
        ),
        (
            "roles = \"assume\"\n[sts]\nduration_seconds = 60",
            "sts.duration_seconds: found 60; allowed: 900 to 43200",
        ),
        (
            "roles = \"assume\"\n[sts]\ntimeout_ms = 60000",
            "sts.timeout_ms: found 60000; allowed",
        ),
    ] {
        let message = refused(&format!("{GOOD}{text}\n"), &[]);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn roles_can_be_mapped_and_assumed() {
    let good = format!(
        "{GOOD}roles = \"assume\"\ndefault_role = \"arn:aws:iam::1:role/r\"\n[sts]\nexternal_id = \"x\"\n\
        tags = [\"user=${{transfer:UserName}}\"]\ntransitive_tags = [\"user\"]\n"
    );
    let config = read(&good, &[]).unwrap();
    assert_eq!(config.sts.tags, ["user=${transfer:UserName}"]);
    let good = format!(
        "{GOOD}roles = \"map\"\n[role.a]\narn = \"r\"\naccess_key_id = \"AK\"\n\
        secret_access_key_file = \"secret.txt\"\n"
    );
    assert_eq!(read(&good, &[]).unwrap().roles[0].name, "a");
}

#[test]
fn a_token_provider_names_issuer_audience_and_keys_and_no_symmetric_algorithm() {
    let with = |identity: &str| {
        let text = format!("state_directory = \"s\"\n[identity]\nprovider = \"token\"\n{identity}");
        read(&text, &[]).map_err(|errors| errors.to_string())
    };
    let good = "token_jwks_url = \"https://login/keys\"\ntoken_issuer = \"https://login\"\n\
        token_audience = \"sftp\"\ntoken_mappings = [\"/=/b/{tenant}\"]\n";
    let config = with(good).unwrap();
    let ProviderSettings::Token(token) = &config.identity.settings else {
        panic!("{config:?}")
    };
    assert_eq!(token.algorithms, ["RS256", "ES256", "EdDSA"]);
    let message = with("").unwrap_err();
    for key in ["jwks_url", "issuer", "audience", "mappings"] {
        assert!(message.contains(&format!("set token_{key}")), "{message}");
    }
    for (more, key) in [
        (
            "token_algorithms = [\"ES256\", \"HS256\"]",
            "token_algorithms",
        ),
        ("token_algorithms = [\"none\"]", "token_algorithms"),
        ("token_algorithms = []", "token_algorithms"),
        ("token_jwks_file = \"keys\"", "token_jwks_file"),
        ("methods = \"key\"", "methods"),
        ("methods = \"key-and-password\"", "methods"),
        ("url = \"https://idp/\"", "url"),
        ("total_timeout_ms = 600000", "total_timeout_ms"),
    ] {
        let message = with(&format!("{good}{more}\n")).unwrap_err();
        assert!(message.contains(&format!("identity.{key}:")), "{message}");
    }
    let plain = good.replace("https://login/keys", "http://login/keys");
    assert!(with(&plain).unwrap_err().contains("token_jwks_url"));
    assert!(with(&format!("{plain}plaintext = true\n")).is_err());
}

#[test]
fn what_proves_a_question_is_complete_and_never_shown() {
    let with = |more: &str| read(&format!("{GOOD}{more}\n"), &[]);
    let config = with(
        "hmac_secret = \"quartz-77\"\nclient_certificate_file = \"ca.pem\"\n\
        client_key_file = \"secret.txt\"\nsigning_key_files = [\"a.pem\"]\nurls = [\"https://b/\"]",
    )
    .unwrap();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("quartz-77") && !shown.contains("from-a-file"),
        "{shown}"
    );
    for (more, said) in [
        ("client_certificate_file = \"ca.pem\"", "client_key"),
        ("client_key = \"x\"", "client_certificate_file"),
        ("signing_issuer = \"x\"", "signing_key_files"),
        (
            "signing_key_files = [\"a\"]\nheaders = { authorization = \"x\" }",
            "headers",
        ),
        ("urls = [\"http://elsewhere/\"]", "urls"),
        ("urls = [\"elsewhere\"]", "urls"),
    ] {
        let message = with(more).unwrap_err().to_string();
        assert!(message.contains(&format!("identity.{said}:")), "{message}");
    }
}

#[test]
fn users_that_the_gateway_keeps_have_a_place_and_keys() {
    let kept = "[identity]\nprovider = \"service-managed\"\n";
    let state = "state_directory = \"state\"\n";
    let config = read(&format!("{state}{kept}"), &[]).unwrap();
    let ProviderSettings::ServiceManaged(users) = &config.identity.settings else {
        panic!("{config:?}")
    };
    assert_eq!(users.place, None);
    let in_bucket = format!("host_key_files = [\"k\"]\n{kept}users_store = \"s3://b/p\"\n");
    assert!(read(&in_bucket, &[]).is_ok());
    for (text, expected) in [
        (
            format!("host_key_files = [\"k\"]\n{kept}"),
            "identity.users_store: missing: a directory",
        ),
        (
            format!("{state}{kept}users_store = \"s3:///p\""),
            "identity.users_store: found \"s3:///p\"",
        ),
        (
            format!("{in_bucket}[storage]\nconditional_put = false"),
            "identity.users_store: needs conditions on PutObject",
        ),
        (
            format!("{state}{kept}methods = \"key-and-password\""),
            "identity.methods: found \"key-and-password\"; allowed: \"key\"",
        ),
        (
            format!("{state}[identity]\nurl = \"https://a.example.com\"\nusers_store = \"/x\""),
            "identity.users_store: unknown with provider = \"webhook\"; it belongs to",
        ),
        (
            format!("{state}{kept}url = \"https://a.example.com\""),
            "identity.url: unknown with provider = \"service-managed\"; it belongs to",
        ),
    ] {
        let errors = refused(&text, &[]);
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn keys_of_the_api_are_whole_and_told_apart() {
    let state = "state_directory = \"state\"\n[identity]\nprovider = \"service-managed\"\n";
    let key = |name: &str, id: &str| {
        format!("[api_key.{name}]\naccess_key_id = \"{id}\"\nsecret_access_key = \"s\"\n")
    };
    let good = format!(
        "{state}{}scope = \"users\"\n{}",
        key("a", "A"),
        key("b", "B")
    );
    let config = read(&good, &[("PORTCULLIS_API_KEY_B_SCOPE", "all")]).unwrap();
    let scopes: Vec<_> = config
        .api_keys
        .iter()
        .map(|key| key.scope.as_str())
        .collect();
    assert_eq!(scopes, ["users", "all"]);
    for (text, expected) in [
        (
            format!("{state}{}{}", key("a", "A"), key("b", "A")),
            "api_key.b.access_key_id: found \"A\"; allowed: one that no other table",
        ),
        (
            format!("{state}[api_key.a]\nscope = \"most\"\n"),
            "api_key.a.scope: found \"most\"; allowed: \"test\" or \"read\"",
        ),
        (
            format!("{state}[api_key.a]\n"),
            "api_key.a.secret_access_key: missing",
        ),
        (
            format!("{state}[admin]\nlisten = \"off\"\n{}", key("a", "A")),
            "api_key.a: has no effect with admin.listen",
        ),
    ] {
        let errors = refused(&text, &[]);
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn each_key_has_the_kinds_that_take_it_and_a_default_that_is_written_is_no_mistake() {
    use crate::config::provider::takers;
    use crate::config::settings::PROVIDERS;
    let common = [
        "server_id",
        "provider",
        "listen",
        "proxy_protocol",
        "trusted_networks",
        "user_suffix",
        "user_prefix",
        "methods",
        "user_names",
        "questions_max",
    ];
    let all = PROVIDERS.settings().map(|setting| setting.key);
    let of_all: Vec<_> = all.filter(|key| takers(key).len() == 6).collect();
    for key in &of_all {
        assert!(common.contains(key), "{key}: name its kinds");
    }
    assert_eq!(of_all.len(), common.len());
    let with = |more: &str| read(&format!("{GOOD}{more}\n"), &[]);
    with("token_clock_skew_seconds = 30\nsign = \"none\"\nusers_cached_seconds = 2").unwrap();
    for (more, owner) in [
        ("token_issuer = \"x\"", "\"token\""),
        ("token_role = \"x\"", "\"token\""),
        ("token_clock_skew_seconds = 31", "\"token\""),
        ("users_cached_seconds = 3", "\"service-managed\""),
        (
            "aws_secret_access_key_file = \"secret.txt\"",
            "\"api-gateway\" or \"lambda\"",
        ),
    ] {
        let message = with(more).unwrap_err().to_string();
        let expected =
            format!("unknown with provider = \"webhook\"; it belongs to provider = {owner}");
        assert!(message.contains(&expected), "{more}\n{message}");
        assert!(!message.contains("from-a-file"));
    }
}
