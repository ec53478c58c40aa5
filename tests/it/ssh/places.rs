//! Places before login, fought for over real sockets.

use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use super::log::Log;
use super::*;
use portcullis::limits::PLACE_KEPT_AT_LEAST;

/// Connects from an address of the loopback network; each is a source of its own.
async fn from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(source), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Exchanges keys from an address.
async fn begins(source: Ipv4Addr, to: SocketAddr) -> Option<client::Handle<Trusting>> {
    let (told, _) = unbounded_channel();
    let tcp = from(source, to).await;
    let config = Arc::new(client::Config::default());
    let handle = client::connect_stream(config, tcp, Trusting(told)).await;
    handle.ok()
}

/// Logs in from an address; says whether that went well.
async fn logs_in(source: Ipv4Addr, to: SocketAddr) -> Option<client::Handle<Trusting>> {
    let mut handle = begins(source, to).await?;
    let answer = handle.authenticate_password(USER, PASSWORD).await.ok()?;
    answer.success().then_some(handle)
}

/// Holds a place for as long as it may, and takes another one at once.
async fn holds_on(source: Ipv4Addr, to: SocketAddr, keys_exchanged: bool) {
    loop {
        let mut tcp = from(source, to).await;
        if keys_exchanged {
            let (told, _) = unbounded_channel();
            let config = Arc::new(client::Config::default());
            if let Ok(handle) = client::connect_stream(config, tcp, Trusting(told)).await {
                drop(handle.await);
            }
        } else {
            drop(tcp.write_all(b"SSH-2.0-attacker\r\n").await);
            drop(tcp.read_to_end(&mut Vec::new()).await);
        }
    }
}

fn unauthenticated(server: &Server) -> usize {
    server.ssh.tally().unauthenticated
}

async fn until(mut done: impl FnMut() -> bool) {
    within(async {
        while !done() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_addresses_that_hold_every_place_keep_nobody_out() {
    let server = Server::start().await;
    let mut attack = JoinSet::new();
    for connection in 0..240 {
        let address = connection % 4;
        let source = Ipv4Addr::new(127, 0, 0, 2 + address);
        attack.spawn(holds_on(source, server.address, connection % 32 == 0));
    }
    let places = Limits::default().unauthenticated_connections_max;
    until(|| unauthenticated(&server) == places && server.ssh.tally().displaced_total > 100).await;
    let mut users = Vec::new();
    for host in 1..=20 {
        let login = logs_in(Ipv4Addr::new(127, 0, 1, host), server.address);
        users.extend(within(login).await);
    }
    assert!(users.len() >= 19, "{} of 20 got in", users.len());
    assert!(unauthenticated(&server) <= places);
    attack.shutdown().await;
    drop(users);
    until(|| server.entrance.tasks_running() == 0).await;
    assert_eq!(server.ssh.tally().connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_150_logins_at_once_none_is_lost() {
    for addresses in [1, 150] {
        // The bounds on places are the defaults; a busy machine may need longer.
        let server = Server::with_limits(|limits| {
            limits.hello_timeout = Duration::from_secs(100);
            limits.login_grace = Duration::from_secs(100);
        })
        .await;
        let mut logins = JoinSet::new();
        for login in 0..150 {
            let host = u8::try_from(login % addresses).unwrap();
            let source = Ipv4Addr::new(127, 0, 2, 1 + host);
            let address = server.address;
            logins.spawn(async move { logs_in(source, address).await });
        }
        let users = timeout(Duration::from_secs(100), logins.join_all()).await;
        let users = users.expect("took too long");
        let in_all = users.iter().flatten().count();
        assert_eq!(in_all, 150, "from {addresses} addresses");
        assert_eq!(server.ssh.tally().displaced_total, 0);
    }
}

#[tokio::test]
async fn whoever_holds_most_replaces_a_connection_of_their_own() {
    let (log, _guard) = Log::begin();
    let server = Server::with_limits(|limits| limits.unauthenticated_connections_max = 3).await;
    let (bad, good) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let mut oldest = from(bad, server.address).await;
    let _second = from(bad, server.address).await;
    let mut honest = from(good, server.address).await;
    until(|| unauthenticated(&server) == 3).await;
    // Any sooner it would be refused.
    sleep(PLACE_KEPT_AT_LEAST).await;
    let _third = from(bad, server.address).await;
    let mut heard = Vec::new();
    within(oldest.read_to_end(&mut heard)).await.unwrap();
    within(honest.read_exact(&mut [0; 8])).await.unwrap();
    let _fourth = from(bad, server.address).await;
    until(|| server.ssh.tally().displaced_total == 2).await;
    assert_eq!(unauthenticated(&server), 3);
    assert!(within(logs_in(good, server.address)).await.is_some());
    let lines = log.lines("connection closed to make room for another network");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("reason=\"displaced\"") && lines[0].contains("127.0.0.2"));
    assert_eq!(log.lines("connection closed before login").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_hides_its_clients_has_half_of_the_places_and_no_bound_of_a_source() {
    let throttle = ThrottleSettings {
        unthrottled: vec!["127.0.0.2".parse().unwrap()],
        ..ThrottleSettings::default()
    };
    let setup = Setup {
        throttle,
        ..Setup::default()
    };
    let adjust = |limits: &mut Limits| {
        limits.connections_per_source_max = 5;
        limits.unauthenticated_connections_max = 20;
        limits.hello_timeout = Duration::from_secs(100);
        limits.login_grace = Duration::from_secs(100);
    };
    let server = Server::set_up(adjust, AuthSettings::default(), setup).await;
    let balancer = Ipv4Addr::new(127, 0, 0, 2);
    let mut users = Vec::new();
    for _ in 0..8 {
        users.extend(within(logs_in(balancer, server.address)).await);
    }
    assert_eq!(users.len(), 8);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(from(balancer, server.address).await);
    }
    until(|| unauthenticated(&server) == 20).await;
    // Eight clients with addresses of their own begin to log in, and the balancer's go on to come.
    let mut direct = Vec::new();
    for host in 1..=8 {
        direct.push(begins(Ipv4Addr::new(127, 0, 1, host), server.address).await);
    }
    for more in 1..=40 {
        silent.push(from(balancer, server.address).await);
        until(|| server.ssh.tally().displaced_total == 8 + more).await;
    }
    for login in direct {
        let mut login = login.unwrap();
        let answer = within(login.authenticate_password(USER, PASSWORD)).await;
        assert!(answer.unwrap().success());
        users.push(login);
    }
    assert_eq!(server.ssh.tally().refused_total, 0);
}

#[tokio::test]
async fn a_user_with_too_many_connections_is_told_so() {
    let (log, _guard) = Log::begin();
    let server = Server::with_limits(|limits| limits.connections_per_user_max = 2).await;
    let first = server.user().await;
    let second = server.user().await;
    let mut third = server.connect().await;
    let answer = third.authenticate_password(USER, PASSWORD).await;
    assert!(!answer.is_ok_and(|answer| answer.success()));
    let told = server.farewell().await;
    assert!(told.contains("too many connections"), "{told}");
    let lines = log.lines("connection refused: the user has too many");
    assert_eq!(lines.len(), 1);
    for part in ["reason=\"user-limit\"", "most=2", "127.0.0.1", "alice"] {
        assert!(lines[0].contains(part), "{part} in {lines:?}");
    }
    assert_eq!(server.ssh.tally().over_user_limit_total, 1);
    drop((first, third));
    until(|| server.ssh.tally().connections == 1).await;
    let fourth = server.user().await;
    drop((second, fourth));
}

#[tokio::test]
async fn connections_without_a_byte_are_counted_and_leave_no_line() {
    let (log, _guard) = Log::begin();
    let server = Server::start().await;
    for _ in 0..200 {
        drop(TcpStream::connect(server.address).await.unwrap());
    }
    until(|| server.ssh.tally().without_data_total == 200).await;
    server.idle().await;
    let loud: Vec<_> = [" INFO ", " WARN ", "ERROR "]
        .map(|level| log.lines(level))
        .concat();
    assert!(loud.is_empty(), "{loud:?}");
}
