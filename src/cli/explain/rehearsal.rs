//! A session over a store in memory that does one thing: what it answers and calls is what the
//! gateway would, because it is the gateway's own code that does it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::Act;
use super::noted::{Recorded, Recording};
use crate::auth::AuthenticatedUser;
use crate::budget::Budget;
use crate::clock::{Clock, SystemClock};
use crate::config::{Exec, StatTimes};
use crate::idp::UserConfig;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::session::{
    self, Changes, Environment, Kept, ListedTimes, TypedSession, Unsettled, UploadRecords,
    UserSessions, summing,
};
use crate::sftp::{Attributes, HandleId, OpenMode, Payload, Request, Status};
use crate::storage::memory::MemoryStore;
use crate::storage::{Bucket, Key, Location, Nonces, SharedStore};
use crate::vfs::{PartialUploads, Place, VirtualPath};

/// What came of it.
#[derive(Debug)]
pub(super) struct Rehearsed {
    /// `None`: done.
    pub(super) refusal: Option<(u32, String)>,
    pub(super) calls: Vec<Recorded>,
}

/// Does one thing as the user would, with what it needs already there.
pub(super) async fn rehearse(
    user: &Arc<UserConfig>,
    act: Act,
    path: &VirtualPath,
    to: Option<&VirtualPath>,
) -> Rehearsed {
    let mappings = user.home.mappings().iter();
    let named = [Some(path), to].into_iter().flatten();
    let buckets = mappings.map(|mapping| mapping.bucket.clone());
    let buckets: Vec<_> = buckets
        .chain(named.filter_map(|path| bucket(user, path)))
        .collect();
    let memory = MemoryStore::new(&buckets.iter().collect::<Vec<_>>());
    prepare(&memory, user, act, path);
    if let Some(to) = to {
        prepare(&memory, user, Act::Put, to);
    }
    let recording = Arc::new(Recording::new(Arc::new(memory)));
    let (conversation, serving) = open(user, recording.clone());
    let talking = talk(conversation, act, path, to);
    let ((), outcome) = tokio::join!(serving, talking);
    Rehearsed {
        refusal: outcome.err(),
        calls: recording.calls(),
    }
}

/// Returns the bucket that a path leads to.
fn bucket(user: &UserConfig, path: &VirtualPath) -> Option<Bucket> {
    match user.home.place(path).ok()? {
        Place::Inside { location, .. } | Place::File { location, .. } => Some(location.bucket),
        Place::MappingRoot { mapping } => Some(mapping.bucket.clone()),
        Place::Bucket { bucket, .. } => Some(bucket),
        Place::Virtual | Place::Buckets | Place::Nowhere => None,
    }
}

/// Puts down what the act is about: its object or directory, and the directory it stands in.
fn prepare(memory: &MemoryStore, user: &UserConfig, act: Act, path: &VirtualPath) {
    let location = match user.home.place(path) {
        Ok(Place::Inside { location, .. } | Place::File { location, .. }) => location,
        Ok(
            Place::Virtual
            | Place::Nowhere
            | Place::Buckets
            | Place::Bucket { .. }
            | Place::MappingRoot { .. },
        )
        | Err(_) => return,
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

fn open(
    user: &Arc<UserConfig>,
    store: SharedStore,
) -> (TypedSession, impl Future<Output = ()> + Send) {
    let limits = Arc::new(Limits::default());
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(&limits);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let environment = Environment {
        user_sessions: UserSessions::new(1, Arc::clone(&budget)),
        budget,
        reaper: Reaper::new(Arc::clone(&metrics), Arc::clone(&clock)),
        limits,
        metrics,
        clock,
        nonces: Nonces::default(),
        kept: Kept::new(true),
        names_fresh_for: Duration::from_secs(2),
        stat_times: StatTimes::default(),
        listed_times: ListedTimes::new(false),
        partial_uploads: PartialUploads::Discard,
        unsettled: Unsettled::default(),
        changes: Changes::default(),
        upload_records: UploadRecords::default(),
        exec: Exec::Off,
        summing: summing(),
        drain: CancellationToken::new(),
    };
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    // Nobody logs in: all there is to reach is in this memory.
    let user =
        AuthenticatedUser::dangerous_without_login(Arc::clone(user), source, "rehearsal", store);
    session::open(environment, user)
}

/// Does one thing as a client would, one question at a time.
async fn talk(
    mut conversation: TypedSession,
    act: Act,
    path: &VirtualPath,
    to: Option<&VirtualPath>,
) -> Result<(), Refused> {
    let name = |path: &VirtualPath| Bytes::copy_from_slice(path.as_str().as_bytes());
    let path = name(path);
    let attrs = Attributes::default();
    let done = match act {
        Act::Get => {
            let open = Request::Open {
                path,
                pflags: OpenMode::READ,
                attrs,
            };
            with_handle(&mut conversation, open, |handle| Request::Read {
                handle,
                offset: 0,
                length: 1,
            })
            .await
        }
        Act::Put => {
            let open = Request::Open {
                path,
                pflags: OpenMode::WRITE | OpenMode::CREATE | OpenMode::TRUNCATE,
                attrs,
            };
            let payload = Payload {
                slices: vec![Bytes::from_static(b"x")],
                length: 1,
            };
            with_handle(&mut conversation, open, |handle| Request::Write {
                handle,
                offset: 0,
                payload,
            })
            .await
        }
        Act::Ls => {
            let open = Request::OpenDir { path };
            with_handle(&mut conversation, open, |handle| Request::ReadDir {
                handle,
            })
            .await
        }
        Act::Stat => conversation.ask(Request::Stat { path }).await.map(drop),
        Act::Rm => conversation.ask(Request::Remove { path }).await.map(drop),
        Act::Mkdir => conversation.ask(Request::MkDir { path }).await.map(drop),
        Act::Rmdir => conversation.ask(Request::RmDir { path }).await.map(drop),
        Act::Rename => {
            let to = to.map(name).unwrap_or_default();
            conversation
                .ask(Request::Rename { from: path, to })
                .await
                .map(drop)
        }
    };
    done.map_err(|status| (status.code.number(), status.sentence.to_owned()))
}

/// A status other than OK.
type Refused = (u32, String);

/// Opens, does one thing with the handle, and closes it.
async fn with_handle(
    conversation: &mut TypedSession,
    open: Request,
    then: impl FnOnce(HandleId) -> Request,
) -> Result<(), Status> {
    let handle = conversation.open(open).await?;
    match conversation.ask(then(handle)).await {
        Err(status) if status != Status::EOF => return Err(status),
        Ok(_) | Err(_) => {}
    }
    conversation.ask(Request::Close { handle }).await.map(drop)
}
