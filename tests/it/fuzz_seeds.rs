//! The seeds of the fuzz targets (`tests/fuzz/`), and what is left of them when they are cut short.

use super::fuzz_bodies as bodies;

#[track_caller]
fn replay(target: &str, body: fn(&[u8])) {
    let folder = format!("{}/tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        let step = seed.len().div_ceil(64).max(1);
        for length in (0..seed.len()).step_by(step) {
            body(&seed[..length]);
        }
        body(&seed);
        seeds += 1;
    }
    assert!(seeds > 5, "{target}: {seeds}");
}

#[test]
fn seeds_of_answers_break_nothing() {
    replay("answer", bodies::answer);
}

#[test]
fn seeds_of_http_answers_break_nothing() {
    replay("http_answer", bodies::http_answer);
}

#[test]
fn seeds_of_tokens_break_nothing() {
    replay("token", bodies::token);
}

#[test]
fn seeds_of_command_lines_break_nothing() {
    replay("command_line", bodies::command_line);
}

#[test]
fn seeds_of_sftp_packets_break_nothing() {
    replay("sftp_packets", bodies::sftp_packets);
}
