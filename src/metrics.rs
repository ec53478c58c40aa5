//! What the process counts, for `/metrics`.

/// Every metric of the gateway.
#[derive(Debug, Default)]
pub struct Metrics {}
