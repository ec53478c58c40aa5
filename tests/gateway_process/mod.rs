//! The gateway as a process of its own, for what is measured from outside.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

/// The gateway's process, ended with this value.
pub(crate) struct GatewayProcess {
    process: Child,
    pub(crate) address: SocketAddr,
    state: tempfile::TempDir,
}

impl GatewayProcess {
    /// Starts one with a host key of its own and without an operator's port; `settings` are
    /// variables of its environment.
    pub(crate) async fn start(settings: &[(&str, &dyn AsRef<OsStr>)]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let host_key = state.path().join("host_key");
        let seed = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[9; 32]));
        let key = PrivateKey::new(seed, "host").unwrap();
        std::fs::write(&host_key, key.to_openssh(LineEnding::LF).unwrap()).unwrap();
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&host_key, own).unwrap();
        let log_path = state.path().join("log");
        let log = std::fs::File::create(&log_path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .arg("serve")
            .env("PORTCULLIS_LISTEN", "127.0.0.1:0")
            .env("PORTCULLIS_HOST_KEY_FILES", &host_key)
            .env("PORTCULLIS_ADMIN_LISTEN", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::from(log));
        for (name, value) in settings {
            command.env(name, value.as_ref());
        }
        let mut process = command.spawn().unwrap();
        let address = loop {
            let log = std::fs::read_to_string(&log_path).unwrap();
            if let Some(address) = listening(&log) {
                break address;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway did not start: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self {
            process,
            address,
            state,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap()
    }

    pub(crate) fn resident_kib(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let end = log.get(log.len().saturating_sub(3_000)..);
            println!("{}", end.unwrap_or(&log));
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Finds the address in the gateway's log.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.parse().ok()
}
