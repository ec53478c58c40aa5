//! What is asked, and which settings are refused.

use super::*;
use crate::idp::Asking;
use crate::idp::Credential;

fn refusal(url: &str) -> Option<String> {
    let settings = WebhookSettings::new(url, "s-1");
    Webhook::new(settings).err().map(|error| error.to_string())
}

#[test]
fn passwords_do_not_travel_in_clear_text_unless_told_so() {
    for good in [
        "https://idp.example.com/login",
        "http://localhost:8000/",
        "http://127.0.0.9:8000",
        "http://[::1]:8000/",
    ] {
        assert_eq!(refusal(good), None, "{good}");
    }
    for bad in [
        "http://idp.example.com/",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
        "http://localhost.example.com/",
    ] {
        assert!(refusal(bad).unwrap().contains("plaintext = true"), "{bad}");
    }
    let mut settings = WebhookSettings::new("http://idp.internal/", "s-1");
    settings.plaintext = true;
    assert!(Webhook::new(settings).is_ok());
}

#[test]
fn urls_that_cannot_be_asked_are_refused() {
    for bad in [
        "",
        "idp.example.com",
        "ftp://idp.example.com/",
        "unix:/run/idp",
    ] {
        assert!(refusal(bad).is_some(), "{bad}");
    }
    let secret = refusal("https://ann:walnut-39@idp.example.com/").unwrap();
    assert!(!secret.contains("walnut-39"), "{secret}");
}

#[test]
fn roots_that_hold_no_certificate_are_refused() {
    for pem in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ] {
        let mut settings = WebhookSettings::new("https://idp.example.com/", "s-1");
        settings.ca_pem = Some(pem.as_bytes().to_vec());
        assert!(Webhook::new(settings).is_err(), "{pem}");
    }
}

#[test]
fn debug_output_hides_headers_and_passwords() {
    let mut settings = WebhookSettings::new("https://idp.example.com/", "s-1");
    let header = Secret::new("Bearer walnut-39".to_owned());
    settings.headers.push(("Authorization".to_owned(), header));
    let shown = format!("{:?}", Webhook::new(settings).unwrap());
    assert!(!shown.contains("walnut-39"), "{shown}");
}

fn question(credential: Credential) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential,
        source_ip: "::ffff:192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

fn sent(event: Event, credential: Credential) -> serde_json::Value {
    let mut settings = WebhookSettings::new("https://idp.example.com/", "s-1");
    settings.event = event;
    serde_json::from_slice(&body::body(&question(credential), &settings).unwrap()).unwrap()
}

#[test]
fn questions_have_the_keys_of_their_contract() {
    let password = || Credential::Password(Secret::new("tidal \"fern\"".to_owned()));
    assert_eq!(
        sent(Event::Plain, password()),
        serde_json::json!({"contract": 1, "requestId": "c1-1", "method": "password",
            "username": "ann", "password": "tidal \"fern\"", "protocol": "SFTP",
            "serverId": "s-1", "sourceIp": "192.0.2.7"})
    );
    assert_eq!(
        sent(Event::Plain, Credential::PublicKey),
        serde_json::json!({"contract": 1, "requestId": "c1-1", "method": "public-key",
            "username": "ann", "protocol": "SFTP", "serverId": "s-1",
            "sourceIp": "192.0.2.7"})
    );
    assert_eq!(
        sent(Event::TransferFamily, Credential::PublicKey),
        serde_json::json!({"username": "ann", "password": "", "protocol": "SFTP",
            "serverId": "s-1", "sourceIp": "192.0.2.7"})
    );
}

#[test]
fn the_blank_password_of_a_look_up_can_be_left_out() {
    let mut settings = WebhookSettings::new("https://idp.example.com/", "s-1");
    settings.event = Event::TransferFamily;
    settings.look_up_password = LookUpPassword::Absent;
    let sent = |credential| {
        let body = body::body(&question(credential), &settings).unwrap();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    assert_eq!(
        sent(Credential::PublicKey),
        serde_json::json!({"username": "ann", "protocol": "SFTP", "serverId": "s-1",
            "sourceIp": "192.0.2.7"})
    );
    let password = Credential::Password(Secret::new("tidal \"fern\"".to_owned()));
    assert_eq!(sent(password)["password"], "tidal \"fern\"");
}
