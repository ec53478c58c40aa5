//! The question on the wire.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Event, LookUpPassword, WebhookSettings};
use crate::idp::{Credential, Question};

/// The keys, in the order in which they are sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    protocol: &'static str,
    server_id: &'a str,
    source_ip: IpAddr,
}

/// Writes the question into memory that is wiped when the last copy is dropped. hyper's own
/// buffer is out of reach.
pub(super) fn body(question: &Question, settings: &WebhookSettings) -> io::Result<Bytes> {
    let (method, password) = match &question.credential {
        Credential::Password(password) => ("password", Some(password.expose())),
        Credential::PublicKey => ("public-key", None),
    };
    let plain = settings.event == Event::Plain;
    // Handlers for Transfer Family tell a key look-up by the blank password.
    let blank = (!plain && settings.look_up_password == LookUpPassword::Empty).then_some("");
    let body = Body {
        contract: plain.then_some(1),
        request_id: plain.then_some(&*question.request_id),
        method: plain.then_some(method),
        session_id: (plain && settings.send_session_id).then_some(&*question.session_id),
        username: &question.username,
        password: password.or(blank),
        protocol: "SFTP",
        server_id: &settings.server_id,
        source_ip: question.source_ip.to_canonical(),
    };
    // Large enough not to grow: growing would leave a copy behind.
    let escaped = |text: &str| text.len().saturating_mul(6);
    let room = escaped(&question.username)
        .saturating_add(password.map_or(0, escaped))
        .saturating_add(escaped(&settings.server_id))
        .saturating_add(escaped(&question.session_id))
        .saturating_add(escaped(&question.request_id))
        .saturating_add(512);
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *text, &body)?;
    Ok(Bytes::from_owner(text))
}
