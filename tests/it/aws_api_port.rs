//! AWS's API at a port of its own, with TLS; and what it tells of host keys and algorithms.

use std::collections::BTreeSet;

use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::aws_api::{Gateway, SERVER};
use super::common::tls::{Authority, connector};

const MODEL: &str = include_str!("../fixtures/aws/transfer-model.json");
const PORT: &str = "api_listen = \"127.0.0.1:0\"\napi_certificate_file = \"ROOT/api.pem\"\n\
                    api_certificate_key_file = \"ROOT/api.key\"\n";

/// Every member is one that AWS's model has.
fn fits(shape: &str, value: &Value) {
    let model: Value = serde_json::from_str(MODEL).unwrap();
    let members = model["shapes"][shape]["members"].as_object().unwrap();
    for name in value.as_object().unwrap().keys() {
        assert!(members.contains_key(name), "{shape} has no {name}");
    }
}

/// What `ssh-keygen` says of a key file: the fingerprint as AWS writes it.
async fn fingerprint(file: &str) -> String {
    let shown = Command::new("ssh-keygen").args(["-lf", file]).output();
    let shown = String::from_utf8(shown.await.unwrap().stdout).unwrap();
    format!("{}=", shown.split(' ').nth(1).unwrap())
}

/// A gateway with a port for AWS's tools, and who signed its certificate.
async fn behind_tls() -> (Gateway, Authority) {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    std::fs::write(format!("{place}/api.pem"), certificate).unwrap();
    std::fs::write(format!("{place}/api.key"), key).unwrap();
    let settings = PORT.replace("ROOT", &place);
    let connector = Some(connector(&authority));
    let mut gateway = Gateway::start_with(false, &settings, connector).await;
    // The files stay as long as the gateway.
    gateway.extra = Some(folder);
    (gateway, authority)
}

#[tokio::test]
async fn host_keys_are_told_as_clients_see_them() {
    let gateway = Gateway::start_with(false, "", None).await;
    let state = format!("{}/state", gateway.directory.path().display());
    let ed25519 = fingerprint(&format!("{state}/host_key")).await;
    let ecdsa = fingerprint(&format!("{state}/host_key_ecdsa")).await;
    let server = json!({"ServerId": SERVER});
    let listed = gateway.done("ListHostKeys", server.clone()).await;
    assert_eq!(listed["ServerId"], SERVER);
    let rows = listed["HostKeys"].as_array().unwrap();
    let found: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            (
                row["Type"].as_str().unwrap(),
                row["Fingerprint"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [("ssh-ed25519", &*ed25519), ("ecdsa-sha2-nistp256", &*ecdsa)];
    assert_eq!(found, expected.into());
    let mut ids = Vec::new();
    for row in rows {
        fits("ListedHostKey", row);
        let id = row["HostKeyId"].as_str().unwrap();
        let arn = format!("arn:aws:transfer:eu-west-1:000000000000:host-key/{SERVER}/{id}");
        assert_eq!(row["Arn"], arn);
        assert_eq!(row["Description"], "used");
        assert!(
            row["DateImported"]
                .as_u64()
                .is_some_and(|time| time > 1_600_000_000)
        );
        let asked = json!({"ServerId": SERVER, "HostKeyId": id});
        let described = gateway.done("DescribeHostKey", asked).await;
        fits("DescribedHostKey", &described["HostKey"]);
        assert_eq!(
            described["HostKey"]["HostKeyFingerprint"],
            row["Fingerprint"]
        );
        assert_eq!(described["HostKey"]["Tags"], json!([]));
        let tags = gateway
            .done("ListTagsForResource", json!({"Arn": arn}))
            .await;
        assert_eq!(tags["Tags"], json!([]));
        ids.push(id.to_owned());
    }
    // Page by page.
    let first = json!({"ServerId": SERVER, "MaxResults": 1});
    let page = gateway.done("ListHostKeys", first).await;
    assert_eq!(page["HostKeys"][0]["HostKeyId"], *ids[0]);
    let next = json!({"ServerId": SERVER, "NextToken": page["NextToken"]});
    let page = gateway.done("ListHostKeys", next).await;
    assert_eq!(page["HostKeys"][0]["HostKeyId"], *ids[1]);
    assert!(page.get("NextToken").is_none());
    let described = gateway.done("DescribeServer", server).await;
    fits("DescribedServer", &described["Server"]);
    assert_eq!(described["Server"]["HostKeyFingerprint"], ed25519);
}

#[tokio::test]
async fn host_keys_that_are_not_there_are_told_so() {
    let gateway = Gateway::start_with(false, "", None).await;
    for (operation, body, error) in [
        (
            "ListHostKeys",
            json!({"ServerId": "s-00000000000000000"}),
            "ResourceNotFoundException",
        ),
        ("ListHostKeys", json!({}), "InvalidRequestException"),
        (
            "ListHostKeys",
            json!({"ServerId": SERVER, "MaxResults": 0}),
            "InvalidRequestException",
        ),
        (
            "ListHostKeys",
            json!({"ServerId": SERVER, "NextToken": "x"}),
            "InvalidNextTokenException",
        ),
        (
            "DescribeHostKey",
            json!({"ServerId": SERVER}),
            "InvalidRequestException",
        ),
        (
            "DescribeHostKey",
            json!({"ServerId": SERVER, "HostKeyId": "key-1"}),
            "InvalidRequestException",
        ),
        (
            "DescribeHostKey",
            json!({"ServerId": SERVER, "HostKeyId": "hostkey-00000000000000000"}),
            "ResourceNotFoundException",
        ),
        (
            "ListSecurityPolicies",
            json!({"ServerId": SERVER}),
            "InvalidRequestException",
        ),
    ] {
        assert_eq!(
            gateway.refused(operation, body.clone()).await,
            error,
            "{operation} {body}"
        );
    }
    for (scope, allowed) in [
        ("read", true),
        ("users", true),
        ("all", true),
        ("test", false),
    ] {
        let (status, _) = gateway.call(scope, "ListSecurityPolicies", "{}").await;
        assert_eq!(status == 200, allowed, "{scope}");
    }
}

#[tokio::test]
async fn a_host_key_that_changes_is_another_one_at_once() {
    let mut gateway = Gateway::start_with(false, "", None).await;
    let key = format!("{}/state/host_key", gateway.directory.path().display());
    let server = json!({"ServerId": SERVER});
    let before = gateway.done("DescribeServer", server.clone()).await;
    std::fs::remove_file(&key).unwrap();
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    assert!(made.status().await.unwrap().success());
    let expected = fingerprint(&key).await;
    gateway.serving.hang_up().await;
    gateway.serving.logged(expected.trim_end_matches('=')).await;
    // The line comes before the key is in use.
    let found = loop {
        let after = gateway.done("DescribeServer", server.clone()).await;
        if after["Server"]["HostKeyFingerprint"] != before["Server"]["HostKeyFingerprint"] {
            break after["Server"]["HostKeyFingerprint"].clone();
        }
    };
    assert_eq!(found, expected);
    let listed = gateway.done("ListHostKeys", server).await;
    assert_eq!(listed["HostKeys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn policies_say_what_is_offered_and_nothing_else() {
    let gateway = Gateway::start_with(false, "", None).await;
    let mut names = Vec::new();
    let mut asked = json!({"MaxResults": 3});
    loop {
        let page = gateway.done("ListSecurityPolicies", asked.clone()).await;
        let page_names = page["SecurityPolicyNames"].as_array().unwrap();
        names.extend(
            page_names
                .iter()
                .map(|name| name.as_str().unwrap().to_owned()),
        );
        match page.get("NextToken") {
            Some(next) => asked["NextToken"] = next.clone(),
            None => break,
        }
    }
    let server = gateway
        .done("DescribeServer", json!({"ServerId": SERVER}))
        .await;
    let ours = server["Server"]["SecurityPolicyName"].as_str().unwrap();
    assert_eq!(ours, "TransferSecurityPolicy-Portcullis-Modern");
    for name in [
        ours,
        "TransferSecurityPolicy-2024-01",
        "TransferSecurityPolicy-2018-11",
    ] {
        assert!(names.iter().any(|one| one == name), "{name}");
    }
    let mut offered = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        assert!(at == 0 || names[at - 1] < *name, "once each: {names:?}");
        let answer = gateway.done(
            "DescribeSecurityPolicy",
            json!({"SecurityPolicyName": name}),
        );
        let policy = &answer.await["SecurityPolicy"];
        fits("DescribedSecurityPolicy", policy);
        assert_eq!(policy["SecurityPolicyName"], **name);
        assert_eq!(
            (&policy["Fips"], &policy["Type"]),
            (&json!(false), &json!("SERVER"))
        );
        for list in ["SshCiphers", "SshKexs", "SshMacs", "SshHostKeyAlgorithms"] {
            let list = policy[list].as_array().unwrap();
            assert!(!list.is_empty(), "{name}");
            let texts = list.iter().map(|one| one.as_str().unwrap().to_owned());
            offered.extend(texts.filter(|text| !name.contains("Portcullis") || text.len() < 50));
        }
    }
    let all = json!({"SecurityPolicyName": "TransferSecurityPolicy-Portcullis-Compatible"});
    let all = gateway
        .done("DescribeSecurityPolicy", all)
        .await
        .to_string();
    for name in &offered {
        assert!(
            all.contains(&format!("\"{name}\"")),
            "{name} is not offered"
        );
    }
}

#[tokio::test]
async fn policies_that_are_not_there_are_told_so() {
    let gateway = Gateway::start_with(false, "", None).await;
    for (name, error) in [
        (
            "TransferSecurityPolicy-2099-01",
            "ResourceNotFoundException",
        ),
        (
            "TransferSecurityPolicy-FIPS-2024-01",
            "ResourceNotFoundException",
        ),
        (
            "TransferSFTPConnectorSecurityPolicy-2024-03",
            "ResourceNotFoundException",
        ),
        ("modern", "InvalidRequestException"),
        ("", "InvalidRequestException"),
        ("TransferSecurityPolicy-\n", "InvalidRequestException"),
    ] {
        let asked = json!({"SecurityPolicyName": name});
        assert_eq!(
            gateway.refused("DescribeSecurityPolicy", asked).await,
            error,
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn a_port_of_its_own_answers_the_api_alone_and_behind_tls() {
    let (gateway, _authority) = behind_tls().await;
    let user = json!({"ServerId": SERVER, "UserName": "ann",
        "Role": "arn:aws:iam::123456789012:role/sftp-user"});
    gateway.done("CreateUser", user).await;
    let listed = gateway.done("ListUsers", json!({"ServerId": SERVER})).await;
    assert_eq!(listed["Users"][0]["UserName"], "ann");
    let (status, answer) = gateway.call("test", "ListUsers", "{}").await;
    assert_eq!(
        (status, &answer["__type"]),
        (400, &json!("AccessDeniedException"))
    );
    // The operator's port does not answer the tools any more, and this one nothing else.
    let request = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let answer = plain(&gateway.admin, request).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    for (line, status) in [
        ("GET /metrics", "404"),
        ("POST /revoke", "404"),
        ("GET /", "405"),
    ] {
        let request =
            format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let answer = encrypted(&gateway, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {answer}"
        );
    }
    // In the clear there is nothing, and it is counted.
    let (port, _) = gateway.api.as_ref().unwrap();
    let answer = plain(port, request).await;
    assert!(!answer.contains("HTTP"), "{answer}");
    let metrics = plain(&gateway.admin, METRICS).await;
    let failed = "portcullis_admin_tls_handshakes_failed_total{port=\"api\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test]
async fn who_never_says_anything_keeps_nobody_from_the_port() {
    let (gateway, _authority) = behind_tls().await;
    let (port, _) = gateway.api.as_ref().unwrap();
    let mut silent = Vec::new();
    for _ in 0..210 {
        silent.push(
            TcpStream::connect(format!("127.0.0.1:{port}"))
                .await
                .unwrap(),
        );
    }
    gateway.done("ListServers", json!({})).await;
    let metrics = plain(&gateway.admin, METRICS).await;
    let evicted = "connections_over_limit_total{port=\"api\",outcome=\"evicted\"} 11";
    assert!(metrics.contains(evicted), "{metrics}");
    drop(silent);
}

#[tokio::test]
async fn another_certificate_is_shown_once_its_files_are_there() {
    let (mut gateway, authority) = behind_tls().await;
    let place = gateway.extra.as_ref().unwrap().path().display().to_string();
    let before = shown(&gateway).await;
    let (certificate, key) = authority.issue("127.0.0.1");
    // The key is of another certificate until the second file is there.
    std::fs::write(format!("{place}/api.pem"), certificate).unwrap();
    gateway.serving.hang_up().await;
    let line = gateway.serving.logged("the old values stay in use").await;
    assert!(line.contains("admin.api_certificate_file"), "{line}");
    assert!(
        line.contains("does not belong to the certificate"),
        "{line}"
    );
    assert_eq!(shown(&gateway).await, before);
    std::fs::write(format!("{place}/api.key"), &key).unwrap();
    gateway.serving.hang_up().await;
    let line = gateway.serving.logged("secrets reloaded").await;
    assert!(line.contains("admin.api_certificate_key"), "{line}");
    assert!(!line.contains("BEGIN"), "{line}");
    assert_ne!(shown(&gateway).await, before);
    gateway.done("ListServers", json!({})).await;
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_all_answered() {
    let (gateway, _authority) = behind_tls().await;
    let creating = (0..200).map(|at| {
        let body = json!({"ServerId": SERVER, "UserName": format!("user-{at:03}"),
            "Role": "arn:aws:iam::123456789012:role/sftp-user"});
        let gateway = &gateway;
        async move { gateway.call("users", "CreateUser", &body.to_string()).await }
    });
    for (status, answer) in futures_util::future::join_all(creating).await {
        assert_eq!(status, 200, "{answer}");
    }
    let server = gateway
        .done("DescribeServer", json!({"ServerId": SERVER}))
        .await;
    assert_eq!(server["Server"]["UserCount"], 200);
}

/// AWS's own command line and boto3, where the clients of `tests/clients` are installed.
#[tokio::test]
async fn the_commands_of_aws_run_as_they_are_over_tls() {
    let folder = format!("{}/target/venv/bin", env!("CARGO_MANIFEST_DIR"));
    if !std::fs::exists(format!("{folder}/aws")).unwrap() {
        println!("skipped: {folder}/aws is not there");
        return;
    }
    let (gateway, authority) = behind_tls().await;
    let place = gateway.extra.as_ref().unwrap().path().display().to_string();
    let trusted = format!("{place}/authority.pem");
    std::fs::write(&trusted, authority.pem()).unwrap();
    let endpoint = format!("https://127.0.0.1:{}", gateway.api.as_ref().unwrap().0);
    let run = async |program: &str, arguments: &[&str]| {
        let output = Command::new(format!("{folder}/{program}"))
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "AKIDREAD")
            .env("AWS_SECRET_ACCESS_KEY", "walnut-39")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_CA_BUNDLE", &trusted)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let aws = async |arguments: &[&str]| {
        let before = ["transfer", "--endpoint-url", &*endpoint, "--output", "json"];
        run("aws", &[&before[..], arguments].concat()).await
    };
    let listed = aws(&["list-host-keys", "--server-id", SERVER]).await;
    let id = listed["HostKeys"][0]["HostKeyId"].as_str().unwrap();
    let described = aws(&[
        "describe-host-key",
        "--server-id",
        SERVER,
        "--host-key-id",
        id,
    ])
    .await;
    let (one, other) = (&described["HostKey"], &listed["HostKeys"][0]);
    assert_eq!(one["HostKeyFingerprint"], other["Fingerprint"]);
    assert!(!one["DateImported"].is_null());
    let policies = aws(&["list-security-policies"]).await;
    let policies = policies["SecurityPolicyNames"].as_array().unwrap();
    let last = policies.last().unwrap().as_str().unwrap();
    let policy = aws(&["describe-security-policy", "--security-policy-name", last]).await;
    assert_eq!(policy["SecurityPolicy"]["SecurityPolicyName"], *last);
    let script = format!(
        "import boto3, json\nclient = boto3.client('transfer', endpoint_url='{endpoint}')\n\
         pages = client.get_paginator('list_security_policies').paginate(\n\
         \x20   PaginationConfig={{'PageSize': 2}})\n\
         names = [name for page in pages for name in page['SecurityPolicyNames']]\n\
         keys = client.list_host_keys(ServerId='{SERVER}')['HostKeys']\n\
         print(json.dumps([names, [key['Fingerprint'] for key in keys]]))\n"
    );
    let found = run("python", &["-c", &script]).await;
    assert_eq!(found[0], json!(policies));
    assert_eq!(found[1][0], other["Fingerprint"]);
}

const METRICS: &str = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

async fn plain(port: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn encrypted(gateway: &Gateway, request: &str) -> String {
    let (port, connector) = gateway.api.as_ref().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The certificate that the port shows.
async fn shown(gateway: &Gateway) -> Vec<u8> {
    let (port, connector) = gateway.api.as_ref().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().unwrap()[0].to_vec()
}
