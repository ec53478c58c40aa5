//! Prometheus' own text format, for those who do not ask for `OpenMetrics` (pure).
//!
//! Parsers of the older format refuse what came with the newer one: types `info` and `unknown`,
//! units, the end mark, and counters whose type stands under their name without `_total`.

#![warn(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;

/// Turns the text form of `OpenMetrics` into version 0.0.4 of Prometheus' text format.
#[must_use]
pub fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        let (mark, what) = (words.next(), words.next());
        match (mark, what, words.next(), words.next()) {
            // Its name depends on the type, which comes next.
            (Some("#"), Some("HELP"), Some(_), words) => help = words,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some(help) = help.take() {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "# HELP {name}{suffix} {help}");
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Says whether a client with this `Accept` takes `OpenMetrics`.
#[must_use]
pub fn takes_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next() == Some("application/openmetrics-text");
        let refused = parts.any(|part| {
            let quality = part.strip_prefix("q=").map(str::parse::<f32>);
            quality.is_some_and(|quality| quality == Ok(0.0))
        });
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_its_types_and_names() {
        let newer = "# HELP p_build The version.\n# TYPE p_build info\n\
            p_build_info{version=\"1\"} 1\n\
            # HELP p_sent_bytes Sent.\n# TYPE p_sent_bytes counter\n# UNIT p_sent_bytes bytes\n\
            p_sent_bytes_total 7\n# HELP p_open Open.\n# TYPE p_open gauge\np_open 1\n# EOF\n";
        let older = "# HELP p_build_info The version.\n# TYPE p_build_info gauge\n\
            p_build_info{version=\"1\"} 1\n\
            # HELP p_sent_bytes_total Sent.\n# TYPE p_sent_bytes_total counter\n\
            p_sent_bytes_total 7\n# HELP p_open Open.\n# TYPE p_open gauge\np_open 1\n";
        assert_eq!(prometheus_text(newer), older);
    }

    #[test]
    fn open_metrics_are_for_those_who_ask() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain;version=0.0.4", false),
            ("application/openmetrics-text", true),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2",
                true,
            ),
            ("text/plain, application/openmetrics-text; q=0", false),
        ] {
            assert_eq!(takes_open_metrics(accept), expected, "{accept}");
        }
    }
}
