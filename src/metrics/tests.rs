use super::*;
use crate::storage::metered::{CallObserver as _, Outcome};

#[test]
fn what_happened_is_scraped_under_its_name_and_labels() {
    let metrics = Metrics::default();
    let took = Duration::from_millis(3);
    metrics.login(Some(""), "password", "denied", "not-allowed", took);
    metrics.idp_call("", "unavailable", took);
    metrics.idp_call("staff", "allowed", took);
    metrics.login(None, "password", "denied", "locked-out", took);
    metrics.cache_lookup("", Lookup::Miss);
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
        "portcullis_logins_total{provider=\"identity\",method=\"password\",verdict=\"denied\",reason=\"not-allowed\"} 1",
        "portcullis_idp_calls_total{provider=\"identity\",verdict=\"unavailable\"} 1",
        "portcullis_idp_calls_total{provider=\"staff\",verdict=\"allowed\"} 1",
        "portcullis_sts_calls_total{outcome=\"sts-refused\"} 1",
        "portcullis_logins_total{provider=\"not-asked\",method=\"password\",verdict=\"denied\",reason=\"locked-out\"} 1",
        "portcullis_login_duration_seconds_count{provider=\"not-asked\",verdict=\"denied\"} 1",
        "portcullis_idp_cache_lookups_total{provider=\"identity\",result=\"miss\"} 1",
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
        let times = ["_bucket", "_count", "_sum"];
        let bare = times.iter().find_map(|suffix| name.strip_suffix(suffix));
        let known = metrics
            .descriptions
            .iter()
            .any(|row| row.name == name || (row.kind == "histogram" && bare == Some(&row.name)));
        assert!(known, "{name}");
    }
}

#[test]
fn what_an_alert_watches_is_there_before_it_happens() {
    let metrics = Metrics::default();
    metrics.expect_provider("", ["details-not-stringified"].into_iter());
    metrics.expect_provider("staff", std::iter::empty());
    metrics.observe(&Readings::default());
    let text = metrics.encode();
    for series in [
        "logins_total{provider=\"identity\",method=\"password\",verdict=\"unavailable\",reason=\"connect\"}",
        "logins_total{provider=\"staff\",method=\"publickey\",verdict=\"allowed\",reason=\"\"}",
        "logins_total{provider=\"not-asked\",method=\"password\",verdict=\"denied\",reason=\"locked-out\"}",
        "idp_cache_lookups_total{provider=\"staff\",result=\"stale\"}",
        "idp_answer_warnings_total{provider=\"identity\",warning=\"details-not-stringified\"}",
        "idp_breaker_open{provider=\"staff\"}",
        "sts_calls_total{outcome=\"role-not-assumable\"}",
        "idp_calls_total{provider=\"staff\",verdict=\"invalid\"}",
        "login_duration_seconds_count{provider=\"identity\",verdict=\"allowed\"}",
        "idp_questions_kept_back_total{provider=\"staff\"}",
        "s3_calls_total{operation=\"PutObject\",outcome=\"denied\"}",
        "s3_calls_given_up_total{operation=\"UploadPart\"}",
        "uploads_total{outcome=\"failed\"}",
        "operations_refused_total{operation=\"open\",reason=\"read-only\"}",
        "lockouts_total{kind=\"source\"}",
    ] {
        let line = format!("portcullis_{series} 0\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn the_process_is_scraped_under_the_usual_names() {
    let metrics = Metrics::default();
    metrics.observe(&Readings::default());
    let text = prometheus_text(&metrics.encode());
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .trim()
            .parse()
            .unwrap()
    };
    for name in [
        "process_resident_memory_bytes ",
        "process_virtual_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "process_threads ",
        "process_start_time_seconds ",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
    assert!(value("process_cpu_seconds_total ") >= 0.0);
    assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"));
}
