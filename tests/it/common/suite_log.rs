//! What the whole suite logs, for `./test.sh` to search it for secrets.

use std::fs::OpenOptions;
use std::sync::{Mutex, Once};

use portcullis::telemetry;

/// Sends what is logged, unless a test listens itself, to the file that `SUITE_LOG` names.
pub(crate) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let Some(path) = std::env::var_os("SUITE_LOG") else {
            // Whoever meets a span first, in a thread where nobody listens, would switch it off.
            let silent = tracing_subscriber::registry();
            tracing::subscriber::set_global_default(silent).unwrap();
            return;
        };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.expect("SUITE_LOG names a file that can be written");
        // As loud as an operator could make it, but for what stands in every packet.
        let filter = "debug,portcullis::auth=trace,portcullis::idp=trace,portcullis::storage=trace";
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter(telemetry::parse_filter(filter).unwrap())
            .with_writer(Mutex::new(file))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}
