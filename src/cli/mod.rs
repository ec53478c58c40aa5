//! What a person types: the commands, their options and what they print.

pub mod bundled_webhook;
pub mod output;
pub mod quickstart;
