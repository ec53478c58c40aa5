//! Certificates that nobody signed but their own key, as people make them for a first try.

use std::sync::Arc;

use portcullis::aws::AccessKey;
use portcullis::idp::api_gateway::{ApiGateway, ApiGatewaySettings};
use portcullis::idp::lambda::{Lambda, LambdaSettings};
use portcullis::idp::webhook::{Webhook, WebhookSettings};
use portcullis::idp::{AwsCredentials, IdentityProvider, Judged};
use portcullis::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::tls::acceptor;
use crate::idp_api_gateway::{PASSWORD, password, yes};

const WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Returns what accepts connections with such a certificate, and its PEM. `openssl req -x509` marks
/// it as an authority, and names nobody in it unless it is told to.
fn self_signed(names: &[&str], is_ca: IsCa) -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).unwrap();
    (acceptor(&certificate, &key), certificate.pem())
}

/// Asks a server with such a certificate, which each provider has in its `ca_file`.
async fn ask_all(names: &[&str], is_ca: IsCa) -> Vec<Judged> {
    let (acceptor, pem) = self_signed(names, is_ca);
    let script = (0..3).map(|_| Reply::Json(200, yes()));
    let idp = FakeIdp::start_tls(script, acceptor).await;
    let url = format!("https://localhost:{}", idp.address().port());
    let pem = Some(pem.into_bytes());
    let webhook = WebhookSettings {
        ca_pem: pem.clone(),
        total_timeout: WAIT,
        connect_timeout: WAIT,
        ..WebhookSettings::new(&url, "s-1")
    };
    let api = ApiGatewaySettings {
        ca_pem: pem.clone(),
        total_timeout: WAIT,
        connect_timeout: WAIT,
        ..ApiGatewaySettings::new(&url, "s-1")
    };
    let lambda = LambdaSettings {
        ca_pem: pem,
        total_timeout: WAIT,
        connect_timeout: WAIT,
        endpoint: Some(url.clone()),
        region: Some("eu-west-1".to_owned()),
        credentials: AwsCredentials::Static(AccessKey::new(
            "AKIDEXAMPLE",
            &Secret::new("walnut-39".to_owned()),
            None,
        )),
        ..LambdaSettings::new("idp", "s-1")
    };
    let providers: [Arc<dyn IdentityProvider>; 3] = [
        Arc::new(Webhook::new(webhook).unwrap()),
        Arc::new(ApiGateway::new(api).unwrap()),
        Arc::new(Lambda::new(lambda).unwrap()),
    ];
    let mut judged = Vec::new();
    for provider in providers {
        judged.push(provider.ask(&password(PASSWORD)).await);
    }
    judged
}

#[tokio::test]
async fn a_self_signed_certificate_in_ca_file_works_or_says_what_to_change() {
    for judged in ask_all(&["localhost"], IsCa::ExplicitNoCa).await {
        assert!(judged.is_ok(), "{judged:?}");
    }
    // What `openssl req -x509` makes, with and without a subjectAltName.
    let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
    for (names, is_ca, remedy) in [
        (
            &["localhost"][..],
            authority(),
            "basicConstraints=critical,CA:FALSE",
        ),
        (&[][..], authority(), "basicConstraints=critical,CA:FALSE"),
        (&[][..], IsCa::ExplicitNoCa, "subjectAltName=DNS:HOST"),
    ] {
        for judged in ask_all(names, is_ca).await {
            let refusal = judged.unwrap_err();
            assert_eq!(refusal.reason.as_str(), "connect", "{refusal}");
            assert!(refusal.to_string().contains(remedy), "{refusal}");
        }
    }
}
