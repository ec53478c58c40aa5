//! The contract's documents say what the parser does: schema, `OpenAPI`, and the examples on the page.

use portcullis::idp::webhook::{Event, Webhook, WebhookSettings};
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{Asking, AuthMethod, Credential, IdentityProvider as _, Judged, Question};
use portcullis::refusal::{Refusal, Verdict};
use portcullis::secret::Secret;
use serde_json::{Value, json};

use super::common::fake_idp::FakeIdp;
use super::idp_contract::FIXTURES;
use crate::common::refusals;

const SCHEMA: &str = include_str!("../../docs/identity-provider.schema.json");
const OPENAPI: &str = include_str!("../../docs/identity-provider.openapi.json");
pub(crate) const PAGE: &str = include_str!("../../docs/identity-provider.md");

/// What a schema can say; everything else is beyond it.
const SAID_BY_SCHEMA: &[&str] = &[
    "wrong-type",
    "unknown-key",
    "mappings-missing",
    "mapping-incomplete",
    "mapping-type",
    "mapping-access",
    "partial-uploads",
    "networks-empty",
    "two-contracts",
    "target-no-leading-slash",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Says whether the schema's definition accepts a value.
fn accepts(definition: &str, value: &Value) -> bool {
    let schema = schema();
    fits(&schema, &schema["$defs"][definition], value)
}

/// As much of JSON Schema as the document uses; a word that is not known here fails the test.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let words = schema.as_object().unwrap();
    words.iter().all(|(word, says)| match word.as_str() {
        "title" | "description" | "format" | "then" => true,
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let other = |key: &String| schema["properties"].get(key).is_none();
            let mut others = object.iter().filter(|(key, _)| other(key));
            !says.is_object() || others.all(|(_, value)| fits(root, says, value))
        }),
        "propertyNames" => value.as_object().is_none_or(|object| {
            let mut names = object.keys().map(|name| json!(name));
            names.all(|name| fits(root, says, &name))
        }),
        "maxProperties" => {
            let properties = value.as_object().map(serde_json::Map::len);
            count(properties).is_none_or(|n| n <= number(says))
        }
        "oneOf" => {
            let schemas = says.as_array().unwrap().iter();
            schemas.filter(|s| fits(root, s, value)).count() == 1
        }
        "$ref" => {
            let path = says.as_str().unwrap().strip_prefix('#').unwrap();
            fits(root, root.pointer(path).unwrap(), value)
        }
        "anyOf" => says
            .as_array()
            .unwrap()
            .iter()
            .any(|s| fits(root, s, value)),
        "not" => !fits(root, says, value),
        "if" => !fits(root, says, value) || fits(root, &schema["then"], value),
        "const" => says == value,
        "enum" => says.as_array().unwrap().contains(value),
        "type" => match says {
            Value::Array(types) => types.iter().any(|t| is(t, value)),
            one => is(one, value),
        },
        "required" => value.as_object().is_none_or(|object| {
            let required = says.as_array().unwrap();
            required
                .iter()
                .all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            let strict = schema["additionalProperties"] == false;
            object.iter().all(|(key, value)| match says.get(key) {
                Some(says) => fits(root, says, value),
                None => !strict,
            })
        }),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(root, says, item))),
        "minItems" => count(value.as_array().map(Vec::len)).is_none_or(|n| n >= number(says)),
        "maxItems" => count(value.as_array().map(Vec::len)).is_none_or(|n| n <= number(says)),
        "minLength" => count(length(value)).is_none_or(|n| n >= number(says)),
        "maxLength" => count(length(value)).is_none_or(|n| n <= number(says)),
        "minimum" => value.as_f64().is_none_or(|n| n >= says.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= says.as_f64().unwrap()),
        "pattern" => {
            let begin = says.as_str().unwrap().strip_prefix('^').unwrap();
            value.as_str().is_none_or(|text| text.starts_with(begin))
        }
        other => panic!("the checker does not know {other}"),
    })
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the checker does not know {other}"),
    }
}

fn count(length: Option<usize>) -> Option<u64> {
    length.map(|length| length as u64)
}

fn length(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.chars().count())
}

fn number(says: &Value) -> u64 {
    says.as_u64().unwrap()
}

fn judge(body: &str, method: AuthMethod) -> Judged {
    let asked = Asked {
        username: "ann",
        method,
        accept_keys_with_password: false,
        path_homes: portcullis::idp::PathHomes::default(),
        fs_ids: &[],
        transport: Transport::Http,
        function_error: false,
    };
    wire::parse(asked, 200, body.as_bytes())
}

#[track_caller]
fn agree(name: &str, answer: &Value, judged: &Judged) {
    let accepted = accepts("answer", answer);
    let plain = answer.get("allow").is_some();
    match judged {
        Ok(_) => assert!(accepted, "{name}: only the schema refuses {answer}"),
        Err(Refusal { reason, .. }) => match reason.verdict() {
            Verdict::Denied => assert!(accepted || !plain, "{name}: {answer}"),
            Verdict::Invalid if SAID_BY_SCHEMA.contains(&reason.as_str()) => {
                assert!(
                    !accepted || !plain,
                    "{name}: only the parser refuses {answer}: {reason}"
                );
            }
            Verdict::Invalid | Verdict::Unavailable => {}
        },
    }
}

#[test]
fn schema_and_parser_agree_on_what_is_answered_in_the_field() {
    let file: Value = serde_json::from_str(FIXTURES).unwrap();
    let mut checked = 0;
    for case in file["cases"].as_array().unwrap() {
        let by_switch = !case["settings"].is_null() || !case["headers"].is_null();
        if case["status"] != 200 || !case["raw_body"].is_null() || by_switch {
            continue;
        }
        let method = match case["method"].as_str().unwrap() {
            "publickey" => AuthMethod::PublicKey,
            _ => AuthMethod::Password,
        };
        let answer = &case["body"];
        agree(
            case["name"].as_str().unwrap(),
            answer,
            &judge(&answer.to_string(), method),
        );
        checked += 1;
    }
    assert!(checked > 35, "{checked}");
}

/// Everything that an answer may hold.
fn full(allow: bool) -> Value {
    let objects = json!({"storageClass": "STANDARD_IA", "encryption": "aws:kms", "kmsKeyId": "k",
        "bucketKey": true, "tags": {"a": "b"}, "retention": {"mode": "COMPLIANCE", "days": 7},
        "legalHold": true});
    json!({"allow": allow, "reason": "x", "user": "ann", "publicKeys": [crate::common::login::LISTED_LINE],
        "mappings": [{"entry": "/in", "target": "/bucket/in", "type": "file", "access": "write",
            "partialUploads": "replace", "objects": objects}],
        "partialUploads": "keep", "objects": objects, "home": "/", "role": "r", "policy": {"Version": "1"}, "networks": ["192.0.2.0/24"],
        "limits": {"sessions": 4, "fileBytes": 1, "bytesPerSecond": 1},
        "expiresAt": "2036-12-31T00:00:00Z", "cacheSeconds": 30})
}

/// Lists where the values of a document stand, its own place excepted.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(k, v)| (k.replace('/', "~1"), v))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in below {
        let place = format!("{here}/{key}");
        places(value, &place, found);
        found.push(place);
    }
}

#[test]
fn schema_and_parser_agree_on_every_value_that_is_wrong() {
    let wrong = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("/x"),
        json!([]),
        json!([1]),
        json!([null]),
        json!({}),
        json!({"x": 1}),
    ];
    let mut checked = 0;
    for allow in [true, false] {
        let answer = full(allow);
        agree(
            "full",
            &answer,
            &judge(&answer.to_string(), AuthMethod::PublicKey),
        );
        let mut all = Vec::new();
        places(&answer, "", &mut all);
        for place in all.iter().filter(|place| !place.starts_with("/policy/")) {
            for value in &wrong {
                let mut answer = answer.clone();
                *answer.pointer_mut(place).unwrap() = value.clone();
                agree(
                    place,
                    &answer,
                    &judge(&answer.to_string(), AuthMethod::PublicKey),
                );
                checked += 1;
            }
            let (parent, key) = place.rsplit_once('/').unwrap();
            let mut without = answer.clone();
            let mut beside = answer.clone();
            if let Some(object) = without.pointer_mut(parent).unwrap().as_object_mut() {
                object.remove(key);
                agree(
                    place,
                    &without,
                    &judge(&without.to_string(), AuthMethod::PublicKey),
                );
                beside.pointer_mut(parent).unwrap()["Role"] = json!("r");
                agree(
                    place,
                    &beside,
                    &judge(&beside.to_string(), AuthMethod::PublicKey),
                );
            }
        }
    }
    assert!(checked > 400, "{checked}");
}

#[tokio::test]
async fn questions_are_as_the_schema_says() {
    let schema = schema();
    for (event, definition) in [
        (Event::Plain, "question"),
        (Event::TransferFamily, "transferFamilyQuestion"),
    ] {
        for credential in [
            Credential::Password(Secret::new("walnut-39".to_owned())),
            Credential::PublicKey,
        ] {
            let idp = FakeIdp::start([]).await;
            let mut settings = WebhookSettings::new(&idp.url(), "s-1");
            settings.event = event;
            settings.send_session_id = true;
            let question = Question {
                request_id: "c1-1".into(),
                username: "ann".into(),
                credential,
                source_ip: "192.0.2.7".parse().unwrap(),
                session_id: "c1".into(),
                asking: Asking::default(),
            };
            let answer = Webhook::new(settings).unwrap().ask(&question).await;
            assert!(refusals::answered(&answer), "{answer:?}");
            let body = idp.asked().remove(0).body;
            assert!(accepts(definition, &body), "{body}");
            let known = &schema["$defs"][definition]["properties"];
            for key in body.as_object().unwrap().keys() {
                assert!(!known[key].is_null(), "{key} is not in the schema");
            }
        }
    }
}

#[test]
fn openapi_refers_to_the_schema_and_its_examples_fit() {
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let schema = schema();
    let mut all = Vec::new();
    places(&openapi, "", &mut all);
    let mut references = 0;
    for place in all.iter().filter(|place| place.ends_with("/$ref")) {
        let target = openapi.pointer(place).unwrap().as_str().unwrap();
        let path = target
            .strip_prefix("identity-provider.schema.json#")
            .unwrap();
        assert!(schema.pointer(path).is_some(), "{target}");
        references += 1;
    }
    assert_eq!(references, 3);
    let post = &openapi["paths"]["/"]["post"];
    let json = "application/json";
    assert!(accepts(
        "question",
        &post["requestBody"]["content"][json]["example"]
    ));
    let examples = &post["responses"]["200"]["content"][json]["examples"];
    let said = |name: &str| judge(&examples[name]["value"].to_string(), AuthMethod::Password);
    assert!(said("yes").is_ok());
    assert!(refusals::is(&said("no"), Verdict::Denied));
    for name in ["yes", "no"] {
        assert!(accepts("plainAnswer", &examples[name]["value"]), "{name}");
    }
}

#[test]
fn examples_on_the_page_are_what_they_say() {
    let blocks = PAGE.split("```json\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [question, yes, no, objects] = &blocks[..] else {
        panic!("{} blocks", blocks.len())
    };
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert!(accepts("question", &value(question)));
    assert!(accepts("plainAnswer", &value(yes)) && accepts("plainAnswer", &value(no)));
    assert!(judge(yes, AuthMethod::Password).is_ok());
    let described = judge(objects, AuthMethod::Password).unwrap();
    let settings = described.home.mappings()[0].objects.as_ref().unwrap();
    assert!(accepts("plainAnswer", &value(objects)) && settings.retention.is_some());
    assert!(refusals::is(
        &judge(no, AuthMethod::Password),
        Verdict::Denied
    ));
}
