//! (see the design)
pub mod bundled_webhook;
