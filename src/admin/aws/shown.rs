//! What clients are shown before they log in, as the listeners tell it.

use std::fmt::Debug;

use crate::ssh::Transport;

/// Tells what clients of a server are shown before they log in.
pub trait Transports: Debug + Send + Sync + 'static {
    /// Returns what each listener shows at which the server's users log in.
    fn shown(&self) -> Vec<Shown>;
}

/// What one listener shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Empty for the only one.
    pub listener: Box<str>,
    pub transport: Transport,
}
