//! ONE TCP CONNECTION AND ITS CHANNELS: the only place that speaks SSH.
//!
//! ```text
//! listener ──accept──▶ connection (one task each: greeting, deadlines, farewell)
//!    │ caps                │
//!    ▼                     ├─ stream ──▶ russh's loop ──▶ callbacks ──▶ auth
//!  refused                 │                                  │
//!                          └─ state (shared by all of them)   └─ subsystem ──▶ session
//! ```
//!
//! The SSH library has no login grace, no caps, no progress deadline and no way to let go of a
//! stuck session, so the listener, the socket ([`stream`]) and the clock ([`state`]) are ours, and
//! its callbacks never wait for output, window or a session.

pub use self::algorithms::{
    OfferedAlone, Transport, ciphers, host_key_signatures, key_exchanges, macs,
};
pub use self::caps::Tally;
pub use self::entrance::{Entrance, EntranceParts};
pub use self::host_keys::{HostKey, HostKeyError, HostKeys};
pub use self::listener::Listener;
pub use self::proxy::ProxyProtocol;
pub use self::server::{SshServer, SshServerParts};
pub use self::subsystem::{ChannelInbound, ChannelOutbound, ServeChannel};

mod algorithms;
mod callbacks;
mod caps;
mod connection;
mod early;
mod ended;
mod entrance;
mod error;
mod greeting;
mod hello;
mod host_keys;
mod listener;
mod login;
mod memory;
mod per_user;
mod places;
mod proxy;
mod refused;
mod server;
mod starving;
mod state;
mod stream;
mod subsystem;
mod window;
