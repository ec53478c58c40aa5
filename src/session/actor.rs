//! The session's one task: it owns everything, and everything that happens comes to it.
//!
//! Requests come in, events of storage calls come back, replies go out. Nothing here waits for
//! storage or for the client: what has to wait is kept as state, and says until when.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::clock::{Clock, sleep_until, within};
use crate::limits;
use crate::sftp::HandleId;
use crate::transfer::write_file::Heard;

use super::answers::Answers;
use super::changed::answered_too_late;
use super::environment::Environment;
use super::events::{Event, Events, Happened};
use super::expiry::expiry;
use super::files::Files;
use super::front::{Broken, Front, Incoming};
use super::out::Out;
use super::paths::Paths;
use super::pressure::Regulator;
use super::shell::Shell;
use super::unsettled::{Settling, Unsettled};
use super::user_sessions::UserSession;
use super::writer::{Writer, Wrote};

/// One user's conversation.
#[derive(Debug)]
pub(crate) struct Session<F> {
    pub(crate) shell: Shell,
    pub(crate) files: Files,
    pub(crate) paths: Paths,
    regulator: Regulator,
    front: F,
    writer: Writer,
    /// Whether packets are left that came and were not looked at.
    has_more: bool,
    pub(crate) client_gone: bool,
    /// What happened together with the session's end.
    last: Option<Box<Event>>,
}

/// Why the loop ended.
enum End {
    /// The client is done, or the gateway drains.
    Finished,
    /// The client may do nothing any more.
    Gone,
    /// The channel is gone, or nobody listens at its other end.
    Vanished,
    /// The client sends nothing more, and left files open of which something is kept.
    Left,
}

/// What a turn of the loop is about.
enum Turn {
    Happened(Box<Event>),
    /// The client took output.
    Drained,
    /// The client sent something, or nothing any more.
    Came(bool),
    Time,
    Nothing,
}

/// Serves one client to its end. `writing` sends what is said, and ends by itself only when nobody
/// listens any more.
pub(super) async fn run<F: Front>(
    environment: Environment,
    user: AuthenticatedUser,
    user_session: UserSession,
    gate: Arc<Gate>,
    front: F,
    out: Arc<Out>,
    writing: impl Future<Output = ()> + Send + 'static,
) {
    let (events, mut happened) = Events::new();
    let writer = Writer::new(Arc::clone(&out), writing);
    let clock = Arc::clone(&environment.clock);
    let metrics = Arc::clone(&environment.metrics);
    let now = clock.now();
    let answers = Answers::new(out, Arc::clone(&metrics), clock);
    let paths = Paths::new(
        user_session.memory().account.clone(),
        environment.names_fresh_for,
    );
    let mut session = Session {
        shell: Shell::new(environment, user, user_session, answers, events),
        files: Files::new(metrics, now),
        paths,
        regulator: Regulator::new(gate, now),
        front,
        writer,
        has_more: false,
        client_gone: false,
        last: None,
    };
    let end = session.serve(&mut happened).await;
    match end {
        End::Vanished | End::Left => session.keep(&mut happened, &end).await,
        End::Finished | End::Gone => {}
    }
    session.give_up(&mut happened);
    session.shell.sum_up_failures();
    let writer = session.into_writer();
    if let End::Finished | End::Left = end {
        // The SSH layer bounds how long a client may leave its output untaken.
        writer.finish().await;
    }
}

impl<F: Front> Session<F> {
    fn into_writer(self) -> Writer {
        self.writer
    }

    async fn serve(&mut self, happened: &mut Happened) -> End {
        let drain = self.shell.environment.drain.clone();
        let revoked = self.shell.user.revoked().clone();
        let gone = self.front.gone();
        let clock = Arc::clone(&self.shell.environment.clock);
        let expiry = expiry(Arc::clone(&clock), self.shell.user.config().expires_at);
        tokio::pin!(expiry);
        let mut open = true;
        loop {
            if let Some(end) = self.ending(open) {
                return end;
            }
            let mut deadline = self.deadline();
            // What is due is not kept waiting by what is new.
            if deadline.is_some_and(|at| at <= clock.now()) {
                self.time();
                self.regulate();
                deadline = self.deadline();
            }
            let hears = self.regulator.hears();
            let turn = tokio::select! {
                // In this order: what ends the session, what is under way, what is new.
                biased;
                () = revoked.cancelled() => Turn::Nothing,
                () = &mut expiry => {
                    tracing::info!("session ends: the identity provider's answer has expired");
                    return End::Finished;
                }
                wrote = self.writer.write() => match wrote {
                    Wrote::Some => Turn::Drained,
                    Wrote::Gone => return End::Vanished,
                },
                // Its end would come with its bytes, which wait.
                () = gone.cancelled(), if !hears || !open => return End::Vanished,
                () = drain.cancelled(), if !drain.is_cancelled() => Turn::Nothing,
                Some(event) = happened.recv() => Turn::Happened(event),
                () = std::future::ready(()), if hears && self.has_more => Turn::Nothing,
                more = self.front.more(), if open && hears && !self.has_more => Turn::Came(more),
                () = until(&*clock, deadline) => Turn::Time,
            };
            if revoked.is_cancelled() {
                if let Turn::Happened(event) = turn {
                    self.last = Some(event);
                }
                // What is open is not committed, whatever happened just now.
                tracing::info!("session ends: the user's access was revoked");
                return End::Gone;
            }
            match turn {
                Turn::Happened(event) => {
                    self.handle(*event);
                    self.handle_more(happened);
                }
                Turn::Drained => {
                    self.files.answer_more(&mut self.shell);
                    // A client that takes whatever there is does not hold up what happens.
                    self.handle_more(happened);
                }
                Turn::Came(more) => {
                    self.has_more = more;
                    open = more;
                }
                Turn::Time => self.time(),
                Turn::Nothing => {}
            }
            if let Err(broken) = self.take() {
                self.shell.says_why_it_ends(&broken);
                return End::Finished;
            }
            self.shell.reap();
            self.regulate();
        }
    }

    /// Says how the session ends that waits for nothing any more.
    fn ending(&self, open: bool) -> Option<End> {
        let idle = self.shell.answers.open() == 0 && !self.has_more;
        let drains = self.shell.environment.drain.is_cancelled();
        if idle && !open && self.files.keeps_partial() {
            return Some(End::Left);
        }
        let over = idle && (!open || (drains && self.files.is_empty()));
        over.then_some(End::Finished)
    }

    /// Takes what the client sent, as long as there is memory for it.
    fn take(&mut self) -> Result<(), Broken> {
        for _ in 0..REQUESTS_PER_TURN_MAX {
            // Answers of the session's own bytes are made at once.
            let crowded = self.shell.answers.out().is_crowded();
            if !self.has_more || crowded || !self.regulator.hears() {
                return Ok(());
            }
            match self.front.next()? {
                Some(Incoming::Init) => self.shell.answers.out().version(),
                Some(Incoming::Request(id, request)) => {
                    let pending = self.shell.answers.arrive(id, request.operation());
                    self.request(pending, request);
                }
                Some(Incoming::Refused(id, operation, status)) => {
                    let pending = self.shell.answers.arrive(id, operation);
                    self.shell.refuse(pending, None, None, status);
                }
                Some(Incoming::Withdrawn(handle)) => self.withdraw(handle),
                None => self.has_more = false,
            }
        }
        Ok(())
    }

    fn withdraw(&mut self, handle: HandleId) {
        let closed = self
            .files
            .hear_write(&mut self.shell, handle, Heard::Withdrawn);
        self.paths.done(&mut self.shell, &mut self.files, closed);
    }

    /// Handles in one turn what is there already.
    fn handle_more(&mut self, happened: &mut Happened) {
        for _ in 0..EVENTS_PER_TURN_MAX {
            let Ok(event) = happened.try_recv() else {
                return;
            };
            self.handle(*event);
        }
    }

    fn handle(&mut self, event: Event) {
        let (shell, files) = (&mut self.shell, &mut self.files);
        match event {
            Event::Answered { running, answer } => {
                self.paths.answered(shell, files, *running, answer);
            }
            Event::Read { handle, heard } => files.hear_read(shell, handle, heard),
            Event::Write { handle, heard } => {
                let closed = files.hear_write(shell, handle, *heard);
                self.paths.done(shell, files, closed);
            }
            Event::Followed {
                handle,
                location,
                outcome,
            } => files.followed(shell, handle, &location, outcome),
            Event::Page {
                handle,
                query,
                outcome,
            } => files.page_arrived(shell, handle, query, outcome),
            Event::Listed {
                directory,
                asked,
                names,
            } => self.paths.listed(directory, asked, names),
            Event::PageMemory { handle, charge } => files.page_memory(shell, handle, charge),
            Event::Room(charge) => self.regulator.room(charge),
        }
    }

    /// Returns when something has to be done though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let pace = self.shell.user_session.sends_again_at(self.shell.now());
        let deadlines = [
            self.files.deadline(&self.shell),
            self.paths.deadline(),
            self.regulator.deadline(),
            pace,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn time(&mut self) {
        self.paths.time(&mut self.shell, &mut self.files);
        let held = self.regulator.withholds();
        let closed = self.files.time(&mut self.shell, held);
        self.paths.done(&mut self.shell, &mut self.files, closed);
        self.files.answer_more(&mut self.shell);
    }

    fn regulate(&mut self) {
        let closed = self.files.close_read(&mut self.shell, self.client_gone);
        self.paths.done(&mut self.shell, &mut self.files, closed);
        let Self {
            shell,
            files,
            paths,
            client_gone,
            ..
        } = self;
        self.regulator.regulate(shell, files, paths, *client_gone);
    }

    /// Finishes the uploads whose CLOSE came before their client went, and what is kept of others:
    /// as long as the user has access. While the gateway drains, only where partial uploads are
    /// kept: a restart is what cuts most connections.
    async fn keep(&mut self, happened: &mut Happened, end: &End) {
        // That may stand behind requests which nobody will hear.
        if let Some(handle) = self.front.withdrawn() {
            self.withdraw(handle);
        }
        let stop = self.shell.stop.clone();
        let drain = self.shell.environment.drain.clone();
        let partial = self.files.keeps_partial();
        let ends = drain.is_cancelled() && !partial;
        if ends || stop.check().is_err() || !self.files.is_writing() {
            return;
        }
        self.client_gone = true;
        if let End::Vanished = end {
            self.shell.answers.out().nobody_listens();
        }
        self.files.client_gone(&mut self.shell);
        let unsettled = self.files.unsettled(&self.shell.environment.unsettled);
        // Its own requests that are left would wait for themselves.
        self.shell.environment.unsettled = Unsettled::default();
        // A drain waits for it.
        let (kept, ended) = oneshot::channel::<()>();
        if partial {
            let what = "uploads of a client that disconnected";
            self.shell.environment.reaper.outlive(what, async move {
                // Nothing is sent: it ends with the other half.
                drop(ended.await);
            });
        }
        let revoked = self.shell.user.revoked().clone();
        let clock = Arc::clone(&self.shell.environment.clock);
        let expiry = expiry(Arc::clone(&clock), self.shell.user.config().expires_at);
        tokio::select! {
            biased;
            () = revoked.cancelled() => {}
            () = drain.cancelled(), if !partial => {}
            () = expiry => {}
            () = clock.sleep(limits::CLOSE_KEPT_FOR) => {}
            () = self.finish(happened, unsettled) => {}
        }
        drop(kept);
    }

    /// Takes what the client had sent before it went, and finishes what it closed and what is kept.
    async fn finish(&mut self, happened: &mut Happened, mut unsettled: Vec<(HandleId, Settling)>) {
        let clock = Arc::clone(&self.shell.environment.clock);
        let rest = self.take_rest(happened);
        // Where memory is short for longer, a CLOSE may be behind what waits for it, or none.
        if within(&*clock, limits::REST_TAKEN_FOR, rest)
            .await
            .is_none()
        {
            tracing::debug!("client disconnected: not everything it had sent was processed");
        }
        let turns = Arc::clone(self.shell.user_session.kept());
        let drains = self.shell.environment.drain.is_cancelled();
        let mut kept = self.files.keep(&mut self.shell, &turns, drains);
        if kept.is_empty() {
            return;
        }
        tracing::info!(
            uploads = kept.len(),
            "client disconnected: finishing its uploads"
        );
        loop {
            kept.retain(|(handle, _)| self.files.is_open(*handle));
            unsettled.retain(|(handle, _)| kept.iter().any(|(other, _)| other == handle));
            if kept.is_empty() {
                return;
            }
            self.wait_on(happened).await;
        }
    }

    /// Lets what is under way go on by one event.
    async fn wait_on(&mut self, happened: &mut Happened) {
        let clock = Arc::clone(&self.shell.environment.clock);
        let deadline = self.deadline();
        tokio::select! {
            biased;
            // Who is there still gets what was said.
            _ = self.writer.write() => {}
            Some(event) = happened.recv() => self.handle(*event),
            () = until(&*clock, deadline) => self.time(),
        }
        self.shell.reap();
        self.regulate();
    }

    /// Takes what is there, and waits for nothing but memory for it.
    async fn take_rest(&mut self, happened: &mut Happened) {
        while self.take().is_ok() {
            self.regulate();
            if !self.regulator.hears() {
                self.wait_on(happened).await;
            } else if !self.has_more {
                // What is there comes at once, however much came before it in this turn.
                let more = tokio::task::unconstrained(self.front.more());
                match more.now_or_never() {
                    Some(true) => self.has_more = true,
                    Some(false) | None => return,
                }
            }
        }
    }

    /// Ends what the client left open: nothing of it becomes visible.
    fn give_up(&mut self, happened: &mut Happened) {
        happened.close();
        self.files.session_over(&mut self.shell);
        // An upload that was created just now is known only to its event.
        let last = self.last.take();
        for event in last
            .into_iter()
            .chain(std::iter::from_fn(|| happened.try_recv().ok()))
        {
            if let Event::Answered { running, answer } = &*event {
                answered_too_late(&self.shell, running, answer);
            }
            if let Event::Write { handle, heard } = *event
                && matches!(*heard, Heard::Created(_) | Heard::Committed(_))
            {
                self.files.hear_write(&mut self.shell, handle, *heard);
            }
        }
    }
}

async fn until(clock: &dyn Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(clock, deadline).await,
        None => std::future::pending().await,
    }
}

const EVENTS_PER_TURN_MAX: usize = 64;
const REQUESTS_PER_TURN_MAX: usize = 64;
