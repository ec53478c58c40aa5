//! What a log of the past would come to with this gateway (pure): every login and every path whose
//! outcome would be another one, grouped.
//!
//! `line` reads a line of Transfer Family's log, in its structured and its older form, or of the
//! gateway's own, into an `event`. `replay` keeps who is in which session, holds each event
//! against the user's configuration (`judge`), which somebody else looks up, and counts (`tally`).

#![warn(clippy::arithmetic_side_effects)]

pub use self::event::{Act, Event, Login, Place};
pub use self::judge::{Change, Known, LoginChange, Outcome, PathChange, Rules};
pub use self::replay::Replay;
pub use self::tally::{Count, Group, Subject, Tally};

mod event;
mod judge;
mod line;
mod old_text;
mod replay;
mod tally;
