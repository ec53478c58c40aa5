//! What identity providers answer in the field, and what becomes of it.

use portcullis::idp::warning::words;
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{AuthMethod, Judged, UserConfig};
use portcullis::refusal::verdict_word;
use portcullis::storage::{Bucket, Key, Location, SettingsAt as _};
use portcullis::vfs::{EntryType, HomeType, PartialUploads};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) const FIXTURES: &str = include_str!("../fixtures/idp/responses.json");

fn fixtures() -> Vec<Value> {
    let file: Value = serde_json::from_str(FIXTURES).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn asked(username: &str, method: AuthMethod) -> Asked<'_> {
    Asked {
        username,
        method,
        accept_keys_with_password: false,
        path_homes: portcullis::idp::PathHomes::default(),
        fs_ids: &[],
        transport: Transport::Http,
        function_error: false,
    }
}

fn judge(case: &Value) -> Judged {
    let method = match case["method"].as_str().unwrap() {
        "password" => AuthMethod::Password,
        "publickey" => AuthMethod::PublicKey,
        other => panic!("method {other}"),
    };
    let asked = Asked {
        accept_keys_with_password: case["settings"]["accept_keys_in_password_answer"] == true,
        path_homes: portcullis::idp::PathHomes::default(),
        transport: match case["transport"].as_str() {
            Some("lambda") => Transport::Lambda,
            _ => Transport::Http,
        },
        function_error: !case["headers"]["X-Amz-Function-Error"].is_null(),
        ..asked(case["username"].as_str().unwrap(), method)
    };
    let body = match case["raw_body"].as_str() {
        Some(raw) => raw.to_owned(),
        None => case["body"].to_string(),
    };
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    wire::parse(asked, status, body.as_bytes())
}

#[test]
fn a_missing_home_directory_is_told_by_what_its_root_shows() {
    use portcullis::idp::PathHomes;
    for (path_homes, shows) in [
        (PathHomes::Confined, "(an empty directory)"),
        (PathHomes::Role, "(the buckets of the role, and all that it"),
    ] {
        let asked = Asked {
            path_homes,
            ..asked("ann", AuthMethod::Password)
        };
        let body = json!({"Role": "r", "HomeDirectoryType": "PATH"}).to_string();
        let config = wire::parse(asked, 200, body.as_bytes()).unwrap();
        assert_eq!(words(&config.warnings), ["home-directory-missing"]);
        let told = config.warnings[0].to_string();
        assert!(told.contains(shows), "{told}");
    }
}

#[test]
fn a_target_on_a_file_system_that_a_store_serves_is_kept() {
    let served = ["fs-0123456789abcdef0".into()];
    let row = |entry: &str, id: &str| json!({"Entry": entry, "Target": format!("/{id}/ann")});
    let rows = [
        row("/served", "fs-0123456789abcdef0"),
        row("/foreign", "fs-01234567"),
        row("/s3", "bucket"),
    ];
    let details = json!(rows).to_string();
    let body = json!({
        "Role": "r", "HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": details
    });
    let asked = Asked {
        fs_ids: &served,
        ..asked("ann", AuthMethod::Password)
    };
    let config = wire::parse(asked, 200, body.to_string().as_bytes()).unwrap();
    let mappings = config.home.mappings();
    let mut buckets: Vec<_> = mappings.iter().map(|row| row.bucket.as_str()).collect();
    buckets.sort_unstable();
    assert_eq!(buckets, ["bucket", "fs-0123456789abcdef0"]);
    assert_eq!(words(&config.warnings), ["efs-target-skipped"]);
    let home = json!({"Role": "r", "HomeDirectory": "/fs-0123456789abcdef0/ann"});
    assert!(wire::parse(asked, 200, home.to_string().as_bytes()).is_ok());
}

pub(crate) fn verdict(judged: &Judged) -> (&'static str, Option<&'static str>) {
    let refusal = judged.as_ref().err();
    let reason = refusal.map(|refusal| refusal.reason.as_str());
    (verdict_word(refusal), reason)
}

fn shown_mappings(config: &UserConfig, with_access: bool) -> Value {
    let row = |mapping: &portcullis::vfs::Mapping| {
        let mut row = json!({
            "entry": mapping.entry.as_str(),
            "bucket": mapping.bucket.to_string(),
            "prefix": &*mapping.prefix,
            "type": match mapping.entry_type {
                EntryType::Directory => "DIRECTORY",
                EntryType::File => "FILE",
            },
        });
        if with_access {
            row["access"] = mapping.access.as_str().into();
        }
        row
    };
    config.home.mappings().iter().map(row).collect()
}

#[track_caller]
fn check_config(name: &str, expect: &Value, config: &UserConfig) {
    if let Some(expected) = expect["home_type"].as_str() {
        let home_type = match config.home.home_type() {
            HomeType::Path => "PATH",
            HomeType::Logical => "LOGICAL",
        };
        assert_eq!(home_type, expected, "{name}");
    }
    if let Some(expected) = expect["landing"].as_str() {
        assert_eq!(config.home.landing().as_str(), expected, "{name}");
    }
    if let Some(expected) = expect["mappings"].as_array() {
        let with_access = expected.iter().any(|row| !row["access"].is_null());
        assert_eq!(
            shown_mappings(config, with_access),
            expect["mappings"],
            "{name}"
        );
    }
    if let Some(expected) = expect["policy"].as_bool() {
        assert_eq!(config.policy.is_some(), expected, "{name}");
    }
    for part in expect["policy_contains"].as_array().into_iter().flatten() {
        let policy = config.policy.as_deref().unwrap();
        assert!(policy.contains(part.as_str().unwrap()), "{name}: {policy}");
    }
    if let Some(expected) = expect["public_keys"].as_u64() {
        assert_eq!(config.public_keys.len() as u64, expected, "{name}");
    }
    let warnings = expect["warnings"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        json!(words(&config.warnings)),
        Value::Array(warnings),
        "{name}"
    );
}

#[test]
fn every_documented_answer_gets_its_verdict() {
    let cases = fixtures();
    assert!(cases.len() >= 48, "{}", cases.len());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let expect = &case["expect"];
        let judged = judge(case);
        let (found, reason) = verdict(&judged);
        assert_eq!(found, expect["verdict"], "{name}: {judged:?}");
        if let Some(expected) = expect["reason"].as_str() {
            assert_eq!(reason, Some(expected), "{name}: {judged:?}");
        }
        if let Ok(config) = &judged {
            check_config(name, expect, config);
        }
    }
}

fn outcome(username: &str, method: AuthMethod, body: &Value) -> (&'static str, &'static str) {
    let judged = wire::parse(asked(username, method), 200, body.to_string().as_bytes());
    let (found, reason) = verdict(&judged);
    (found, reason.unwrap_or_default())
}

fn by_password(username: &str, body: &Value) -> (&'static str, &'static str) {
    outcome(username, AuthMethod::Password, body)
}

#[test]
fn a_user_name_cannot_lead_out_of_a_target() {
    let answer = json!({"Role": "r", "HomeDirectoryType": "LOGICAL",
        "HomeDirectoryDetails": r#"[{"Entry":"/","Target":"/b/home/${transfer:UserName}"}]"#});
    assert_eq!(by_password("ann", &answer).0, "allowed");
    for name in ["..", ".", "a/b", "../bob", "/", "${transfer:UserName}"] {
        assert_eq!(by_password(name, &answer).0, "invalid", "{name}");
    }
    let plain = json!({"allow": true, "user": "../bob",
        "mappings": [{"entry": "/", "target": "/b/${transfer:UserName}"}]});
    assert_eq!(
        by_password("ann", &plain),
        ("invalid", "user-name-in-target")
    );
    let dot =
        json!({"allow": true, "mappings": [{"entry": "/", "target": "/b/.${transfer:UserName}"}]});
    assert_eq!(by_password("ann", &dot).0, "allowed");
    assert_eq!(by_password(".", &dot).0, "invalid");
}

#[test]
fn efs_targets_are_skipped_beside_others_and_refused_alone() {
    let logical = |details: &str| json!({"Role": "r", "HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": details});
    let alone = logical(r#"[{"Entry":"/","Target":"/fs-faa1a123"}]"#);
    assert_eq!(by_password("ann", &alone), ("invalid", "efs-target"));
    let mixed = logical(
        r#"[{"Entry":"/e","Target":"/fs-faa1a123/x"},{"Entry":"/s","Target":"/fs-data/x"}]"#,
    );
    let judged = wire::parse(
        asked("ann", AuthMethod::Password),
        200,
        mixed.to_string().as_bytes(),
    );
    let Ok(config) = judged else {
        panic!("{judged:?}")
    };
    assert_eq!(words(&config.warnings), ["efs-target-skipped"]);
    assert_eq!(config.home.mappings().len(), 1);
}

#[test]
fn the_plain_form_is_strict() {
    let with = |key: &str, value: Value| {
        let mut answer = json!({"allow": true, "mappings": [{"entry": "/", "target": "/b"}]});
        answer[key] = value;
        by_password("ann", &answer)
    };
    for (key, value, expected) in [
        ("allow", json!("true"), "wrong-type"),
        ("allow", json!(1), "wrong-type"),
        ("allow", json!(null), "wrong-type"),
        ("mappings", json!({}), "wrong-type"),
        ("mappings", json!([]), "mappings-missing"),
        ("mappings", json!([{"entry": "/"}]), "mapping-incomplete"),
        (
            "mappings",
            json!([{"entry": "/", "target": "/b", "acess": "read"}]),
            "unknown-key",
        ),
        (
            "mappings",
            json!([{"entry": "/", "target": "/b", "access": "r"}]),
            "mapping-access",
        ),
        (
            "mappings",
            json!([{"entry": "/", "target": "/b", "partialUploads": "Keep"}]),
            "partial-uploads",
        ),
        ("partialUploads", json!("yes"), "partial-uploads"),
        ("partialUploads", json!(true), "wrong-type"),
        (
            "mappings",
            json!([{"entry": "/", "target": "/b", "type": "FILE"}]),
            "mapping-type",
        ),
        ("home", json!("elsewhere"), "home-not-normal"),
        ("networks", json!([]), "networks-empty"),
        ("networks", json!(null), "wrong-type"),
        ("networks", json!(["10.0.0.0/33"]), "network"),
        ("networks", json!(["10.0.0.1/24"]), "network"),
        ("limits", json!({"sessions": -1}), "wrong-type"),
        ("limits", json!({"session": 1}), "unknown-key"),
        ("expiresAt", json!("tomorrow"), "expires-at"),
        ("expiresAt", json!(1_800_000_000), "wrong-type"),
        ("cacheSeconds", json!(1.5), "wrong-type"),
        ("user", json!(""), "user"),
        ("user", json!("a\nb"), "user"),
        ("policy", json!("{"), "policy-not-json"),
        ("publicKeys", json!("ssh-ed25519 AAAA"), "wrong-type"),
        (
            "publicKeys",
            json!(["ssh-ed25519 AAAA"]),
            "keys-in-password-answer",
        ),
        ("PublicKeys", json!([]), "unknown-key"),
    ] {
        assert_eq!(
            with(key, value.clone()),
            ("invalid", expected),
            "{key}: {value}"
        );
    }
}

#[test]
fn what_the_plain_form_says_of_objects_is_strict() {
    for (key, value, expected) in [
        ("objects", json!("STANDARD_IA"), "wrong-type"),
        (
            "objects",
            json!({"storageclass": "GLACIER"}),
            "object-settings",
        ),
        (
            "objects",
            json!({"retention": {"mode": "COMPLIANCE", "days": "30"}}),
            "wrong-type",
        ),
        (
            "objects",
            json!({"retention": {"mode": "COMPLIANCE"}}),
            "object-settings",
        ),
        ("objects", json!({"tags": {"a": 1}}), "wrong-type"),
        (
            "mappings",
            json!([{"entry": "/", "target": "/b", "objects": {"encryption": "kms"}}]),
            "object-settings",
        ),
        (
            "mappings",
            json!([{"entry": "/a", "target": "/b/x", "objects": {"legalHold": true}},
                {"entry": "/c", "target": "/b/x"}]),
            "object-settings",
        ),
    ] {
        let mut answer = json!({"allow": true, "mappings": [{"entry": "/", "target": "/b"}]});
        answer[key] = value;
        assert_eq!(
            by_password("ann", &answer),
            ("invalid", expected),
            "{answer}"
        );
    }
}

#[test]
fn the_plain_form_carries_everything_it_promises() {
    let body = json!({"allow": true, "user": "cust-42", "publicKeys": [crate::common::login::LISTED_LINE],
        "mappings": [{"entry": "/in", "target": "/bucket/in", "access": "write", "partialUploads": "replace"}],
        "partialUploads": "discard", "home": "/in", "role": "arn:aws:iam::1:role/x", "policy": {"Version": "2012-10-17"},
        "networks": ["203.0.113.0/24"],
        "limits": {"sessions": 4, "fileBytes": 1_000_000_000, "bytesPerSecond": 10_000_000},
        "expiresAt": "2026-12-31T00:00:00Z", "cacheSeconds": 30});
    let judged = wire::parse(
        asked("ann", AuthMethod::PublicKey),
        200,
        body.to_string().as_bytes(),
    );
    let Ok(config) = judged else {
        panic!("{judged:?}")
    };
    assert_eq!(&*config.user, "cust-42");
    assert_eq!(config.role.as_deref(), Some("arn:aws:iam::1:role/x"));
    assert_eq!(
        config.policy.as_deref(),
        Some(r#"{"Version":"2012-10-17"}"#)
    );
    assert_eq!(config.networks, ["203.0.113.0/24".parse().unwrap()]);
    assert_eq!(config.limits.sessions, Some(4));
    assert_eq!(config.limits.file_bytes, Some(1_000_000_000));
    assert_eq!(config.limits.bytes_per_second, Some(10_000_000));
    assert_eq!(config.cache_for.unwrap().as_secs(), 30);
    assert!(config.expires_at.is_some());
    assert_eq!(config.partial_uploads, Some(PartialUploads::Discard));
    let mapping = &config.home.mappings()[0];
    assert_eq!(mapping.partial_uploads, Some(PartialUploads::Replace));
}

#[test]
fn transfer_family_answers_say_what_becomes_of_partial_uploads() {
    let details = json!([{"Entry": "/in", "Target": "/b/in", "partialUploads": "replace"},
        {"Entry": "/out", "Target": "/b/out"}]);
    let answer = |details: Value, word: Value| {
        let answer = json!({"Role": "r", "HomeDirectoryType": "LOGICAL",
            "HomeDirectoryDetails": details, "partialUploads": word});
        let asked = asked("ann", AuthMethod::Password);
        wire::parse(asked, 200, answer.to_string().as_bytes())
    };
    for details in [details.clone(), details.to_string().into()] {
        let config = answer(details, json!("keep")).unwrap();
        assert_eq!(config.partial_uploads, Some(PartialUploads::Keep));
        let mappings = config.home.mappings().iter();
        let words: Vec<_> = mappings.map(|mapping| mapping.partial_uploads).collect();
        assert_eq!(words, [Some(PartialUploads::Replace), None]);
    }
    assert_eq!(
        answer(details.clone(), json!("")).unwrap().partial_uploads,
        None
    );
    let refused = answer(details, json!("always")).unwrap_err();
    assert_eq!(refused.reason.as_str(), "partial-uploads");
}

#[test]
fn transfer_family_answers_of_a_wrong_type_are_invalid() {
    let with = |key: &str, value: Value| {
        let mut answer = json!({"Role": "r", "HomeDirectory": "/b/ann"});
        answer[key] = value;
        by_password("ann", &answer)
    };
    assert_eq!(with("Unheard", json!({"of": 1})).0, "allowed");
    assert_eq!(with("Policy", json!(null)).0, "allowed");
    for (key, value) in [
        ("Role", json!(["r"])),
        ("HomeDirectory", json!({})),
        ("HomeDirectoryType", json!("logical")),
        ("Policy", json!([1])),
        ("PublicKeys", json!({})),
        ("PublicKeys", json!([1])),
    ] {
        assert_eq!(with(key, value.clone()).0, "invalid", "{key}: {value}");
    }
    assert_eq!(
        by_password("ann", &json!(["Role"])),
        ("invalid", "not-an-object")
    );
}

/// Any JSON, with the contract's keys and words thrown in often.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("LOGICAL".to_owned()),
        Just("/".to_owned()),
        Just("/b/x".to_owned()),
        Just(r#"[{"Entry":"/","Target":"/b"}]"#.to_owned()),
        Just("${transfer:UserName}".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = proptest::sample::select(vec![
        "allow",
        "Role",
        "mappings",
        "HomeDirectory",
        "HomeDirectoryType",
        "HomeDirectoryDetails",
        "PublicKeys",
        "publicKeys",
        "Policy",
        "policy",
        "entry",
        "target",
        "networks",
        "limits",
        "home",
        "user",
        "expiresAt",
        "cacheSeconds",
        "other",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_or_say_yes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for method in [AuthMethod::Password, AuthMethod::PublicKey] {
            let judged = wire::parse(asked("ann", method), 200, &bytes);
            prop_assert!(judged.is_err());
        }
    }

    #[test]
    fn only_a_role_or_allow_true_of_the_right_type_lets_in(body in any_json()) {
        for method in [AuthMethod::Password, AuthMethod::PublicKey] {
            let judged = wire::parse(asked("ann", method), 200, body.to_string().as_bytes());
            if let Ok(config) = judged {
                let role = body["Role"].as_str().is_some_and(|role| !role.trim().is_empty());
                prop_assert!(role != (body["allow"] == true));
                prop_assert!(method == AuthMethod::Password || !config.public_keys.is_empty());
            }
        }
    }

    #[test]
    fn one_value_of_a_wrong_type_never_lets_in(key in 0_usize..9, wrong in any_json()) {
        let mut answer = json!({"allow": true, "user": "ann", "home": "/",
            "mappings": [{"entry": "/", "target": "/b"}], "networks": ["192.0.2.0/24"],
            "limits": {"sessions": 1}, "cacheSeconds": 1, "role": "r",
            "expiresAt": "2030-01-01T00:00:00Z"});
        let (key, right) = answer.as_object().unwrap().iter().nth(key)
            .map(|(key, right)| (key.clone(), right.clone())).unwrap();
        let same_type = std::mem::discriminant(&right) == std::mem::discriminant(&wrong);
        answer[&key] = wrong;
        if !same_type {
            let (found, _) = by_password("ann", &answer);
            prop_assert_eq!(found, "invalid", "{}", answer);
        }
    }
}

#[test]
fn both_forms_say_what_objects_carry() {
    let objects = json!({"storageClass": "STANDARD_IA", "encryption": "aws:kms", "kmsKeyId": "alias/ann",
        "bucketKey": true, "tags": {"cost": "7"}, "retention": {"mode": "GOVERNANCE", "years": 1},
        "legalHold": true});
    let class = |class: &str| json!({"storageClass": class});
    let rows = |entry: &str, target: &str| {
        json!([{entry: "/in", target: "/b/in", "objects": objects},
            {entry: "/out", target: "/b/out"},
            {entry: "/plain", target: "/b/in/plain", "objects": {"legalHold": false}}])
    };
    let plain =
        json!({"allow": true, "mappings": rows("entry", "target"), "objects": class("MY-CLASS")});
    let details = rows("Entry", "Target");
    let transfer = |details: Value| {
        json!({"Role": "r", "HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": details,
            "objects": class("MY-CLASS")})
    };
    for answer in [
        plain,
        transfer(details.to_string().into()),
        transfer(details),
    ] {
        let asked = asked("ann", AuthMethod::Password);
        let config = wire::parse(asked, 200, answer.to_string().as_bytes()).unwrap();
        let [first, second, third] = config.home.mappings() else {
            panic!("{answer}")
        };
        let settings = first.objects.as_deref().unwrap();
        let sse = settings.encryption.as_ref().unwrap();
        assert_eq!(&*sse.algorithm, "aws:kms");
        assert_eq!(sse.kms_key_id.as_deref(), Some("alias/ann"));
        assert!(sse.bucket_key && settings.legal_hold);
        assert_eq!(settings.tags, [("cost".into(), "7".into())]);
        assert_eq!(settings.retention.as_ref().unwrap().days, 366);
        // One that says nothing has what the answer says.
        let all = second.objects.as_deref().unwrap();
        assert_eq!(all.storage_class.as_deref(), Some("MY-CLASS"));
        // And one that asks for nothing has nothing.
        assert!(third.objects.as_deref().is_some_and(|asked| !asked.ask()));
        let at = |key: &str| {
            let location = Location {
                bucket: Bucket::parse("b").unwrap(),
                key: Key::parse(key).unwrap(),
            };
            config.settings_at(&location).is_some()
        };
        assert_eq!(
            [at("in/f"), at("out/f"), at("in/plain/f")],
            [true, true, false]
        );
        assert_eq!(config.object_settings().count(), 3);
        // A class of another maker is taken, and told.
        let words = words(&config.warnings);
        assert_eq!(
            words
                .iter()
                .filter(|word| **word == "storage-class-unknown")
                .count(),
            1
        );
    }
}

#[test]
fn objects_in_another_case_are_refused_and_not_passed_over() {
    let objects = json!({"legalHold": true});
    let row = |key: &str| json!([{"Entry": "/", "Target": "/b", key: objects}]);
    let answer = |key: &str, details: Value| {
        json!({"Role": "r", "HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": details,
            key: objects})
    };
    for (answer, is_right) in [
        (answer("objects", row("objects")), true),
        (answer("Objects", row("objects")), false),
        (answer("objects", row("Objects")), false),
        (answer("objects", row("OBJECTS").to_string().into()), false),
        // Others are none of the gateway's business.
        (answer("Other", row("entry")), true),
    ] {
        let asked = asked("ann", AuthMethod::Password);
        let judged = wire::parse(asked, 200, answer.to_string().as_bytes());
        let reason = judged.err().map(|refusal| refusal.reason.as_str());
        let expected = (!is_right).then_some("object-settings");
        assert_eq!(reason, expected, "{answer}");
    }
}

#[test]
fn nothing_is_asked_of_objects_that_cannot_be_written() {
    let answer = json!({"allow": true, "mappings": [
        {"entry": "/r", "target": "/b/r", "access": "read", "objects": {"legalHold": true}},
        {"entry": "/w", "target": "/b/w", "objects": {}}]});
    let asked = asked("ann", AuthMethod::Password);
    let config = wire::parse(asked, 200, answer.to_string().as_bytes()).unwrap();
    assert_eq!(config.object_settings().count(), 0);
}
