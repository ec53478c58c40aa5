//! A session over a store in memory that does one thing: what it answers and calls is what the
//! gateway would, because it is the gateway's own code that does it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::Act;
use super::noted::{Noted, Noting};
use crate::auth::AuthenticatedUser;
use crate::budget::{Budget, Gate};
use crate::clock::SystemClock;
use crate::idp::UserConfig;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::session::{self, Environment, Gone, Inbound, Outbound, Seats};
use crate::storage::memory::MemoryStore;
use crate::storage::{Key, Location, Nonces, SharedStore};
use crate::vfs::{Place, VirtualPath};

/// What came of it.
#[derive(Debug)]
pub(super) struct Rehearsed {
    /// `None`: done.
    pub(super) refusal: Option<(u32, String)>,
    pub(super) calls: Vec<Noted>,
}

/// Does one thing as the user would, with what it needs already there.
pub(super) async fn rehearse(
    user: &Arc<UserConfig>,
    act: Act,
    path: &VirtualPath,
    to: Option<&VirtualPath>,
) -> Rehearsed {
    let buckets: Vec<_> = user.home.mappings().iter().map(|m| &m.bucket).collect();
    let memory = MemoryStore::new(&buckets);
    furnish(&memory, user, act, path);
    if let Some(to) = to {
        furnish(&memory, user, Act::Put, to);
    }
    let noting = Arc::new(Noting::new(Arc::new(memory)));
    let (to_session, inbound) = channel(REPLIES_MAX);
    let (outbound, from_session) = channel(REPLIES_MAX);
    let serving = serve(user, noting.clone(), FromUs(inbound), ToUs(outbound));
    let mut talk = Talk {
        to_session,
        from_session,
        received: Vec::new(),
    };
    let talking = async {
        let outcome = talk.act(act, path, to).await;
        drop(talk);
        outcome
    };
    let ((), outcome) = tokio::join!(serving, talking);
    Rehearsed {
        refusal: outcome.err(),
        calls: noting.calls(),
    }
}

/// Puts down what the act is about: its object or directory, and the directory it stands in.
fn furnish(memory: &MemoryStore, user: &UserConfig, act: Act, path: &VirtualPath) {
    let location = match user.home.place(path) {
        Ok(Place::Inside { location, .. } | Place::File { location, .. }) => location,
        Ok(Place::Virtual | Place::Nowhere | Place::MappingRoot { .. }) | Err(_) => return,
    };
    let key = location.key.as_str();
    let parent = key.rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
    let there = match act {
        Act::Get | Act::Stat | Act::Rm | Act::Rename => Some(key.to_owned()),
        Act::Ls | Act::Rmdir => Some(format!("{key}/")),
        Act::Put | Act::Mkdir => None,
    };
    for name in parent.into_iter().chain(there) {
        if let Ok(key) = Key::parse(&name) {
            let bucket = location.bucket.clone();
            let content = if name.ends_with('/') { "" } else { "x" };
            memory.insert(&Location { bucket, key }, content);
        }
    }
}

async fn serve(user: &Arc<UserConfig>, store: SharedStore, inbound: FromUs, outbound: ToUs) {
    let limits = Arc::new(Limits::default());
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(&limits);
    let environment = Environment {
        seats: Seats::new(1, Arc::clone(&budget)),
        budget,
        reaper: Reaper::new(Arc::clone(&metrics)),
        limits,
        metrics,
        clock: Arc::new(SystemClock),
        nonces: Nonces::default(),
        drain: CancellationToken::new(),
    };
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    // Nobody logs in: all there is to reach is in this memory.
    let user =
        AuthenticatedUser::dangerous_without_login(Arc::clone(user), source, "rehearsal", store);
    let gate = Arc::new(Gate::default());
    Box::pin(session::serve(
        environment,
        user,
        0,
        gate,
        inbound,
        outbound,
    ))
    .await;
}

struct FromUs(Receiver<Bytes>);
struct ToUs(Sender<Bytes>);

impl Inbound for FromUs {
    async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }

    fn gone(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

impl Outbound for ToUs {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.0.send(bytes).await.map_err(|_| Gone)
    }

    async fn send_stderr(&mut self, _text: Bytes) -> Result<(), Gone> {
        Ok(())
    }
}

/// The client's end: one question at a time.
struct Talk {
    to_session: Sender<Bytes>,
    from_session: Receiver<Bytes>,
    received: Vec<u8>,
}

/// A status other than OK.
type Refused = (u32, String);

impl Talk {
    async fn act(
        &mut self,
        act: Act,
        path: &VirtualPath,
        to: Option<&VirtualPath>,
    ) -> Result<(), Refused> {
        self.send(vec![INIT, 0, 0, 0, 3]).await;
        self.packet().await?;
        let name = string(path.as_str().as_bytes());
        let done = match act {
            Act::Get => {
                self.with_handle(OPEN, [&name[..], &flags(1)].concat(), READ)
                    .await
            }
            Act::Put => {
                let fields = [&name[..], &flags(2 | 8 | 16)].concat();
                self.with_handle(OPEN, fields, WRITE).await
            }
            Act::Ls => self.with_handle(OPENDIR, name, READDIR).await,
            Act::Stat => self.ask(STAT, name).await,
            Act::Rm => self.ask(REMOVE, name).await,
            Act::Mkdir => self.ask(MKDIR, [&name[..], &[0; 4]].concat()).await,
            Act::Rmdir => self.ask(RMDIR, name).await,
            Act::Rename => {
                let to = string(to.map_or("", VirtualPath::as_str).as_bytes());
                self.ask(RENAME, [name, to].concat()).await
            }
        };
        done.map(drop)
    }

    /// Opens, does one thing with the handle, and closes it.
    async fn with_handle(&mut self, open: u8, name: Vec<u8>, then: u8) -> Result<Vec<u8>, Refused> {
        let handle = self.ask(open, name).await?;
        let fields = match then {
            READ => [&handle[..], &[0; 8], &1_u32.to_be_bytes()].concat(),
            WRITE => [&handle[..], &[0; 8], &string(b"x")].concat(),
            _ => handle.clone(),
        };
        self.ask(then, fields).await?;
        self.ask(CLOSE, handle).await
    }

    /// Asks, and returns what follows the id of an answer that is no refusal.
    async fn ask(&mut self, kind: u8, fields: Vec<u8>) -> Result<Vec<u8>, Refused> {
        self.send([&[kind][..], &[0; 4], &fields].concat()).await;
        let answer = self.packet().await?;
        let (kind, body) = (answer.first().copied(), answer.get(5..).unwrap_or_default());
        let code = body
            .first_chunk()
            .map_or(0, |code| u32::from_be_bytes(*code));
        if kind != Some(STATUS) || code == 0 || code == EOF {
            return Ok(body.to_vec());
        }
        let length = body.get(4..8).and_then(|length| length.try_into().ok());
        let length = usize::try_from(u32::from_be_bytes(length.unwrap_or([0; 4]))).unwrap_or(0);
        let sentence = body.get(8..).unwrap_or_default();
        let sentence = sentence.get(..length).unwrap_or_default();
        Err((code, String::from_utf8_lossy(sentence).into_owned()))
    }

    async fn send(&self, packet: Vec<u8>) {
        let packet = Bytes::from(string(&packet));
        // A session that is gone answers nothing, which is seen at once.
        self.to_session.send(packet).await.unwrap_or_default();
    }

    async fn packet(&mut self) -> Result<Vec<u8>, Refused> {
        loop {
            if let Some(length) = self.received.first_chunk() {
                let end = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0) + 4;
                if self.received.len() >= end {
                    let packet = self.received.drain(..end).skip(4).collect();
                    return Ok(packet);
                }
            }
            match self.from_session.recv().await {
                Some(bytes) => self.received.extend(&bytes),
                None => return Err((FAILURE, "the session ended".to_owned())),
            }
        }
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Open flags, and no attributes.
fn flags(flags: u32) -> Vec<u8> {
    [flags.to_be_bytes(), [0; 4]].concat()
}

const REPLIES_MAX: usize = 16;

// draft-ietf-secsh-filexfer-02, §3 and §7.
const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const EOF: u32 = 1;
const FAILURE: u32 = 4;
