//! Where a process that is only tried out listens: on the first port that is free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;

/// Takes the first free port of this machine from `first` on.
///
/// # Errors
/// None of those that are tried is free.
pub(super) async fn first_free<T, F>(
    first: u16,
    bind: impl Fn(SocketAddr) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    for port in first..first.saturating_add(PORTS_TRIED) {
        match bind((Ipv4Addr::LOCALHOST, port).into()).await {
            Ok(bound) => return Ok(bound),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => bail!("failed to listen on 127.0.0.1:{port}: {error}"),
        }
    }
    bail!("no free port from {first} on")
}

/// Returns the address by which a client on this machine reaches us.
pub(super) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return Ipv4Addr::LOCALHOST.to_string();
    }
    address.ip().to_string()
}

const PORTS_TRIED: u16 = 100;
