//! stub
use super::*;
#[derive(Debug, Clone, Args)]
pub struct Options {}
pub fn run(_o: Options) -> Result<Exit, Failure> { Ok(Exit::Done) }
