//! Everything that needs more than one module: one binary, so that it is linked once.

mod common;
mod session;
