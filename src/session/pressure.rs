//! Back-pressure: a client whose requests and bytes have no memory is not heard for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::budget::{Charge, Gate, GateHold};
use crate::limits;

use super::events::Event;
use super::files::Files;
use super::paths::Paths;
use super::shell::Shell;

/// Decides whether the client is heard.
#[derive(Debug)]
pub(crate) struct Regulator {
    /// Of the connection: while it is closed nothing is read from the socket.
    gate: Arc<Gate>,
    hold: Option<GateHold>,
    /// For what is held beyond the allowance.
    charge: Option<Charge>,
    /// Waits for more of it.
    wait: Option<AbortHandle>,
    /// How much output was taken, and when that was seen last.
    progress: (u64, Instant),
    /// As many of its WRITEs wait for memory as may.
    parked: bool,
    hears: bool,
    deadline: Option<Instant>,
}

impl Regulator {
    pub(crate) const fn new(gate: Arc<Gate>, now: Instant) -> Self {
        Self {
            gate,
            hold: None,
            charge: None,
            wait: None,
            progress: (0, now),
            parked: false,
            hears: true,
            deadline: None,
        }
    }

    /// Says whether requests may be taken.
    pub(crate) const fn hears(&self) -> bool {
        self.hears
    }

    /// Says whether the client cannot go on for a reason that is not its own. WRITEs of its own that
    /// wait for memory are: otherwise files that nobody fills could keep theirs behind those.
    pub(crate) const fn withholds(&self) -> bool {
        self.hold.is_some() && !self.parked
    }

    /// Returns when it has to look again though nothing happened.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes memory that was waited for.
    pub(crate) fn room(&mut self, charge: Charge) {
        self.wait = None;
        charge.join_into(&mut self.charge);
    }

    /// Looks at what the session holds, and closes or opens the gate.
    /// What a client had sent before it went is here already, and is not paced.
    pub(crate) fn regulate(
        &mut self,
        shell: &mut Shell,
        files: &Files,
        paths: &Paths,
        client_gone: bool,
    ) {
        let now = shell.now();
        let paced_until = shell
            .user_session
            .receives_again_at(now)
            .filter(|_| !client_gone);
        let short = !self.pay(shell, files, paths);
        self.parked = files.parked_writes() >= limits::WRITES_PARKED_MAX;
        let crowded = short
            || self.parked
            || shell.answers.open() >= limits::REQUESTS_WAITING_MAX
            || shell.answers.out().is_crowded();
        self.hears = !crowded && paced_until.is_none();
        let (stuck, stuck_at) = self.output_stuck(shell, now);
        // Its window adjustments come the same way as its requests: where output waits for them
        // the connection is read, and the requests stay where they arrive.
        let closed = paced_until.is_some() || (crowded && !stuck);
        match (closed, self.hold.is_some()) {
            (true, false) => self.hold = Some(self.gate.close()),
            (false, true) => self.hold = None,
            (true, true) | (false, false) => {}
        }
        let stuck_at = stuck_at.filter(|_| crowded && !stuck);
        self.deadline = paced_until.into_iter().chain(stuck_at).min();
    }

    /// Charges what is held to the account; `false`: there is not enough.
    fn pay(&mut self, shell: &mut Shell, files: &Files, paths: &Paths) -> bool {
        let held = files
            .parked_bytes()
            .saturating_add(paths.bytes_waiting())
            .saturating_add(shell.answers.open().saturating_mul(REQUEST_BYTES));
        let need = u64::try_from(held.saturating_sub(limits::SESSION_KEPT_BYTES)).unwrap_or(0);
        let paid = self.charge.as_ref().map_or(0, Charge::bytes);
        if need == 0 {
            self.charge = None;
            self.stop_waiting();
            return true;
        }
        if need <= paid {
            if let Some(charge) = &mut self.charge
                && need.saturating_add(STEP_BYTES.saturating_mul(2)) < paid
            {
                charge.shrink_to(need);
            }
            self.stop_waiting();
            return true;
        }
        let more = need.saturating_sub(paid).next_multiple_of(STEP_BYTES);
        let share = shell.user_session.memory().account.clone();
        if let Some(charge) = share.try_take(more) {
            self.room(charge);
            self.stop_waiting();
            return true;
        }
        if self.wait.is_none() {
            let events = shell.events.clone();
            self.wait = Some(shell.spawn(async move {
                events.send(Event::Room(share.take(more).await));
            }));
        }
        false
    }

    fn stop_waiting(&mut self) {
        if let Some(wait) = self.wait.take() {
            wait.abort();
        }
    }

    /// Says whether the client has to be heard for output to go on; and when that can be said.
    fn output_stuck(&mut self, shell: &Shell, now: Instant) -> (bool, Option<Instant>) {
        let out = shell.answers.out();
        let sent = out.sent();
        if sent != self.progress.0 || !out.is_waiting() {
            self.progress = (sent, now);
        }
        let at = self.progress.1.checked_add(STUCK_AFTER).unwrap_or(now);
        (at <= now, out.is_waiting().then_some(at))
    }
}

/// What a request takes until it is answered, beside its names and bytes.
const REQUEST_BYTES: usize = 128;
/// What the account is asked for at once.
const STEP_BYTES: u64 = 32 * 1024;
/// Output that nobody takes for so long waits for the client's word.
const STUCK_AFTER: Duration = Duration::from_millis(5);
