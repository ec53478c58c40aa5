//! The event, and which settings are refused.

use super::*;
use crate::idp::Asking;
use crate::secret::Secret;

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:idp";

fn event(omit: bool, credential: Credential) -> String {
    let mut settings = LambdaSettings::new(ARN, "s-1");
    settings.omit_blank_password = omit;
    let question = Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential,
        source_ip: "::ffff:192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    };
    let lambda = Lambda::new(settings).unwrap();
    String::from_utf8(lambda.event(&question).unwrap().to_vec()).unwrap()
}

#[test]
fn events_have_the_keys_of_transfer_family_and_no_others() {
    let password = Credential::Password(Secret::new("tidal \"fern\"".to_owned()));
    assert_eq!(
        event(false, password),
        r#"{"username":"ann","password":"tidal \"fern\"","protocol":"SFTP","serverId":"s-1","sourceIp":"192.0.2.7"}"#
    );
    assert_eq!(
        event(false, Credential::PublicKey),
        r#"{"username":"ann","password":"","protocol":"SFTP","serverId":"s-1","sourceIp":"192.0.2.7"}"#
    );
    assert_eq!(
        event(true, Credential::PublicKey),
        r#"{"username":"ann","protocol":"SFTP","serverId":"s-1","sourceIp":"192.0.2.7"}"#
    );
}

#[test]
fn the_region_is_set_or_stands_in_the_arn() {
    let place = |function: &str, region: Option<&str>| {
        let mut settings = LambdaSettings::new(function, "s-1");
        settings.region = region.map(str::to_owned);
        let lambda = Lambda::new(settings).map_err(|error| error.to_string())?;
        Ok::<_, String>(lambda.place().unwrap().0)
    };
    let ireland = Ok("lambda.eu-west-1.amazonaws.com".to_owned());
    assert_eq!(place(ARN, None), ireland);
    assert_eq!(place(ARN, Some("eu-west-1")), ireland);
    assert_eq!(place("idp", Some("eu-west-1")), ireland);
    assert_eq!(
        place("123456789012:function:idp", Some("eu-west-1")),
        ireland
    );
    let china = place("idp", Some("cn-north-1")).unwrap();
    assert_eq!(china, "lambda.cn-north-1.amazonaws.com.cn");
    for (function, region, part) in [
        ("idp", None, "aws_region is missing"),
        (ARN, Some("us-east-1"), "the function's ARN says"),
        ("idp", Some("a b"), "is not a valid region"),
    ] {
        let error = place(function, region).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn events_do_not_travel_in_clear_text_unless_told_so() {
    let with = |endpoint: &str, plaintext: bool| {
        let mut settings = LambdaSettings::new(ARN, "s-1");
        settings.endpoint = Some(endpoint.to_owned());
        settings.plaintext = plaintext;
        Lambda::new(settings).is_ok()
    };
    assert!(with("http://127.0.0.1:3001", false));
    assert!(!with("http://localstack:4566", false));
    assert!(with("http://localstack:4566", true));
}

#[test]
fn roots_that_hold_no_certificate_are_refused() {
    for pem in ["", "not PEM"] {
        let mut settings = LambdaSettings::new(ARN, "s-1");
        settings.ca_pem = Some(pem.as_bytes().to_vec());
        assert!(Lambda::new(settings).is_err(), "{pem:?}");
    }
}
