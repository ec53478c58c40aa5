use super::*;

#[test]
fn what_happened_is_scraped_under_its_name_and_labels() {
    let metrics = Metrics::default();
    let took = Duration::from_millis(3);
    metrics.login("password", "denied", "not-allowed", took);
    metrics.idp_call("", "unavailable", took);
    metrics.idp_call("staff", "allowed", took);
    metrics.cache_lookup(Lookup::Miss);
    for _ in 0..3 {
        metrics.request("read", StatusCode::Ok, took);
    }
    metrics.request("read", StatusCode::Eof, took);
    metrics.bytes_sent(70_000);
    metrics.handle_opened();
    metrics.upload_ended(TransferEnd::Completed);
    metrics.ended(Operation::Put, Outcome::Cancelled, took);
    metrics.role_asked("sts-refused");
    let text = metrics.encode();
    for line in [
        "portcullis_logins_total{method=\"password\",verdict=\"denied\",reason=\"not-allowed\"} 1",
        "portcullis_idp_calls_total{provider=\"\",verdict=\"unavailable\"} 1",
        "portcullis_idp_calls_total{provider=\"staff\",verdict=\"allowed\"} 1",
        "portcullis_sts_calls_total{outcome=\"sts-refused\"} 1",
        "portcullis_idp_cache_lookups_total{result=\"miss\"} 1",
        "portcullis_sftp_requests_total{operation=\"read\",status=\"ok\"} 3",
        "portcullis_sftp_requests_total{operation=\"read\",status=\"eof\"} 1",
        "portcullis_sftp_request_duration_seconds_count{operation=\"read\"} 4",
        "portcullis_sent_bytes_total 70000",
        "portcullis_handles_open 1",
        "portcullis_uploads_total{outcome=\"completed\"} 1",
        "portcullis_s3_calls_total{operation=\"PutObject\",outcome=\"cancelled\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn readings_replace_gauges_and_never_lower_a_total() {
    let metrics = Metrics::default();
    let mut readings = Readings {
        connections_open: 7,
        connections_accepted: 40,
        connections_refused: [
            ("limit", 2),
            ("displaced", 0),
            ("", 0),
            ("", 0),
            ("", 0),
            ("", 0),
        ],
        ..Readings::default()
    };
    metrics.observe(&readings);
    readings.connections_open = 5;
    readings.connections_accepted = 41;
    metrics.observe(&readings);
    let text = metrics.encode();
    assert!(text.contains("portcullis_connections_open 5\n"));
    assert!(text.contains("portcullis_connections_accepted_total 41\n"));
    assert!(text.contains("portcullis_connections_refused_total{reason=\"limit\"} 2\n"));
}

#[test]
fn every_scraped_name_is_described() {
    let metrics = Metrics::default();
    metrics.observe(&Readings::default());
    for line in metrics
        .encode()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let name = line.split(['{', ' ']).next().unwrap();
        let known = metrics.descriptions.iter().any(|row| row.name == name);
        assert!(known, "{name}");
    }
}
