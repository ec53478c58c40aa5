//! A client that is slow: the question in two pieces, the answer read late.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Bench, Grade, Trial, word};
use crate::idp::webhook::{Event, WebhookSettings};
use crate::idp::wire::{self, Asked, Transport};
use crate::idp::{AuthMethod, Judged};
use crate::limits;

/// Long enough that no service reads both pieces at once.
const PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn slow_question(bench: &Bench<'_>) -> Trial {
    let name = "slow request, answer read late";
    let why = "a network may deliver the request in pieces: read as many bytes as Content-Length \
               says, not only the first piece";
    let skipped = |found: &str| Trial {
        name,
        grade: Grade::Skipped,
        found: found.to_owned(),
        why,
    };
    let Some(webhook) = &bench.tried.webhook else {
        return skipped("only possible for a webhook");
    };
    if webhook.url.starts_with("https:") {
        return skipped("only over http://");
    }
    if webhook.hmac_secret.is_some() || webhook.signing.is_some() {
        return skipped("only without a signature");
    }
    let patience = bench.tried.total_timeout;
    let answered = tokio::time::timeout(patience, exchange(bench, webhook)).await;
    let (grade, found) = match answered {
        Ok(Ok(judged @ Ok(_))) => (Grade::Good, word(&judged)),
        Ok(Ok(judged)) => (Grade::Wrong, word(&judged)),
        Ok(Err(error)) => (Grade::Wrong, format!("the connection broke: {error}")),
        Err(_) => (Grade::Wrong, "no answer in time".to_owned()),
    };
    Trial {
        name,
        grade,
        found,
        why,
    }
}

async fn exchange(bench: &Bench<'_>, webhook: &WebhookSettings) -> std::io::Result<Judged> {
    let mut stream = TcpStream::connect(bench.tried.provider.place().unwrap_or_default()).await?;
    let request = request(bench, webhook);
    let middle = request.len() / 2;
    let (first, second) = request.split_at(middle.max(request.len().saturating_sub(20)));
    stream.write_all(first).await?;
    stream.flush().await?;
    tokio::time::sleep(PAUSE).await;
    stream.write_all(second).await?;
    tokio::time::sleep(PAUSE).await;
    let mut answer = Vec::new();
    let most = u64::try_from(limits::ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    (&mut stream).take(most).read_to_end(&mut answer).await?;
    let asked = Asked {
        username: &bench.subject.user,
        method: AuthMethod::Password,
        accept_keys_with_password: webhook.accept_keys_with_password,
        path_homes: webhook.path_homes,
        fs_ids: &webhook.fs_ids,
        transport: Transport::Http,
        function_error: false,
    };
    let (status, body) = split(&answer).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP")
    })?;
    bench.statuses.note(Some(status));
    Ok(wire::parse(asked, status, body))
}

/// Writes the question. HTTP/1.0 asks for an answer in one piece that ends with the connection.
fn request(bench: &Bench<'_>, webhook: &WebhookSettings) -> Zeroizing<Vec<u8>> {
    let subject = bench.subject;
    let mut body = json!({
        "username": subject.user,
        "password": subject.password.expose(),
        "protocol": "SFTP",
        "serverId": &*webhook.server_id,
        "sourceIp": subject.source_ip.to_canonical().to_string(),
    });
    if webhook.event == Event::Plain
        && let Some(body) = body.as_object_mut()
    {
        body.insert("contract".to_owned(), 1.into());
        body.insert("requestId".to_owned(), "contract-slow".into());
        body.insert("method".to_owned(), "password".into());
    }
    let body = body.to_string();
    let (host, port) = bench.tried.provider.place().unwrap_or_default();
    let path = webhook.url.splitn(4, '/').nth(3).unwrap_or_default();
    let length = body.len();
    let mut request = format!(
        "POST /{path} HTTP/1.0\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n"
    );
    for (name, value) in &webhook.headers {
        request.extend([name, ": ", value.expose(), "\r\n"]);
    }
    request.extend(["\r\n", &body]);
    Zeroizing::new(request.into_bytes())
}

/// Splits an answer into its status and its body.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = answer.split_at(end);
    let head = std::str::from_utf8(head).ok()?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, rest.strip_prefix(b"\r\n\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_into_status_and_body() {
        let answer = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{}";
        assert_eq!(split(answer), Some((200, &b"{}"[..])));
        assert_eq!(split(b"HTTP/1.0 500 No\r\n\r\n"), Some((500, &b""[..])));
        assert_eq!(split(b"SSH-2.0-x\r\n"), None);
    }
}
