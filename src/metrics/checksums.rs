//! Checksums that clients were told.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::registrar::{Labels, Registrar};
use super::series;

/// By algorithm, and whether the store keeps them or the file was read.
#[derive(Debug)]
pub(super) struct Checksums(Family<Labels<2>, Counter>);

impl Checksums {
    pub(super) fn new(all: &mut Registrar) -> Self {
        let told = all.counters(
            "checksums_told",
            "algorithm, origin",
            "Checksums of files told to clients (`check-file`, and commands like `sha256sum`): as the store keeps them (stored), or computed from the bytes (read)",
        );
        let labels = ["algorithm", "origin"];
        series::of_pairs(&told, labels, &ALGORITHMS, &[READ]);
        series::of_pairs(&told, labels, &MAY_BE_STORED, &[STORED]);
        Self(told)
    }

    pub(super) fn count(&self, algorithm: &'static str, is_stored: bool) {
        let origin = if is_stored { STORED } else { READ };
        let labels = [("algorithm", algorithm), ("origin", origin)];
        let _ = self.0.get_or_create(&labels).inc();
    }
}

const STORED: &str = "stored";
const READ: &str = "read";
const ALGORITHMS: [&str; 5] = ["crc32", "md5", "sha1", "sha256", "sha512"];
const MAY_BE_STORED: [&str; 3] = ["crc32", "sha1", "sha256"];
