//! Standard error cannot be written: the disk is full, the pipe is closed, or nobody reads it.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use russh_sftp::protocol::FileAttributes;
use tokio::process::{Child, Command};

use super::shutdown::signal;
use super::*;

/// `portcullis serve` whose log goes to a place of the test's choice.
struct Process {
    child: Child,
    s3: EmbeddedS3,
    address: SocketAddr,
    admin: SocketAddr,
    _files: tempfile::TempDir,
    _webhook: BundledWebhook,
}

impl Process {
    async fn start(stdout: Stdio, stderr: Stdio, filter: &str) -> Self {
        let (s3, webhook) = (start_s3().await, start_webhook(allowed()).await);
        let files = tempfile::tempdir().unwrap();
        let state = files.path().display();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nstate_directory = \"{state}\"\n\
             [identity]\nurl = \"{}\"\n\
             [storage]\nendpoint = \"{}\"\npath_style = true\naccess_key_id = \"{}\"\n\
             secret_access_key = \"{S3_SECRET}\"\n\
             [log]\nfilter = \"{filter}\"\n\
             [limits]\npart_bytes = {PART}\ndrain_timeout_seconds = 60\n\
             [admin]\nlisten = \"127.0.0.2:0\"\n",
            webhook.url(),
            s3.endpoint(),
            s3.access_key(),
        );
        let config = format!("{state}/portcullis.toml");
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", &config])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let id = child.id().unwrap();
        let mut ports = Vec::new();
        // The log is not there to say which they are.
        until(|| {
            ports = listening(id);
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it did not start: {ended:?}");
            ports.len() == 2
        })
        .await;
        let of = |ip: Ipv4Addr| *ports.iter().find(|port| port.ip() == ip).unwrap();
        Self {
            child,
            s3,
            address: of(Ipv4Addr::LOCALHOST),
            admin: of(Ipv4Addr::new(127, 0, 0, 2)),
            _files: files,
            _webhook: webhook,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = within(reqwest::get(format!("http://{}{path}", self.admin)));
        let answer = answer.await.unwrap();
        let status = answer.status().as_u16();
        (status, within(answer.text()).await.unwrap())
    }

    /// Returns how many lines were lost, and of them how many of record.
    async fn lost(&self) -> (u64, u64) {
        let (_, metrics) = self.get("/metrics").await;
        let of = |kind: &str| {
            let name = format!("portcullis_log_lines_lost_total{{kind=\"{kind}\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().parse::<u64>().unwrap()
        };
        (of("audit") + of("other"), of("audit"))
    }

    /// Logs in, and uploads so many files.
    async fn upload(&self, files: usize) {
        let client = Client::connect(self.address, PASSWORD).await.unwrap();
        for file in 0..files {
            let path = format!("/in/{file}");
            client.upload(&path, &bytes(1_000)).await.unwrap();
            let stored = self.s3.object(BUCKET, &format!("in/{file}")).unwrap();
            assert!(stored.body == bytes(1_000));
        }
    }

    /// Tells it to stop in the middle of an upload, which comes to its end.
    async fn drain(mut self) -> ExitStatus {
        let client = Client::connect(self.address, PASSWORD).await.unwrap();
        let content = bytes(PART + 1_000);
        let handle = client.create("/in/last").await.unwrap();
        client.write(&handle, 0, &content[..PART]).await.unwrap();
        assert_eq!(self.get("/readyz").await.0, 200);
        assert!(signal(self.child.id().unwrap(), "TERM").await);
        within(async {
            while self.get("/readyz").await.0 == 200 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        client.write(&handle, PART, &content[PART..]).await.unwrap();
        client.close(&handle).await.unwrap();
        let status = within(self.child.wait()).await.unwrap();
        assert!(self.s3.object(BUCKET, "in/last").unwrap().body == content);
        assert_eq!(self.s3.uploads(BUCKET), []);
        status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_full_disk_stops_nothing() {
    let process = Process::start(full_disk(), full_disk(), "trace").await;
    process.upload(3).await;
    assert!(process.drain().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_into_a_closed_pipe_stops_nothing() {
    let process = Process::start(closed_pipe(), closed_pipe(), "trace").await;
    process.upload(3).await;
    assert!(process.drain().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_nothing() {
    let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
    let process = Process::start(stdout.into(), stderr.into(), "trace").await;
    process.upload(3).await;
    assert!(process.drain().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_were_lost_are_counted_and_named_and_those_of_record_are_kept() {
    let (reader, stderr) = full_pipe();
    let process = Process::start(Stdio::null(), stderr.into(), "trace").await;
    let mut files = 0;
    while process.lost().await.0 < 1_000 {
        files += 20;
        process.upload(20).await;
    }
    let (lost, of_record) = process.lost().await;
    assert_eq!(of_record, 0, "of {lost}");

    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let reading = std::thread::spawn(move || {
        for line in std::io::BufReader::new(reader).lines() {
            lines.send(line.unwrap()).unwrap();
        }
    });
    let mut log = Vec::new();
    let note = within(async {
        loop {
            log.push(heard.recv().await.unwrap());
            // What the pipe was filled with is no JSON.
            let line: Value = serde_json::from_str(log.last().unwrap()).unwrap_or_default();
            if line["lines_lost"].is_u64() {
                break line;
            }
        }
    })
    .await;
    assert_eq!(note["level"], "WARN");
    assert_eq!(note["target"], "portcullis::audit");
    assert_eq!(note["audit_lines_lost"], 0);
    let named = note["lines_lost"].as_u64().unwrap();
    assert!(named >= lost, "{named} of {lost}");
    assert!(named <= process.lost().await.0);
    assert!(process.drain().await.success());
    reading.join().unwrap();
    while let Some(line) = heard.recv().await {
        log.push(line);
    }
    let lines_with = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        lines_with("\"uploaded\""),
        files + 1,
        "those of record come first"
    );
    assert_eq!(
        lines_with("\"portcullis ends\""),
        1,
        "and the rest at the end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_is_named_once_on_standard_output() {
    let (mut reader, stdout) = std::io::pipe().unwrap();
    let process = Process::start(stdout.into(), full_disk(), "info").await;
    process.upload(1).await;
    assert!(process.drain().await.success());
    let mut said = String::new();
    let _ = reader.read_to_string(&mut said).unwrap();
    let expected = "portcullis: the log cannot be written to standard error: No space left on device (os error 28). ";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_how_it_ended_though_nobody_hears_why() {
    let files = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let (_out, stuck) = full_pipe();
    for (listen, stderr, code) in [
        ("nonsense", full_disk(), 78),
        ("nonsense", closed_pipe(), 78),
        (&*taken.to_string(), full_disk(), 1),
        (&taken.to_string(), closed_pipe(), 1),
        (&taken.to_string(), stuck.into(), 1),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("serve")
            .env("PORTCULLIS_LISTEN", listen)
            .env("PORTCULLIS_STATE_DIRECTORY", files.path())
            .env("PORTCULLIS_IDENTITY_URL", "https://idp.example.com")
            .env("PORTCULLIS_ADMIN_LISTEN", "off")
            .stdout(full_disk())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let status = within(child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(code), "{listen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quickstart_serves_though_nobody_reads_what_it_says() {
    for (stdout, stderr) in [
        (full_disk(), full_disk()),
        (closed_pipe(), closed_pipe()),
        (full_pipe().1.into(), full_pipe().1.into()),
    ] {
        let files = tempfile::tempdir().unwrap();
        let password = files.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["quickstart", "--listen", "127.0.0.3:0", "--user", USER])
            .arg("--password-file")
            .arg(&password)
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let id = child.id().unwrap();
        let mut address = None;
        until(|| {
            let ip = Ipv4Addr::new(127, 0, 0, 3);
            address = listening(id).into_iter().find(|port| port.ip() == ip);
            address.is_some()
        })
        .await;
        let client = Client::connect(address.unwrap(), PASSWORD).await.unwrap();
        let made = client.sftp.mkdir("/pics/new", FileAttributes::empty());
        drop(within(made).await.unwrap());
        drop(client);
        assert!(signal(id, "TERM").await);
        assert!(within(child.wait()).await.unwrap().success());
    }
}

fn full_disk() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A pipe that nobody reads, and that is full or becomes so before long.
fn full_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    // On a thread: a pipe may hold less than it usually does.
    drop(std::thread::spawn(move || {
        drop(filling.write_all("#\n".repeat(32 * 1024).as_bytes()));
    }));
    (reader, writer.into())
}

/// Returns where a process listens, over IPv4.
fn listening(id: u32) -> Vec<SocketAddr> {
    let links = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let sockets: Vec<_> = links
        .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            Some(link.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    rows.filter_map(|row: Vec<_>| {
        let listens = row[3] == "0A" && sockets.iter().any(|inode| inode == row[9]);
        let (ip, port) = listens.then(|| row[1].split_once(':'))??;
        let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
        let port = u16::from_str_radix(port, 16).unwrap();
        Some(SocketAddr::from((ip, port)))
    })
    .collect()
}
