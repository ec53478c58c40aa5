//! How far away the service is: a connection of one's own, closed again without a word.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};

use crate::causes;
use crate::clock::{Clock as _, SystemClock};

/// What could be measured; `Err` says why not.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) dns: Result<Duration, String>,
    pub(super) connect: Result<Duration, String>,
}

/// Looks the host up and connects to the first address that answers.
pub(super) async fn measure(host: &str, port: u16, patience: Duration) -> Route {
    let began = SystemClock.now();
    let since = |began| SystemClock.now().saturating_duration_since(began);
    let late = || format!("nothing within {} ms", patience.as_millis());
    let found = tokio::time::timeout(patience, lookup_host((host, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Route::nowhere(causes::system(&error)),
        Err(_) => return Route::nowhere(late()),
    };
    let dns = since(began);
    let began = SystemClock.now();
    let connected = tokio::time::timeout(patience, TcpStream::connect(&*addresses)).await;
    let connect = match connected {
        Ok(Ok(_)) => Ok(since(began)),
        Ok(Err(error)) => Err(causes::system(&error)),
        Err(_) => Err(late()),
    };
    Route {
        dns: Ok(dns),
        connect,
    }
}

impl Route {
    fn nowhere(why: String) -> Self {
        Self {
            connect: Err("the name has no address".to_owned()),
            dns: Err(why),
        }
    }
}
