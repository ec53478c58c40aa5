//! What the probe says of a store that honours everything, and of ones that do not.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::Arc;

use embedded_s3::{Action, Alteration, EmbeddedS3, Fault, Placement};
use portcullis::storage::probe::{Finding, Probe, Subject};
use portcullis::storage::s3::S3Store;
use portcullis::storage::{Bucket, Capabilities};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::common::stores::{bucket, s3_settings};

struct Bench {
    server: EmbeddedS3,
    store: S3Store,
    bucket: Bucket,
}

impl Bench {
    async fn start() -> Self {
        let settings = embedded_s3::Settings {
            buckets: vec!["bucket".to_owned()],
            ..embedded_s3::Settings::default()
        };
        let server = EmbeddedS3::start(settings).await.unwrap();
        let (access_key, secret_key) = (server.access_key(), server.secret_key());
        let settings = s3_settings(server.endpoint(), access_key, secret_key);
        let store = S3Store::connect(settings).await.unwrap();
        let bucket = bucket("bucket");
        Self {
            server,
            store,
            bucket,
        }
    }

    /// Probes as if the store did no more than this: what is not sent cannot be honoured.
    fn probe(&self, honoured: Capabilities) -> Probe {
        let plain = Capabilities {
            checksums: false,
            is_truncated: false,
            ..honoured
        };
        let [plain, checked] = [plain, honoured].map(|honoured| {
            let store: Arc<S3Store> = Arc::new(self.store.with_capabilities(honoured));
            store
        });
        Probe::new(plain, checked, self.bucket.clone(), "home/p/".to_owned())
    }

    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.server.keys("bucket"), Vec::<String>::new());
        assert!(self.server.uploads("bucket").is_empty());
    }
}

#[tokio::test]
async fn a_store_that_honours_everything_is_told_so_and_left_as_it_was() {
    let bench = Bench::start().await;
    let probe = bench.probe(Capabilities::all());
    probe.reach().await.unwrap();
    for subject in Subject::ALL {
        assert_eq!(probe.find(subject).await, Finding::Honoured, "{subject:?}");
    }
    assert!(!bench.server.keys("bucket").is_empty());
    probe.clean().await.unwrap();
    bench.is_clean();
}

#[tokio::test]
async fn what_a_store_ignores_is_found_one_by_one() {
    let bench = Bench::start().await;
    let all = Capabilities::all();
    let without = [
        (
            Subject::ConditionalPut,
            Capabilities {
                conditional_put: false,
                ..all
            },
        ),
        (
            Subject::ConditionalComplete,
            Capabilities {
                conditional_complete: false,
                ..all
            },
        ),
        (
            Subject::ConditionalCopy,
            Capabilities {
                conditional_copy: false,
                ..all
            },
        ),
        (
            Subject::ConditionalDelete,
            Capabilities {
                conditional_delete: false,
                ..all
            },
        ),
        (
            Subject::Checksums,
            Capabilities {
                checksums: false,
                ..all
            },
        ),
    ];
    for (ignored, honoured) in without {
        let probe = bench.probe(honoured);
        for subject in Subject::ALL {
            let expected = if subject == ignored {
                Finding::Ignored
            } else {
                Finding::Honoured
            };
            let found = probe.find(subject).await;
            assert_eq!(found, expected, "{subject:?} without {ignored:?}");
        }
        probe.clean().await.unwrap();
        bench.is_clean();
    }
}

#[tokio::test]
async fn a_store_that_does_not_say_where_its_listings_end_is_found() {
    let bench = Bench::start().await;
    bench.server.script(leaves_is_truncated_out());
    let probe = bench.probe(Capabilities::all());
    for subject in Subject::ALL {
        let expected = if subject == Subject::IsTruncated {
            Finding::Ignored
        } else {
            Finding::Honoured
        };
        assert_eq!(probe.find(subject).await, expected, "{subject:?}");
    }
    probe.clean().await.unwrap();
    bench.is_clean();
    let endpoint = bench.server.endpoint();
    for (storage, code) in [("", 1), ("is_truncated = false\n", 0)] {
        let output = check_config(&endpoint, "bucket", storage).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.contains("is_truncated = false"), code == 1, "{text}");
    }
}

fn leaves_is_truncated_out() -> Fault {
    let cut = Alteration::Replace {
        from: "<IsTruncated>false</IsTruncated>".to_owned(),
        to: String::new(),
    };
    Fault::on("ListObjectsV2", Action::Alter(vec![cut])).times(u32::MAX)
}

#[tokio::test]
async fn what_went_wrong_on_the_way_is_not_held_against_the_store() {
    let bench = Bench::start().await;
    let probe = bench.probe(Capabilities::all());
    let status = Action::Status(403, "AccessDenied".to_owned());
    bench.server.script(Fault::on("CopyObject", status));
    let found = probe.find(Subject::ConditionalCopy).await;
    let Finding::Unclear(cause) = found else {
        panic!("{found:?}");
    };
    assert!(cause.contains("AccessDenied"), "{cause}");
}

/// Makes the command `check-config --probe`, with more lines under `[storage]`.
fn command(directory: &TempDir, endpoint: &str, bucket: &str, storage: &str) -> Command {
    let path = format!("{}/portcullis.toml", directory.path().display());
    let text = format!(
        "state_directory = \"s\"\n[identity]\nurl = \"https://idp\"\n\
        [storage]\nendpoint = \"{endpoint}\"\npath_style = true\n\
        access_key_id = \"embedded\"\nsecret_access_key = \"embedded-secret\"\n{storage}"
    );
    std::fs::write(&path, text).unwrap();
    let place = format!("s3://{bucket}/home");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["check-config", "--config", &path, "--probe", &place])
        .env_clear()
        .kill_on_drop(true);
    command
}

async fn check_config(endpoint: &str, bucket: &str, storage: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory, endpoint, bucket, storage);
    command.output().await.unwrap()
}

#[tokio::test]
async fn the_command_prints_every_finding_and_cleans_up() {
    let bench = Bench::start().await;
    let endpoint = bench.server.endpoint();
    let output = check_config(&endpoint, "bucket", "conditional_copy = false\n").await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "conditions on PutObject: honoured\n",
        "    set conditional_copy = true under [storage]\n",
        "listings in byte order: honoured\n",
        "unfinished multipart uploads are removed by the bucket: ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    bench.is_clean();
}

#[tokio::test]
async fn a_configuration_that_claims_too_much_fails_and_is_told_what_to_set() {
    let bench = Bench::start().await;
    let refused = Action::Status(501, "NotImplemented".to_owned());
    bench.server.script(Fault {
        times: 100,
        ..Fault::on("CopyObject", refused)
    });
    let output = check_config(&bench.server.endpoint(), "bucket", "").await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    let expected =
        "conditions on CopyObject: refused\n    the store answered: CopyObject s3://bucket/";
    assert!(text.contains(expected), "{text}");
    let expected = "\nCopyObject: refused\n    the store answered: CopyObject s3://bucket/";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("    without it: renames fail"), "{text}");
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = "error: the configuration relies on what the store does not support; set under \
                    [storage]: conditional_copy = false\n";
    assert_eq!(text, expected);
    bench.is_clean();
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_one_line_and_exit_1() {
    let bench = Bench::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let speaks_ssh = format!("http://{}", other.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in other.incoming() {
            drop(stream.unwrap().write_all(b"SSH-2.0-other\r\n"));
        }
    });
    // What a loaded machine does late is told all the same.
    let quick = "connect_timeout_ms = 30000\ncall_timeout_ms = 30000\nlook_timeout_seconds = 4\n";
    let no_tls = nowhere.replace("http://", "https://");
    let plain = bench.server.endpoint();
    let secured = plain.replace("http://", "https://");
    for (endpoint, bucket, words) in [
        (
            plain.clone(),
            "no-such-bucket",
            "bucket no-such-bucket does not exist at http://",
        ),
        (
            nowhere,
            "bucket",
            ": connection refused; check storage.endpoint",
        ),
        (
            no_tls,
            "bucket",
            ": connection refused; check storage.endpoint",
        ),
        (
            secured,
            "bucket",
            &*format!(
                ": the server does not use TLS; did you mean storage.endpoint = \"{plain}\"?"
            ),
        ),
        (speaks_ssh, "bucket", ""),
    ] {
        let output = check_config(&endpoint, bucket, quick).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with("error: the store cannot be used: ") && text.contains(words),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_bucket_that_is_denied_and_credentials_that_are_missing_are_told_plainly() {
    let bench = Bench::start().await;
    let endpoint = bench.server.endpoint();
    let directory = tempfile::tempdir().unwrap();
    for (keys, words) in [
        (
            Some(("other", "keys")),
            "bucket bucket: access denied; check the access key",
        ),
        (None, "no AWS credentials found: set storage.access_key_id"),
    ] {
        let mut command = command(
            &directory,
            &endpoint,
            "bucket",
            "look_timeout_seconds = 4\n",
        );
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("HOME", directory.path());
        let path = directory.path().join("portcullis.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.contains("access_key"));
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        if let Some((id, secret)) = keys {
            let pair = format!("access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n");
            text.push_str(&pair);
        }
        std::fs::write(&path, text).unwrap();
        let output = command.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let expected = format!("error: the store cannot be used: {words}");
        assert!(text.starts_with(&expected), "{text}");
        assert!(
            !text.contains("unhandled") && !text.contains("chain"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_bucket_in_another_region_than_the_endpoint_is_an_error_that_names_it() {
    for named in [true, false] {
        let bench = Bench::start().await;
        let region = "eu-west-1".to_owned();
        bench.server.place("bucket", Placement { region, named });
        let endpoint = bench.server.endpoint();
        let output = check_config(&endpoint, "bucket", "region = \"us-east-1\"\n").await;
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        let expected = "error: the bucket is not in storage.region = \"us-east-1\", and \
            with storage.endpoint no other region is used; set storage.region = \"eu-west-1\"\n";
        assert_eq!(text, expected);
        bench.is_clean();
        let output = check_config(&endpoint, "bucket", "region = \"eu-west-1\"\n").await;
        assert_eq!(output.status.code(), Some(0));
    }
}

#[tokio::test]
async fn an_interrupted_probe_cleans_up_as_well() {
    let bench = Bench::start().await;
    bench.server.script(Fault::on("CopyObject", Action::Hang));
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(&directory, &bench.server.endpoint(), "bucket", "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with("conditions on CompleteMultipartUpload") {
            break;
        }
    }
    assert!(!bench.server.keys("bucket").is_empty());
    let pid = child.id().unwrap().to_string();
    let interrupt = Command::new("kill").args(["-INT", &pid]).status().await;
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text, "error: interrupted\n");
    bench.is_clean();
}
