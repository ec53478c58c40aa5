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
    // As the SDK of Lambda had them.
    for (region, host) in [
        ("us-gov-west-1", "lambda.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "lambda.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "lambda.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "lambda.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "lambda.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", "lambda.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", "lambda.us-isof-south-1.csp.hci.ic.gov"),
        ("xx-later-9", "lambda.xx-later-9.amazonaws.com"),
    ] {
        assert_eq!(place("idp", Some(region)), Ok(host.to_owned()));
    }
    for (function, region, part) in [
        ("idp", None, "aws_region is missing"),
        (ARN, Some("us-east-1"), "the function's ARN says"),
        ("idp", Some("a b"), "is not a valid region"),
        ("idp", Some(""), "is not a valid region"),
        // Other hosts than AWS's.
        ("idp", Some("example.com/"), "is not a valid region"),
        ("idp", Some("example.com:443/x"), "is not a valid region"),
        ("idp", Some("a.example"), "is not a valid region"),
    ] {
        let error = place(function, region).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn functions_and_qualifiers_are_encoded_in_the_target_and_not_for_people() {
    for (function, qualifier, path) in [
        ("idp", None, "idp/invocations"),
        ("idp:live", None, "idp%3Alive/invocations"),
        (
            "idp",
            Some("$LATEST"),
            "idp/invocations?Qualifier=%24LATEST",
        ),
        (
            ARN,
            Some("7"),
            "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aidp/invocations?Qualifier=7",
        ),
        (
            "a/../b?c#d e\r\nX: y",
            Some("a&b=c"),
            "a%2F..%2Fb%3Fc%23d%20e%0D%0AX%3A%20y/invocations?Qualifier=a%26b%3Dc",
        ),
    ] {
        let endpoint = Endpoint::parse("http://127.0.0.1:3001/stage/", false).unwrap();
        let expected = format!("/stage/2015-03-31/functions/{path}");
        assert_eq!(target(&endpoint, function, qualifier), expected);
    }
    let endpoint = Endpoint::parse("http://127.0.0.1:3001", false).unwrap();
    assert_eq!(
        shown_url(&endpoint, "idp:live", Some("$LATEST")),
        "http://127.0.0.1:3001/2015-03-31/functions/idp:live/invocations?Qualifier=$LATEST"
    );
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
