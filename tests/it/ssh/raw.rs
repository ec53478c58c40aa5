//! A client that sends any message whenever it likes: AES-256-GCM over curve25519, or over a
//! finite field with the public key 2, whose secret is 1. Host keys are not looked at.

use std::net::SocketAddr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};
use aws_lc_rs::rand::SystemRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{USER, within};

pub(super) const DISCONNECT: u8 = 1;
pub(super) const IGNORE: u8 = 2;
pub(super) const UNIMPLEMENTED: u8 = 3;
pub(super) const DEBUG: u8 = 4;
pub(super) const SERVICE_REQUEST: u8 = 5;
pub(super) const SERVICE_ACCEPT: u8 = 6;
pub(super) const USERAUTH_REQUEST: u8 = 50;
pub(super) const USERAUTH_FAILURE: u8 = 51;
pub(super) const USERAUTH_SUCCESS: u8 = 52;
pub(super) const GLOBAL_REQUEST: u8 = 80;
pub(super) const REQUEST_SUCCESS: u8 = 81;
pub(super) const REQUEST_FAILURE: u8 = 82;
pub(super) const CHANNEL_WINDOW_ADJUST: u8 = 93;
pub(super) const CHANNEL_DATA: u8 = 94;
pub(super) const CHANNEL_SUCCESS: u8 = 99;
pub(super) const CHANNEL_FAILURE: u8 = 100;
const CHANNEL_OPEN: u8 = 90;
const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
const CHANNEL_REQUEST: u8 = 98;
pub(super) const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const KEX_INIT: u8 = 30;

pub(super) const CURVE: &str = "curve25519-sha256";
const LINE: &str = "SSH-2.0-Raw_1";

pub(super) struct RawClient {
    tcp: TcpStream,
    server_line: String,
    sealing: Option<Direction>,
    opening: Option<Direction>,
    pub(super) session_id: Vec<u8>,
    /// Packets sent.
    pub(super) sent: u32,
    /// The server's last offer.
    pub(super) offer: Vec<u8>,
    /// Channels opened: the next one's number at the client.
    channels: u32,
}

struct Direction {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl Direction {
    fn new(key: &[u8], iv: &[u8]) -> Self {
        Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()),
            fixed: iv[..4].try_into().unwrap(),
            counter: u64::from_be_bytes(iv[4..12].try_into().unwrap()),
        }
    }

    fn nonce(&mut self) -> Nonce {
        let counter = self.counter.to_be_bytes();
        self.counter = self.counter.wrapping_add(1);
        let nonce = [&self.fixed[..], &counter].concat();
        Nonce::assume_unique_for_key(nonce.try_into().unwrap())
    }
}

pub(super) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    if bytes.first().is_some_and(|first| *first > 0x7f) {
        return string([&[0], bytes].concat());
    }
    string(bytes)
}

/// Takes a string off the front.
pub(super) fn take(rest: &mut &[u8]) -> Vec<u8> {
    let length = u32::from_be_bytes(rest[..4].try_into().unwrap());
    let (taken, tail) = rest[4..].split_at(usize::try_from(length).unwrap());
    *rest = tail;
    taken.to_vec()
}

fn offer(exchange: &str) -> Vec<u8> {
    let mut payload = vec![KEXINIT];
    payload.extend([7; 16]);
    let (cipher, mac) = ("aes256-gcm@openssh.com", "hmac-sha2-256");
    for list in [
        exchange,
        "ssh-ed25519,rsa-sha2-512",
        cipher,
        cipher,
        mac,
        mac,
        "none",
        "none",
        "",
        "",
    ] {
        payload.extend(string(list));
    }
    payload.extend([0; 5]);
    payload
}

impl RawClient {
    /// Connects and makes the first key exchange.
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::connect_by(address, CURVE).await.unwrap()
    }

    /// Connects with one kind of key exchange; `None` if the server does not go along.
    pub(super) async fn connect_by(address: SocketAddr, exchange: &str) -> Option<Self> {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(format!("{LINE}\r\n").as_bytes())
            .await
            .unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(within(tcp.read_u8()).await.unwrap());
        }
        let mut client = Self {
            tcp,
            server_line: String::from_utf8(line).unwrap().trim_end().to_owned(),
            sealing: None,
            opening: None,
            session_id: Vec::new(),
            sent: 0,
            offer: Vec::new(),
            channels: 0,
        };
        client.exchange_keys(exchange).await?;
        Some(client)
    }

    /// Exchanges keys; `None` if the server ends the connection instead.
    pub(super) async fn exchange_keys(&mut self, exchange: &str) -> Option<()> {
        let own_offer = offer(exchange);
        self.send(&own_offer).await;
        self.offer = self.receive().await?;
        assert_eq!(self.offer[0], KEXINIT);
        let curve = exchange == CURVE;
        let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let public = if curve {
            string(secret.compute_public_key().unwrap())
        } else {
            mpint(&[2])
        };
        self.send(&[&[KEX_INIT][..], &public].concat()).await;
        let reply = self.receive().await?;
        let mut rest = &reply[1..];
        let host_key = take(&mut rest);
        let theirs = take(&mut rest);
        let shared = if curve {
            let theirs = UnparsedPublicKey::new(&X25519, &theirs);
            agree_ephemeral(secret, theirs, (), |shared| Ok(shared.to_vec())).unwrap()
        } else {
            theirs.clone()
        };
        let algorithm: &'static Algorithm = if exchange.ends_with("512") {
            &SHA512
        } else {
            &SHA256
        };
        let shared = mpint(&shared);
        let hashed = [
            string(LINE),
            string(&self.server_line),
            string(&own_offer),
            string(&self.offer),
            string(&host_key),
            public,
            string(&theirs),
            shared.clone(),
        ]
        .concat();
        let hash = digest(algorithm, &hashed);
        if self.session_id.is_empty() {
            self.session_id = hash.as_ref().to_vec();
        }
        let derived = |letter: u8| {
            let text = [&shared, hash.as_ref(), &[letter], &self.session_id].concat();
            digest(algorithm, &text).as_ref().to_vec()
        };
        let sealing = Direction::new(&derived(b'C')[..32], &derived(b'A'));
        let opening = Direction::new(&derived(b'D')[..32], &derived(b'B'));
        assert_eq!(self.receive().await?, [NEWKEYS]);
        self.send(&[NEWKEYS]).await;
        self.sealing = Some(sealing);
        self.opening = Some(opening);
        Some(())
    }

    pub(super) async fn send(&mut self, payload: &[u8]) {
        // The server may have gone; then nothing will be received.
        let packet = self.sealed(payload);
        self.push(&packet).await;
    }

    /// Sends bytes as they are.
    pub(super) async fn push(&mut self, bytes: &[u8]) {
        drop(self.tcp.write_all(bytes).await);
    }

    /// Makes a packet without sending it.
    pub(super) fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let block = if self.sealing.is_some() { 16 } else { 8 };
        let head = if self.sealing.is_some() { 1 } else { 5 };
        let padding = 4 + (block - (head + payload.len() + 4) % block) % block;
        let mut body = vec![u8::try_from(padding).unwrap()];
        body.extend(payload);
        body.extend(vec![0; padding]);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        if let Some(direction) = &mut self.sealing {
            let nonce = direction.nonce();
            direction
                .key
                .seal_in_place_append_tag(nonce, Aad::from(length), &mut body)
                .unwrap();
        }
        [&length[..], &body].concat()
    }

    /// The next message; `None` at the end of the connection.
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        within(self.tcp.read_exact(&mut length)).await.ok()?;
        let tag = if self.opening.is_some() { 16 } else { 0 };
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() + tag];
        within(self.tcp.read_exact(&mut body)).await.ok()?;
        if let Some(direction) = &mut self.opening {
            let nonce = direction.nonce();
            direction
                .key
                .open_in_place(nonce, Aad::from(length), &mut body)
                .unwrap();
        }
        let padding = usize::from(body[0]);
        Some(body[1..body.len() - tag - padding].to_vec())
    }

    /// Asks for the service and waits for the answer.
    pub(super) async fn request_service(&mut self) {
        self.send(&[&[SERVICE_REQUEST][..], &string("ssh-userauth")].concat())
            .await;
        let answer = self.receive().await.unwrap();
        assert_eq!(answer[0], SERVICE_ACCEPT);
    }

    /// Tries a password and returns the kind of the answer.
    pub(super) async fn try_password(&mut self, password: &str) -> u8 {
        let request = [
            &[USERAUTH_REQUEST][..],
            &string(USER),
            &string("ssh-connection"),
            &string("password"),
            &[0],
            &string(password),
        ]
        .concat();
        self.send(&request).await;
        self.receive().await.unwrap()[0]
    }
}

impl RawClient {
    /// Connects and logs in; the announcement of host keys is passed over.
    pub(super) async fn user(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        client.request_service().await;
        assert_eq!(client.try_password(super::PASSWORD).await, USERAUTH_SUCCESS);
        assert_eq!(client.receive().await.unwrap()[0], GLOBAL_REQUEST);
        client
    }

    /// Opens a session channel and returns its number at the server.
    pub(super) async fn open_channel(&mut self) -> [u8; 4] {
        self.open_channel_with_window().await.0
    }

    /// Opens a session channel; returns its number at the server and what may be sent on it.
    pub(super) async fn open_channel_with_window(&mut self) -> ([u8; 4], u32) {
        let open = [
            &[CHANNEL_OPEN][..],
            &string("session"),
            &self.channels.to_be_bytes(),
            &(1_u32 << 20).to_be_bytes(),
            &(1_u32 << 15).to_be_bytes(),
        ];
        self.send(&open.concat()).await;
        self.channels += 1;
        let answer = self.receive().await.unwrap();
        assert_eq!(answer[0], CHANNEL_OPEN_CONFIRMATION);
        let window = u32::from_be_bytes(answer[9..13].try_into().unwrap());
        (answer[5..9].try_into().unwrap(), window)
    }

    /// Opens a channel and starts the gateway's sessions on it.
    pub(super) async fn open_sftp(&mut self) -> ([u8; 4], u32) {
        let (channel, window) = self.open_channel_with_window().await;
        let name = string("sftp");
        let request = [
            &[CHANNEL_REQUEST][..],
            &channel,
            &string("subsystem"),
            &[1],
            &name,
        ];
        self.send(&request.concat()).await;
        assert_eq!(self.receive().await.unwrap()[0], CHANNEL_SUCCESS);
        (channel, window)
    }

    /// Sends bytes on a channel, in one packet.
    pub(super) async fn send_data(&mut self, channel: [u8; 4], bytes: impl AsRef<[u8]>) {
        let packet = [&[CHANNEL_DATA][..], &channel, &string(bytes)];
        self.send(&packet.concat()).await;
    }

    /// Sends as many bytes on a channel, in packets of the largest size.
    pub(super) async fn fill(&mut self, channel: [u8; 4], bytes: u32) {
        let mut left = usize::try_from(bytes).unwrap();
        while left > 0 {
            let length = left.min(32 * 1024);
            self.send_data(channel, vec![0; length]).await;
            left -= length;
        }
    }

    /// Asks something that is always refused, which shows that all before it was read.
    pub(super) async fn ping(&mut self) {
        let request = [&[GLOBAL_REQUEST][..], &string("ping"), &[1]];
        self.send(&request.concat()).await;
    }

    /// Sends a request on a channel.
    pub(super) async fn channel_request(&mut self, channel: [u8; 4], name: &str, reply: bool) {
        let request = [
            &[CHANNEL_REQUEST][..],
            &channel,
            &string(name),
            &[u8::from(reply)],
        ];
        self.send(&request.concat()).await;
    }
}
