//! What the process counts, for `/metrics`.

/// Every metric of the gateway.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Counts one answered SFTP request.
    pub fn request(
        &self,
        operation: &'static str,
        code: crate::sftp::StatusCode,
        took: std::time::Duration,
    ) {
        let _ = (operation, code, took);
    }
}
