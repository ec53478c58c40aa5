//! New keys in the middle of transfers, begun by either end: three files at a time, over three
//! sessions of one connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::*;

const UPLOADS: usize = 3;
const FILE: usize = 2 * PART + 123_457;
const PIECE: usize = 32 * 1024;
const UNDER_WAY: usize = 64;
const REKEY_BYTES: usize = 1 << 20;
/// As many exchanges as there are in any case: all that is under way may pass during one.
const EXCHANGES_MIN: usize = UPLOADS * FILE / (REKEY_BYTES + UPLOADS * UNDER_WAY * PIECE);

#[tokio::test]
async fn keys_that_the_client_asks_for_in_mid_transfer_cost_no_byte() {
    let exchanged = transfer_side_by_side(Some(REKEY_BYTES), None).await;
    exchanged.expect_many();
}

#[tokio::test]
async fn keys_that_the_gateway_asks_for_in_mid_transfer_cost_no_byte() {
    let exchanged = transfer_side_by_side(None, Some(REKEY_BYTES)).await;
    exchanged.expect_many();
}

#[tokio::test]
async fn keys_that_both_ends_ask_for_in_mid_transfer_cost_no_byte() {
    let exchanged = transfer_side_by_side(Some(REKEY_BYTES), Some(REKEY_BYTES)).await;
    exchanged.expect_many();
}

/// How often new keys were agreed on after the login.
#[derive(Debug)]
struct Exchanged {
    uploading: usize,
    downloading: usize,
}

impl Exchanged {
    fn expect_many(&self) {
        assert!(self.uploading >= EXCHANGES_MIN, "{self:?}");
        assert!(self.downloading >= EXCHANGES_MIN, "{self:?}");
    }
}

/// Uploads three files over three sessions of one connection, then downloads them, and compares.
///
/// An end without a limit asks for no keys: its default is far more than what is moved.
async fn transfer_side_by_side(client: Option<usize>, gateway: Option<usize>) -> Exchanged {
    let defaults = Set::default();
    let stage = Stage::with(Set {
        rekey_bytes: gateway.map_or(defaults.rekey_bytes, |bytes| bytes as u64),
        ..defaults
    })
    .await;
    let mut config = client::Config::default();
    if let Some(bytes) = client {
        config.limits.rekey_write_limit = bytes;
        config.limits.rekey_read_limit = bytes;
    }
    let exchanges = Arc::new(AtomicUsize::new(0));
    let counting = Counting(Arc::clone(&exchanges));
    let connected = client::connect(Arc::new(config), stage.gateway.address(), counting);
    let mut ssh = within(connected).await.unwrap();
    let answer = within(ssh.authenticate_password(USER, PASSWORD)).await;
    assert!(answer.unwrap().success());
    let mut sessions = Vec::new();
    for _ in 0..UPLOADS {
        sessions.push(within(session(&ssh)).await);
    }
    let whole = bytes(FILE + UPLOADS);
    let files: Vec<&[u8]> = (0..UPLOADS).map(|at| &whole[at..at + FILE]).collect();
    let name = |number: usize| format!("/in/{number}");

    let before = exchanges.load(Ordering::SeqCst);
    let uploads = sessions.iter().zip(&files).enumerate();
    let uploads = uploads.map(|(at, (sftp, file))| upload(sftp, name(at), file));
    patiently(join_all(uploads)).await;
    let between = exchanges.load(Ordering::SeqCst);
    for (at, file) in files.iter().enumerate() {
        assert!(stage.object(&format!("in/{at}")).unwrap() == *file, "{at}");
    }
    let downloads = sessions.iter().enumerate();
    let downloads = downloads.map(|(at, sftp)| download(sftp, name(at)));
    for (at, (came, file)) in patiently(join_all(downloads))
        .await
        .iter()
        .zip(&files)
        .enumerate()
    {
        assert!(came == file, "{at}");
    }
    let after = exchanges.load(Ordering::SeqCst);

    drop((sessions, ssh));
    let log = stage.end().await;
    assert_eq!(log.all("uploaded").len(), UPLOADS);
    Exchanged {
        uploading: between - before,
        downloading: after - between,
    }
}

async fn session(ssh: &client::Handle<Counting>) -> RawSftpSession {
    let channel = ssh.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let sftp = RawSftpSession::new(channel.into_stream());
    sftp.set_timeout(PATIENCE.as_secs());
    sftp.init().await.unwrap();
    sftp
}

async fn upload(sftp: &RawSftpSession, name: String, file: &[u8]) {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let opened = sftp.open(name, flags, FileAttributes::empty()).await;
    let handle = opened.unwrap().handle;
    let pieces = file.chunks(PIECE).enumerate();
    let writes = stream::iter(pieces).map(Ok::<_, russh_sftp::client::error::Error>);
    let written = writes.try_for_each_concurrent(UNDER_WAY, async |(at, piece)| {
        let offset = (at * PIECE) as u64;
        sftp.write(&handle, offset, piece.to_vec()).await.map(drop)
    });
    written.await.unwrap();
    sftp.close(&handle).await.unwrap();
}

async fn download(sftp: &RawSftpSession, name: String) -> Vec<u8> {
    let opened = sftp.open(name, OpenFlags::READ, FileAttributes::empty());
    let handle = opened.await.unwrap().handle;
    let reads = stream::iter((0..FILE).step_by(PIECE)).map(async |offset| {
        let length = PIECE.min(FILE - offset);
        let wanted = u32::try_from(length).unwrap();
        let data = sftp
            .read(&handle, offset as u64, wanted)
            .await
            .unwrap()
            .data;
        assert_eq!(data.len(), length, "at {offset}");
        data
    });
    let pieces: Vec<_> = reads.buffered(UNDER_WAY).collect().await;
    sftp.close(&handle).await.unwrap();
    pieces.concat()
}

/// Bounds what moves many bytes: a test that hangs must fail.
async fn patiently<T>(moving: impl Future<Output = T>) -> T {
    timeout(PATIENCE, moving).await.expect("took too long")
}

const PATIENCE: Duration = Duration::from_secs(300);

/// Trusts every server, and counts the key exchanges that came to their end.
struct Counting(Arc<AtomicUsize>);

impl client::Handler for Counting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &russh::Names,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
