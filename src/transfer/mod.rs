//! BYTES IN MOTION (pure state machines): writes become parts, reads become ranges.
//!
//! Nothing here waits, and nothing here talks to S3: the session reports what happened and asks
//! what to do next.

#![warn(clippy::arithmetic_side_effects)]

pub use self::extents::{Extents, TooScattered};
pub use self::pace::Pace;
pub use self::read_file::{FetchId, ReadAnswer, ReadEffect, ReadFile, ReadHeard, Room};
pub use self::sum::{Algorithm, Sum};
pub use self::upload::{ReadyPart, Run, Upload, UploadError, Wish, WriteStep};
pub use self::write_file::WriteFile;

mod extents;
mod pace;
pub mod read_file;
mod sum;
mod upload;
pub mod write_file;
