//! Names and addresses under which clients find the server.

use super::super::described::Server;
use super::super::report::{Finding, Topic};
use super::Configured;

/// Says what becomes of the server's name, addresses and ports.
pub(super) fn addresses(
    described: &Server,
    configured: Option<&Configured>,
    out: &mut Vec<Finding>,
) {
    let id = &described.id;
    let is_public = described.endpoint_type.as_deref() == Some("PUBLIC");
    match &described.hostname {
        Some(name) => {
            let text = format!("{id}: point {name} at the gateway; lower its time to live before");
            out.push(Finding::note(Topic::Addresses, text));
        }
        None if is_public => out.push(Finding::open(
            Topic::Addresses,
            format!("{id}: clients use AWS's own name, {}", aws_name(described)),
            "give clients a name of your own that points at the old server, then move that; or \
             --accept addresses",
        )),
        None => out.push(Finding::note(
            Topic::Addresses,
            format!("{id}: no custom host name is known; clients use the endpoint's name"),
        )),
    }
    if !described.addresses.is_empty() {
        let text = format!(
            "{id}: elastic addresses {} may be in partners' firewalls: move them to the load \
             balancer before the gateway",
            described.addresses.join(", ")
        );
        out.push(Finding::note(Topic::Addresses, text));
    }
    if let Some(configured) = configured
        && configured.served.port != SSH
    {
        let port = configured.served.port;
        let text = format!("{id}: the gateway listens on {port}; clients use 22: map it there");
        out.push(Finding::note(Topic::Addresses, text));
    }
}

fn aws_name(described: &Server) -> String {
    let region = described.region().unwrap_or("REGION");
    format!("{}.server.transfer.{region}.amazonaws.com", described.id)
}

const SSH: u16 = 22;
