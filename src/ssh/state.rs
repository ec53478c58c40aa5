//! What the parts of one connection share: its moments, its totals, and how it ends.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::caps::Admitted;
use super::hello::Algorithms;
use super::memory::ConnectionMemory;
use super::per_user::UserConnection;
use super::places::{OverCap, Source};
use super::window::{self, Windows};
use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::clock::Clock;
use crate::limits::Limits;

/// How long a client that was told goodbye has to close its side.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Why the gateway ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    NotSsh,
    /// A balancer's header was required, and none came that could be used.
    ProxyHeader,
    /// The client that a header named has too many connections.
    SourceLimit,
    HelloTimeout,
    LoginGrace,
    LoginRefused,
    /// Another network needed the place before login.
    Displaced,
    /// The operator keeps the client's network out.
    Blocked,
    /// The user has too many connections.
    UserLimit,
    Idle,
    StalledOutput,
    /// The client asked for a second key exchange before it had logged in.
    RekeyBeforeLogin,
    /// The client sent more than its windows allow.
    WindowExceeded,
    /// The operator took the user's access away.
    Revoked,
    Draining,
    DrainTimeout,
}

/// What stands for a reason where the client ended the connection.
pub(super) const CLIENT_CLOSED: &str = "client-closed";
/// The same where it broke the protocol.
pub(super) const PROTOCOL_ERROR: &str = "protocol-error";

impl EndReason {
    pub(super) const ALL: [Self; 16] = [
        Self::NotSsh,
        Self::ProxyHeader,
        Self::SourceLimit,
        Self::HelloTimeout,
        Self::LoginGrace,
        Self::LoginRefused,
        Self::Displaced,
        Self::Blocked,
        Self::UserLimit,
        Self::Idle,
        Self::StalledOutput,
        Self::RekeyBeforeLogin,
        Self::WindowExceeded,
        Self::Revoked,
        Self::Draining,
        Self::DrainTimeout,
    ];

    /// Returns the stable word for logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotSsh => "not-ssh",
            Self::ProxyHeader => "proxy-header",
            Self::SourceLimit => "limit",
            Self::HelloTimeout => "hello-timeout",
            Self::LoginGrace => "login-grace",
            Self::LoginRefused => "login-refused",
            Self::Displaced => "displaced",
            Self::Blocked => "blocked",
            Self::UserLimit => "user-limit",
            Self::Idle => "idle",
            Self::StalledOutput => "stalled-output",
            Self::RekeyBeforeLogin => "rekey-before-login",
            Self::WindowExceeded => "window-exceeded",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::DrainTimeout => "drain-timeout",
        }
    }
}

/// Shared by a connection's socket, callbacks, channels and the task that watches over it.
pub(super) struct ConnectionState {
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    admitted: Admitted,
    accepted_at: Instant,
    /// Cancelled when the connection is over or is to be cut: nothing waits longer.
    pub(super) gone: CancellationToken,
    /// Closed by sessions that hold too many bytes.
    pub(super) gate: Arc<Gate>,
    windows: Mutex<Windows>,
    pub(super) memory: ConnectionMemory,
    pub(super) user: OnceLock<AuthenticatedUser>,
    user_connection: OnceLock<UserConnection>,
    /// Wakes the watching task when something changed that it cannot foresee.
    pub(super) changed: Notify,
    socket_waker: AtomicWaker,
    hello: AtomicBool,
    health_check: AtomicBool,
    last_activity: Moment,
    stalled_since: Moment,
    closing_since: Moment,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    channels_open: AtomicUsize,
    channels_opened: AtomicUsize,
    end: OnceLock<EndReason>,
    /// As the offers of both sides come to.
    algorithms: OnceLock<Box<Algorithms>>,
}

impl ConnectionState {
    pub(super) fn new(clock: Arc<dyn Clock>, limits: Arc<Limits>, admitted: Admitted) -> Self {
        let accepted_at = clock.now();
        let windows = window::of_connection(&limits);
        Self {
            clock,
            limits,
            admitted,
            accepted_at,
            gone: CancellationToken::new(),
            gate: Arc::default(),
            windows: Mutex::new(windows),
            memory: ConnectionMemory::default(),
            user: OnceLock::new(),
            user_connection: OnceLock::new(),
            changed: Notify::new(),
            socket_waker: AtomicWaker::new(),
            hello: AtomicBool::new(false),
            health_check: AtomicBool::new(false),
            last_activity: Moment::default(),
            stalled_since: Moment::default(),
            closing_since: Moment::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            channels_open: AtomicUsize::new(0),
            channels_opened: AtomicUsize::new(0),
            end: OnceLock::new(),
            algorithms: OnceLock::new(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    // ---- the end ----

    /// Waits until the user who is in is to leave at once.
    pub(super) async fn revoked(&self) {
        match self.user.get() {
            Some(user) => user.revoked().cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the connection has to give up its place before login.
    pub(super) async fn displaced(&self) {
        self.admitted.displaced().cancelled().await;
    }

    /// Cuts the connection now.
    pub(super) fn cut(&self, reason: EndReason) {
        self.conclude(reason);
        self.sever();
    }

    /// Cuts the connection after a goodbye of either side.
    pub(super) fn sever(&self) {
        self.gone.cancel();
        self.socket_waker.wake();
    }

    /// Asks the watching task to say goodbye, with a reason for the log.
    pub(super) fn dismiss(&self, reason: EndReason) {
        self.conclude(reason);
        self.changed.notify_one();
    }

    /// Says why the gateway ends the connection; the first reason stands.
    pub(super) fn conclude(&self, reason: EndReason) {
        self.end.get_or_init(|| reason);
    }

    /// Why the gateway ends the connection, if it does.
    pub(super) fn end(&self) -> Option<EndReason> {
        self.end.get().copied()
    }

    /// Goodbye was said: the client has [`LINGER`] to close its side.
    pub(super) fn begin_closing(&self) {
        if self.closing_since.get(self.accepted_at).is_none() {
            self.closing_since.set(self.since_accept());
            self.changed.notify_one();
        }
    }

    /// Leaves the waker that [`ConnectionState::cut`] is to wake.
    pub(super) fn register_socket(&self, waker: &Waker) {
        self.socket_waker.register(waker);
    }

    // ---- moments ----

    /// The client sent its version line and began a packet.
    pub(super) fn hello_seen(&self) {
        self.hello.store(true, Ordering::Relaxed);
    }

    /// Counts the connection for its source, which a balancer's header has named.
    pub(super) fn named(&self, source: Source) -> Result<(), OverCap> {
        self.admitted.named(source)
    }

    /// A balancer made the connection for itself.
    pub(super) fn note_health_check(&self) {
        self.health_check.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_health_check(&self) -> bool {
        self.health_check.load(Ordering::Relaxed)
    }

    /// Notes which algorithms are used, if that is known.
    pub(super) fn found(&self, algorithms: Option<Algorithms>) {
        if let Some(algorithms) = algorithms {
            self.algorithms.get_or_init(|| Box::new(algorithms));
        }
    }

    /// Returns which algorithms are used.
    pub(super) fn algorithms(&self) -> Option<&Algorithms> {
        self.algorithms.get().map(|found| &**found)
    }

    /// The client finished its first key exchange.
    pub(super) fn keys_exchanged(&self) {
        self.admitted.keys_exchanged();
    }

    /// The user is in.
    pub(super) fn authenticated(&self, user: AuthenticatedUser, connection: UserConnection) {
        self.memory.belongs_to(connection.share().clone());
        self.user_connection.get_or_init(|| connection);
        self.user.get_or_init(|| user);
        self.admitted.authenticated();
        self.touch();
        self.changed.notify_one();
    }

    /// A channel's bytes moved: the connection is not idle. Keep-alives do not count.
    pub(super) fn touch(&self) {
        self.last_activity.set(self.since_accept());
    }

    pub(super) fn count_in(&self, bytes: usize) {
        add(&self.bytes_in, bytes);
    }

    /// The socket took bytes.
    pub(super) fn output_moved(&self, bytes: usize) {
        add(&self.bytes_out, bytes);
        self.stalled_since.clear();
    }

    /// The socket takes no bytes.
    pub(super) fn output_stalled(&self) {
        if self.stalled_since.get(self.accepted_at).is_none() {
            self.stalled_since.set(self.since_accept());
        }
    }

    pub(super) fn moments(&self) -> Moments {
        Moments {
            accepted: self.accepted_at,
            hello: self.hello.load(Ordering::Relaxed),
            authenticated: self.user.get().is_some(),
            last_activity: self
                .last_activity
                .get(self.accepted_at)
                .unwrap_or(self.accepted_at),
            stalled_since: self.stalled_since.get(self.accepted_at),
            closing_since: self.closing_since.get(self.accepted_at),
        }
    }

    // ---- totals and channels ----

    /// Returns the bytes received and sent, encrypted as they were.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_in.load(Ordering::Relaxed),
            self.bytes_out.load(Ordering::Relaxed),
        )
    }

    /// Returns when the connection was accepted.
    pub(super) const fn accepted_at(&self) -> Instant {
        self.accepted_at
    }

    pub(super) fn age(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.accepted_at)
    }

    /// The time on the connection's clock.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Changes the receive windows of the channels, and has a place found for what waits.
    pub(super) fn change_windows<T>(&self, change: impl FnOnce(&mut Windows) -> T) -> T {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut windows);
        // Under the lock, or an older sum could come last.
        self.memory.queued(windows.waiting_cost(), &self.gate);
        self.memory.promise(windows.promised());
        changed
    }

    pub(super) fn channels_open(&self) -> usize {
        self.channels_open.load(Ordering::Acquire)
    }

    pub(super) fn channels_opened(&self) -> usize {
        self.channels_opened.load(Ordering::Relaxed)
    }

    /// Counts a channel in, until the answer is dropped; `None` over a cap.
    pub(super) fn open_channel(self: &Arc<Self>) -> Option<OpenChannel> {
        // Only the connection's own loop opens channels, so nothing comes between.
        if self.channels_open() >= self.limits.channels_per_connection_max
            || self.channels_opened() >= self.limits.channel_opens_per_connection_max
        {
            return None;
        }
        self.channels_open.fetch_add(1, Ordering::AcqRel);
        self.channels_opened.fetch_add(1, Ordering::Relaxed);
        Some(OpenChannel(Arc::clone(self)))
    }

    fn since_accept(&self) -> Duration {
        self.age()
    }
}

impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionState")
            .field("moments", &self.moments())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A channel that counts as open.
#[derive(Debug)]
pub(super) struct OpenChannel(Arc<ConnectionState>);

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.0.channels_open.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// An instant as milliseconds since accept, plus one; zero is *not yet*.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

impl Moment {
    fn set(&self, since_accept: Duration) {
        let millis = u64::try_from(since_accept.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis.saturating_add(1), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self, accepted_at: Instant) -> Option<Instant> {
        let millis = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        accepted_at.checked_add(Duration::from_millis(millis))
    }
}

fn add(total: &AtomicU64, bytes: usize) {
    total.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// A connection's moments, as its deadlines see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moments {
    accepted: Instant,
    hello: bool,
    authenticated: bool,
    last_activity: Instant,
    stalled_since: Option<Instant>,
    closing_since: Option<Instant>,
}

/// What the deadlines say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing can be due earlier than this.
    NotBefore(Instant),
    /// Goodbye was said and nothing came.
    Lingered,
    Over(EndReason),
}

/// Judges a connection's deadlines (pure).
///
/// A moment that has not come yet counts as now: whatever it starts cannot be over before.
pub(super) fn due(moments: &Moments, now: Instant, limits: &Limits) -> Due {
    if let Some(since) = moments.closing_since {
        let until = since + LINGER;
        return if until <= now {
            Due::Lingered
        } else {
            Due::NotBefore(until)
        };
    }
    let stalled = moments.stalled_since.unwrap_or(now) + limits.stalled_output_timeout;
    let phase = if moments.authenticated {
        (moments.last_activity + limits.idle_timeout, EndReason::Idle)
    } else if moments.hello || limits.login_grace < limits.hello_timeout {
        (moments.accepted + limits.login_grace, EndReason::LoginGrace)
    } else {
        (
            moments.accepted + limits.hello_timeout,
            EndReason::HelloTimeout,
        )
    };
    let (at, reason) = if stalled < phase.0 {
        (stalled, EndReason::StalledOutput)
    } else {
        phase
    };
    if at <= now {
        Due::Over(reason)
    } else {
        Due::NotBefore(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn each_phase_has_its_deadline() {
        let limits = Limits::default();
        let accepted = SystemClock.now();
        let at = |seconds| accepted + Duration::from_secs(seconds);
        let silent = Moments {
            accepted,
            hello: false,
            authenticated: false,
            last_activity: accepted,
            stalled_since: None,
            closing_since: None,
        };
        let greeted = Moments {
            hello: true,
            ..silent
        };
        let user = Moments {
            authenticated: true,
            last_activity: at(100),
            ..greeted
        };
        let stalled = Moments {
            stalled_since: Some(at(100)),
            ..user
        };
        let closing = Moments {
            closing_since: Some(at(50)),
            ..stalled
        };
        for (moments, now, expected) in [
            (silent, 9, Due::NotBefore(at(10))),
            (silent, 10, Due::Over(EndReason::HelloTimeout)),
            (greeted, 10, Due::NotBefore(at(60))),
            (greeted, 60, Due::Over(EndReason::LoginGrace)),
            (user, 60, Due::NotBefore(at(360))),
            (user, 1_700, Due::NotBefore(at(1_900))),
            (user, 1_900, Due::Over(EndReason::Idle)),
            (stalled, 399, Due::NotBefore(at(400))),
            (stalled, 400, Due::Over(EndReason::StalledOutput)),
            (closing, 51, Due::NotBefore(at(52))),
            (closing, 52, Due::Lingered),
        ] {
            assert_eq!(due(&moments, at(now), &limits), expected, "at {now}");
        }
    }
}
