//! Moving here from another server (pure): from descriptions that its tools print to what is still
//! to be done, and to users and a configuration.
//!
//! `reading` recognises a description by its members, `aws` and `terraform` read what those tools
//! write into the same types (`described`). `check` holds those against the gateway's configuration;
//! `import` writes service-managed users and a configuration, `sftpgo` a file of static users.

#![warn(clippy::arithmetic_side_effects)]

pub(crate) use self::algorithms::Policy;
pub use self::check::{Configured, Gateway, KeptUsers, Served, check};
pub use self::described::{DescribedKey, DescribedUser, Descriptions, HostKey, IamRole, Server};
pub use self::import::{Imported, Places, import};
pub use self::input::InputError;
pub use self::report::{Finding, Report, State, Topic, plain};
pub use self::sftpgo::{Sftpgo, SftpgoPlaces};
pub use self::trust::{Principal, PrincipalError};

pub(crate) mod algorithms;
mod aws;
mod check;
mod described;
mod import;
mod input;
mod reading;
mod report;
mod sftpgo;
mod terraform;
mod toml_text;
mod trust;
