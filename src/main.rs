//! The `portcullis` binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: portcullis::allocator::Allocator = portcullis::allocator::Allocator;

fn main() -> ExitCode {
    portcullis::allocator::set_up();
    portcullis::cli::run().into()
}
