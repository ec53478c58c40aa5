//! What the SSH library asks while it runs a connection.
//!
//! The callbacks run inside the library's loop: one may wait for the identity provider, which
//! needs nothing of the loop, but never for output, window or a session. Every channel request is
//! answered, since silence makes clients hang.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, Pty};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::entrance::Entrance;
use super::error::ConnectionError;
use super::hello;
use super::login::{self, Login};
use super::refused::{self, Asked, Because, SFTP_ONLY};
use super::state::{ConnectionState, EndReason};
use super::subsystem::{self, Credit, NOT_RUN, STDERR, WaitingChannel};
use crate::auth::ConnectionAuth;
use crate::limits::CHANNEL_PACKET_BYTES_MIN;
use crate::tasks::spawn_tracked;

/// Answers for one connection.
pub(super) struct Callbacks {
    entrance: Arc<Entrance>,
    state: Arc<ConnectionState>,
    span: Span,
    login: Login,
    channels: HashMap<ChannelId, SessionChannel>,
}

/// A session channel, until its client or its session closes it.
struct SessionChannel {
    /// Cancelled when the channel is closed, or its connection gone.
    closed: CancellationToken,
    /// Present while no subsystem was started.
    waiting: Option<WaitingChannel>,
}

impl Callbacks {
    pub(super) fn new(
        entrance: Arc<Entrance>,
        state: Arc<ConnectionState>,
        auth: ConnectionAuth,
        span: Span,
    ) -> Self {
        Self {
            login: Login::new(
                Arc::clone(entrance.server()),
                Arc::clone(&state),
                auth,
                span.clone(),
            ),
            entrance,
            state,
            span,
            channels: HashMap::new(),
        }
    }

    fn discard_unread(&mut self, channel: ChannelId) {
        if let Some(waiting) = self.waiting(channel) {
            waiting.discard_unread();
        }
    }

    fn waiting(&mut self, channel: ChannelId) -> Option<&mut WaitingChannel> {
        self.channels.get_mut(&channel)?.waiting.as_mut()
    }

    fn refuse_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        self.discard_unread(channel);
        Ok(session.channel_failure(channel)?)
    }

    /// Writes down, in the connection's span, what is refused.
    fn note_refusal(&self, asked: Asked, because: Because, what: Option<&str>) {
        self.span
            .in_scope(|| refused::note(self.entrance.server(), asked, because, what));
    }

    /// Answers what only a shell could do with a sentence and an exit status: a client that is told
    /// of a failure ends before it shows the sentence. OpenSSH's server does so under
    /// `ForceCommand internal-sftp`.
    async fn explain(
        &mut self,
        channel: ChannelId,
        sentence: &'static str,
        exit_status: u32,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        let Some(waiting) = self.waiting(channel) else {
            return self.refuse_request(channel, session);
        };
        // Data without window would be held back, and everything else with it.
        let room = waiting.write.writable_packet_size().await;
        session.channel_success(channel)?;
        if room >= sentence.len() {
            session.extended_data(channel, STDERR, sentence)?;
        }
        session.exit_status_request(channel, exit_status)?;
        session.eof(channel)?;
        session.close(channel)?;
        self.channels.remove(&channel);
        Ok(())
    }

    /// Says why a request cannot be had on a channel.
    fn because(&self, channel: ChannelId) -> Because {
        let entry = self.channels.get(&channel);
        if entry.is_some_and(|entry| entry.waiting.is_some()) {
            Because::SftpOnly
        } else {
            Because::ChannelInUse
        }
    }

    fn start_session(&mut self, channel: ChannelId, asked: subsystem::Asked) -> bool {
        let Some(user) = self.state.user.get() else {
            return false;
        };
        let Some(entry) = self.channels.get_mut(&channel) else {
            return false;
        };
        let Some(mut waiting) = entry.waiting.take() else {
            return false;
        };
        waiting.discard_unread();
        let session = subsystem::run(
            Arc::clone(self.entrance.channels()),
            asked,
            user.clone(),
            Arc::clone(&self.state),
            entry.closed.clone(),
            waiting,
        );
        let session = session.instrument(self.span.clone());
        drop(spawn_tracked(self.entrance.sessions(), session));
        true
    }

    fn accept_channel(&mut self, channel: Channel<Msg>, session: &Session) -> bool {
        let Some(open) = self.state.open_channel() else {
            return false;
        };
        self.channels
            .retain(|_, entry| !entry.closed.is_cancelled());
        let id = channel.id();
        let (read, write) = channel.split();
        let entry = SessionChannel {
            closed: self.state.gone.child_token(),
            waiting: Some(WaitingChannel {
                read,
                write,
                credit: Credit::new(Arc::clone(&self.state), session.handle(), id),
                open,
            }),
        };
        self.channels.insert(id, entry);
        true
    }

    /// Counts what came on a channel. The library has queued it; nobody waits for it here.
    fn arrived(
        &mut self,
        channel: ChannelId,
        bytes: usize,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        let id = channel.into();
        let now = self.state.now();
        let counted = self
            .state
            .change_windows(|windows| windows.arrived(id, bytes, now));
        if counted.is_err() {
            self.state.conclude(EndReason::WindowExceeded);
            let text = "more data than the channel's window allows";
            session.disconnect(Disconnect::ProtocolError, text, "")?;
        }
        self.discard_unread(channel);
        Ok(())
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("state", &self.state)
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}

impl Handler for Callbacks {
    type Error = ConnectionError;

    // ---- login ----

    /// Is asked for when the client asks to log in, which it can after the key exchange alone.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        self.state.keys_exchanged();
        Ok(self.entrance.banner().map(str::to_owned))
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(self.login.refusal())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.login
            .password_came(MethodKind::Password, user, password)
            .await
    }

    /// Carries the password for clients that prefer it (RFC 4256): one prompt, one answer.
    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let passwords_go = self.login.passwords_go();
        let Some(mut answers) = response.filter(|_| passwords_go) else {
            return Ok(if passwords_go {
                login::password_prompt()
            } else {
                self.login.refusal()
            });
        };
        // What is no text is no password: it is refused like one, and counts like one.
        let password = answers.next().unwrap_or_default();
        let password = std::str::from_utf8(&password).unwrap_or_default();
        self.login
            .password_came(MethodKind::KeyboardInteractive, user, password)
            .await
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let Some(key) = login::offered(offer.public_key, offer.algorithm) else {
            return Ok(self.login.refusal());
        };
        self.login.key_offered(user, &key).await
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let Some(key) = login::offered(key.public_key, key.algorithm) else {
            return Ok(self.login.refusal());
        };
        self.login.key_proved(user, &key).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        if hello::takes_announcements(session.remote_sshid()) {
            session.announce_host_keys()?;
        }
        Ok(())
    }

    // ---- channels ----

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Answers cut into crumbs would blow up the output buffer.
        let crumbs = channel.writable_packet_size().await < CHANNEL_PACKET_BYTES_MIN;
        if !crumbs && self.accept_channel(channel, session) {
            reply.accept().await;
        } else {
            let because = if crumbs {
                Because::PacketSize
            } else {
                Because::ChannelLimit
            };
            self.note_refusal(Asked::Channel, because, None);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note_refusal(Asked::Forwarding, Because::SftpOnly, None);
        reply
            .reject(ChannelOpenFailure::AdministrativelyProhibited)
            .await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        _address: &str,
        _port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.note_refusal(Asked::Forwarding, Because::SftpOnly, None);
        Ok(false)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "sftp" && self.start_session(channel, subsystem::Asked::Sftp) {
            Ok(session.channel_success(channel)?)
        } else {
            self.note_refusal(Asked::Subsystem, self.because(channel), Some(name));
            self.refuse_request(channel, session)
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note_refusal(Asked::Shell, self.because(channel), None);
        self.explain(channel, SFTP_ONLY, 1, session).await
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let because = self.because(channel);
        let not_run = match self.entrance.channels().command(command) {
            Ok(command) => {
                if self.start_session(channel, subsystem::Asked::Command(command)) {
                    return Ok(session.channel_success(channel)?);
                }
                None
            }
            Err(not_run) => Some(not_run),
        };
        let program = refused::program(command);
        let because = match (because, not_run) {
            (Because::SftpOnly, Some(not_run)) => Because::NotRun(not_run),
            (because, _) => because,
        };
        self.note_refusal(Asked::Exec, because, Some(&program));
        let sentence = refused::sentence(&program, not_run);
        self.explain(channel, sentence, NOT_RUN, session).await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_request(channel, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_request(channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_request(channel, session)
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.discard_unread(channel);
        Ok(false)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.discard_unread(channel);
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        _signal: russh::Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.discard_unread(channel);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.arrived(channel, data.len(), session)
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        _code: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.arrived(channel, data.len(), session)
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.discard_unread(channel);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(entry) = self.channels.remove(&channel) {
            entry.closed.cancel();
        }
        Ok(())
    }
}
