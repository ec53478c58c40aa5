//! A reference model: a map of keys that says what each operation answers and leaves behind. The
//! same operations run over a session, one by one or all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, ObjectStore as _};
use proptest::prelude::*;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::raw::{self, Raw};
use crate::common::sftp::{Talk, code};
use crate::session::{at, plant, store};

#[derive(Debug, Clone)]
enum Op {
    Put(String, Vec<u8>),
    /// Without TRUNC, as `scp` writes.
    Overwrite(String, Vec<u8>),
    Append(String, Vec<u8>),
    /// Sets a size by name.
    Resize(String, u64),
    Get(String),
    MkDir(String),
    RmDir(String),
    Remove(String),
    Rename {
        from: String,
        to: String,
        replace: bool,
    },
    Stat(String),
    List(String),
    /// The connection is cut in the middle of an upload.
    Cut(String),
    /// Another program writes or deletes.
    RemotePut(String, Vec<u8>),
    RemoteDelete(String),
}

/// What a client sees of an operation that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Nothing,
    Content(Vec<u8>),
    File(u64),
    Directory,
    Names(BTreeSet<String>),
}

type Outcome = Result<Seen, StatusCode>;

/// Keys and contents; paths are keys with a slash before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model(BTreeMap<String, Vec<u8>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    File,
    Directory,
    Nothing,
}

fn key(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Model {
    fn has_below(&self, path: &str) -> bool {
        let prefix = format!("{}/", key(path));
        path.is_empty() || path == "/" || self.0.keys().any(|key| key.starts_with(&prefix))
    }

    fn found(&self, path: &str) -> Found {
        if self.0.contains_key(key(path)) {
            Found::File
        } else if self.has_below(path) {
            Found::Directory
        } else {
            Found::Nothing
        }
    }

    /// Says what the operation answers, and does it. `lenient`: the session has seen the directory
    /// that it names, or that would hold the new name, though another program removed it since; or
    /// it has seen just now that no directory has the name, though another program made one since.
    fn apply(&mut self, op: &Op, lenient: bool) -> Outcome {
        match op {
            Op::Put(path, bytes) | Op::Overwrite(path, bytes) | Op::Append(path, bytes) => {
                self.write(op, path, bytes, lenient)
            }
            Op::Resize(path, size) => self.resize(path, *size, lenient),
            Op::Get(path) => match self.found(path) {
                Found::File => Ok(Seen::Content(self.0[key(path)].clone())),
                Found::Directory => Err(StatusCode::Failure),
                Found::Nothing => Err(StatusCode::NoSuchFile),
            },
            Op::MkDir(path) => {
                if self.is_homeless(path, lenient) {
                    return Err(StatusCode::NoSuchFile);
                }
                if self.found(path) != Found::Nothing {
                    return Err(StatusCode::Failure);
                }
                self.0.insert(format!("{}/", key(path)), Vec::new());
                Ok(Seen::Nothing)
            }
            Op::RmDir(path) if lenient && !self.has_below(path) => Ok(Seen::Nothing),
            Op::RmDir(path) => self.remove_directory(path),
            Op::Remove(path) => match self.found(path) {
                Found::File => {
                    self.0.remove(key(path));
                    self.keep(parent(path));
                    Ok(Seen::Nothing)
                }
                Found::Directory => Err(StatusCode::Failure),
                Found::Nothing => Err(StatusCode::NoSuchFile),
            },
            Op::Rename { from, to, replace } => {
                if from != to && self.is_homeless(to, lenient) {
                    return Err(StatusCode::NoSuchFile);
                }
                let outcome = self.rename(from, to, *replace);
                if outcome.is_ok() {
                    self.keep(parent(from));
                }
                outcome
            }
            Op::Stat(path) => self.stat(path, lenient),
            Op::List(path) if lenient && !self.has_below(path) => Ok(Seen::Names(BTreeSet::new())),
            Op::List(path) => self.names(path),
            Op::Cut(_) => Ok(Seen::Nothing),
            Op::RemotePut(path, bytes) => {
                self.0.insert(key(path).to_owned(), bytes.clone());
                Ok(Seen::Nothing)
            }
            Op::RemoteDelete(path) => {
                self.0.remove(key(path));
                Ok(Seen::Nothing)
            }
        }
    }

    fn is_homeless(&self, path: &str, lenient: bool) -> bool {
        !lenient && !self.has_below(parent(path))
    }

    fn write(&mut self, op: &Op, path: &str, bytes: &[u8], lenient: bool) -> Outcome {
        let looked = lenient && matches!(op, Op::Put(..));
        if self.found(path) == Found::Directory && !looked {
            return Err(StatusCode::Failure);
        }
        if self.is_homeless(path, lenient) {
            return Err(StatusCode::NoSuchFile);
        }
        let old = self.0.get(key(path)).map(Vec::as_slice).unwrap_or_default();
        let none: &[u8] = &[];
        let (before, after) = if matches!(op, Op::Append(..)) {
            (old, none)
        } else if matches!(op, Op::Overwrite(..)) {
            (none, old.get(bytes.len()..).unwrap_or_default())
        } else {
            (none, none)
        };
        let content = [before, bytes, after].concat();
        self.0.insert(key(path).to_owned(), content);
        Ok(Seen::Nothing)
    }

    fn resize(&mut self, path: &str, size: u64, lenient: bool) -> Outcome {
        match self.found(path) {
            Found::File => {
                let content = self.0.get_mut(key(path)).unwrap();
                content.resize(usize::try_from(size).unwrap(), 0);
                Ok(Seen::Nothing)
            }
            Found::Directory => Err(StatusCode::Failure),
            Found::Nothing if lenient => Err(StatusCode::Failure),
            Found::Nothing => Err(StatusCode::NoSuchFile),
        }
    }

    fn stat(&self, path: &str, lenient: bool) -> Outcome {
        match self.found(path) {
            Found::File => Ok(Seen::File(self.0[key(path)].len() as u64)),
            Found::Directory => Ok(Seen::Directory),
            Found::Nothing if lenient => Ok(Seen::Directory),
            Found::Nothing => Err(StatusCode::NoSuchFile),
        }
    }

    /// A directory from which something went stays, with a marker if need be.
    fn keep(&mut self, directory: &str) {
        if !self.has_below(directory) {
            self.0.insert(format!("{}/", key(directory)), Vec::new());
        }
    }

    fn remove_directory(&mut self, path: &str) -> Outcome {
        let marker = format!("{}/", key(path));
        let below = |key: &&String| key.starts_with(&marker) && **key != marker;
        if self.0.keys().any(|key| below(&key)) {
            return Err(StatusCode::Failure);
        }
        match self.0.remove(&marker) {
            Some(_) => {
                self.keep(parent(path));
                Ok(Seen::Nothing)
            }
            None => Err(StatusCode::NoSuchFile),
        }
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Outcome {
        match (self.found(from), self.found(to)) {
            (Found::Nothing, _) => Err(StatusCode::NoSuchFile),
            _ if from == to && replace => Ok(Seen::Nothing),
            (Found::Directory, Found::File) if replace => Err(StatusCode::NoSuchFile),
            (Found::Directory, Found::Directory) if replace && self.is_empty(to) => {
                self.move_directory(from, to)
            }
            (Found::File, Found::Directory)
            | (Found::Directory, Found::File | Found::Directory) => Err(StatusCode::Failure),
            (Found::File, Found::File) if !replace => Err(StatusCode::Failure),
            (Found::File, Found::File | Found::Nothing) => {
                let bytes = self.0.remove(key(from)).unwrap();
                self.0.insert(key(to).to_owned(), bytes);
                Ok(Seen::Nothing)
            }
            (Found::Directory, Found::Nothing) => self.move_directory(from, to),
        }
    }

    /// Where another program removes the name that kept a directory, it may vanish.
    fn forgive(&mut self, left: &Self) {
        let marker = |key: &str| key.ends_with('/');
        self.0
            .retain(|key, _| !marker(key) || left.0.contains_key(key));
    }

    fn is_empty(&self, path: &str) -> bool {
        let marker = format!("{}/", key(path));
        let mut below = self.0.keys().filter(|key| key.starts_with(&marker));
        below.all(|key| *key == marker)
    }

    fn move_directory(&mut self, from: &str, to: &str) -> Outcome {
        let (from, to) = (format!("{}/", key(from)), format!("{}/", key(to)));
        if to.starts_with(&from) {
            return Err(StatusCode::Failure);
        }
        let moved = std::mem::take(&mut self.0).into_iter().map(|(key, bytes)| {
            match key.strip_prefix(&from) {
                Some(rest) => (format!("{to}{rest}"), bytes),
                None => (key, bytes),
            }
        });
        self.0 = moved.collect();
        Ok(Seen::Nothing)
    }

    fn names(&self, path: &str) -> Outcome {
        if !self.has_below(path) {
            return Err(StatusCode::NoSuchFile);
        }
        let prefix = match key(path) {
            "" => String::new(),
            key => format!("{key}/"),
        };
        let rest = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
        let names = rest.filter_map(|rest| rest.split('/').next());
        let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Seen::Names(names.collect()))
    }
}

/// Writes to a file without truncating it.
async fn write(talk: &Talk, path: &str, flags: OpenFlags, bytes: &[u8]) -> Outcome {
    let flags = flags | OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = talk.open(path, flags).await?;
    talk.write(&handle, 0, bytes).await?;
    talk.close(&handle).await.map(|()| Seen::Nothing)
}

/// Does one operation over the session; a cut leaves another session in its place.
async fn act(talk: &mut Talk, store: &Arc<MemoryStore>, op: &Op) -> Outcome {
    let nothing = |outcome: Result<_, _>| outcome.map(|_| Seen::Nothing).map_err(code);
    match op {
        Op::Put(path, bytes) => talk.put(path, bytes).await.map(|()| Seen::Nothing),
        Op::Overwrite(path, bytes) => write(talk, path, OpenFlags::empty(), bytes).await,
        Op::Append(path, bytes) => write(talk, path, OpenFlags::APPEND, bytes).await,
        Op::Resize(path, size) => {
            let attributes = FileAttributes {
                size: Some(*size),
                ..FileAttributes::empty()
            };
            nothing(talk.client.setstat(path, attributes).await)
        }
        Op::Get(path) => talk.get(path).await.map(Seen::Content),
        Op::MkDir(path) => nothing(talk.client.mkdir(path, FileAttributes::empty()).await),
        Op::RmDir(path) => nothing(talk.client.rmdir(path).await),
        Op::Remove(path) => nothing(talk.client.remove(path).await),
        Op::Rename { from, to, replace } => {
            if !replace {
                return nothing(talk.client.rename(from, to).await);
            }
            let both = [raw::string(from), raw::string(to)].concat();
            let renamed = talk.client.extended("posix-rename@openssh.com", both).await;
            match renamed {
                Ok(russh_sftp::protocol::Packet::Status(status))
                    if status.status_code != StatusCode::Ok =>
                {
                    Err(status.status_code)
                }
                Ok(_) => Ok(Seen::Nothing),
                Err(error) => Err(code(error)),
            }
        }
        Op::Stat(path) => {
            let attrs = talk.client.stat(path).await.map_err(code)?.attrs;
            Ok(match attrs.is_dir() {
                true => Seen::Directory,
                false => Seen::File(attrs.size.unwrap()),
            })
        }
        Op::List(path) => {
            let names = talk.names(path).await?;
            let distinct: BTreeSet<_> = names.iter().cloned().collect();
            assert_eq!(names.len(), distinct.len(), "{names:?}");
            Ok(Seen::Names(distinct))
        }
        Op::Cut(path) => {
            if let Ok(handle) = talk.create(path).await {
                talk.write(&handle, 0, b"half").await.unwrap();
            }
            let other = Talk::start(store.clone()).await;
            let (reaper, budget) = std::mem::replace(talk, other).cut().await;
            reaper.drain().await;
            assert_eq!(budget.taken_bytes(), (0, 0));
            Ok(Seen::Nothing)
        }
        Op::RemotePut(path, bytes) => {
            plant(store, key(path), bytes).await;
            Ok(Seen::Nothing)
        }
        Op::RemoteDelete(path) => {
            store.delete(&at(key(path)), None).await.unwrap();
            Ok(Seen::Nothing)
        }
    }
}

fn snapshot(store: &MemoryStore) -> Model {
    let keys = store.keys(&Bucket::parse("b").unwrap());
    let read = |key: String| {
        let bytes = store.object(&at(&key)).unwrap().to_vec();
        (key, bytes)
    };
    Model(keys.into_iter().map(read).collect())
}

/// Notes which directories the session has seen.
fn note(known: &mut BTreeSet<String>, op: &Op, seen: &Outcome) {
    let Ok(seen) = seen else { return };
    let mut see = |path: &str| known.insert(path.to_owned());
    match op {
        Op::Stat(path) if *seen == Seen::Directory => drop(see(path)),
        Op::List(path) | Op::MkDir(path) => drop(see(path)),
        Op::Put(path, _) | Op::Overwrite(path, _) | Op::Append(path, _) | Op::Remove(path) => {
            see(parent(path));
        }
        Op::Rename { from, to, .. } => {
            see(parent(from));
            see(parent(to));
            if from != to {
                known.retain(|path| !is_below(path, from));
            }
        }
        Op::RmDir(path) => known.retain(|known| !is_below(known, path)),
        Op::Cut(_) => known.clear(),
        Op::Resize(..) | Op::Get(_) | Op::Stat(_) | Op::RemotePut(..) | Op::RemoteDelete(_) => {}
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn one_by_one(ops: &[Op]) {
    let store = store();
    let mut talk = Talk::start(store.clone()).await;
    let mut model = Model::default();
    let (mut looked, mut known) = (BTreeSet::new(), BTreeSet::new());
    // Another program removed something.
    let mut foreign = false;
    for (number, op) in ops.iter().enumerate() {
        let seen = act(&mut talk, &store, op).await;
        let mut strict = model.clone();
        let expected = strict.apply(op, false);
        let mut lenient = model.clone();
        let over_directory =
            matches!(op, Op::Put(path, _) if model.found(path) == Found::Directory);
        let excused = !over_directory || matches!(op, Op::Put(path, _) if looked.contains(path));
        match op {
            Op::Stat(path) => {
                looked.insert(path.clone());
            }
            // Directories that another program makes may be missing in a listing that is fresh.
            Op::RemotePut(path, _) => {
                let mut below = path.as_str();
                while let Some((above, _)) = below.rsplit_once('/') {
                    looked.insert(above.to_owned());
                    below = above;
                }
            }
            _ => {}
        }
        if let Op::MkDir(path) = op
            && seen == Ok(Seen::Nothing)
            && looked.contains(path)
            && model.found(path) != Found::Nothing
        {
            // STAT had shown nothing there, which holds for two seconds; what is seen then of two
            // things of one name is another test's.
            return;
        }
        // Only what the session saw is there for it.
        let excused = excused
            && match op {
                Op::Stat(path) | Op::List(path) | Op::RmDir(path) | Op::Resize(path, _) => {
                    known.contains(path)
                }
                _ => true,
            };
        note(&mut known, op, &seen);
        if seen != expected && excused && lenient.apply(op, true) == seen {
            strict = lenient;
        } else {
            assert_eq!(seen, expected, "operation {number}: {op:?} over {model:?}");
        }
        model = strict;
        let left = snapshot(&store);
        if foreign {
            model.forgive(&left);
        }
        foreign |= matches!(op, Op::RemoteDelete(_));
        assert_eq!(left, model, "after operation {number}: {op:?}");
    }
    assert_eq!(store.unfinished_uploads(), []);
}

/// Sends everything at once over directories that do not vanish by themselves.
async fn all_at_once(ops: &[Op]) {
    let store = store();
    let mut model = Model::default();
    for key in ["a/", "b/", "a/b", "b/a/", "b/a/c", "c"] {
        plant(&store, key, key.as_bytes()).await;
        model.0.insert(key.to_owned(), key.as_bytes().to_vec());
    }
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    for (id, op) in (0..).zip(ops) {
        let (packet, op) = one_packet(id, op);
        packets.extend(packet);
        expected.push(model.apply(&op, false));
    }
    let mut raw = Raw::start(store.clone()).await;
    let answers = raw.exchange(packets, ops.len()).await;
    for ((answer, expected), op) in answers.values().zip(&expected).zip(ops) {
        let seen = match answer.kind {
            105 => raw::OK,
            _ => answer.status(),
        };
        let status = match expected {
            Ok(_) => raw::OK,
            Err(StatusCode::NoSuchFile) => raw::NO_SUCH_FILE,
            Err(_) => raw::FAILURE,
        };
        assert_eq!(seen, status, "{op:?}");
    }
    assert_eq!(snapshot(&store), model);
}

/// Returns the operation as one packet; what takes several becomes a STAT.
fn one_packet(id: u32, op: &Op) -> (Vec<u8>, Op) {
    match op {
        Op::MkDir(path) => {
            let packet = raw::packet(14, id, &[&raw::string(path), &[0; 4]]);
            (packet, op.clone())
        }
        Op::RmDir(path) => (raw::named(15, id, path), op.clone()),
        Op::Remove(path) => (raw::named(raw::REMOVE, id, path), op.clone()),
        Op::Rename { from, to, .. } => {
            let plain = Op::Rename {
                from: from.clone(),
                to: to.clone(),
                replace: false,
            };
            (raw::rename(id, from, to), plain)
        }
        Op::Put(path, _)
        | Op::Overwrite(path, _)
        | Op::Append(path, _)
        | Op::Resize(path, _)
        | Op::Get(path)
        | Op::Stat(path)
        | Op::List(path)
        | Op::Cut(path)
        | Op::RemotePut(path, _)
        | Op::RemoteDelete(path) => (raw::named(raw::STAT, id, path), Op::Stat(path.clone())),
    }
}

/// Few names, so that operations meet.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "a-", "c"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(b'x'..=b'z', 0..5);
    prop_oneof![
        3 => (path(), bytes()).prop_map(|(path, bytes)| Op::Put(path, bytes)),
        2 => (path(), bytes()).prop_map(|(path, bytes)| Op::Overwrite(path, bytes)),
        2 => (path(), bytes()).prop_map(|(path, bytes)| Op::Append(path, bytes)),
        2 => (path(), 0_u64..8).prop_map(|(path, size)| Op::Resize(path, size)),
        2 => path().prop_map(Op::Get),
        3 => path().prop_map(Op::MkDir),
        2 => path().prop_map(Op::RmDir),
        2 => path().prop_map(Op::Remove),
        4 => (path(), path(), any::<bool>())
            .prop_map(|(from, to, replace)| Op::Rename { from, to, replace }),
        2 => path().prop_map(Op::Stat),
        2 => path().prop_map(Op::List),
        1 => path().prop_map(Op::Cut),
        2 => (path(), bytes()).prop_map(|(path, bytes)| Op::RemotePut(path, bytes)),
        1 => path().prop_map(Op::RemoteDelete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn operations_do_what_the_model_says(ops in prop::collection::vec(op(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(one_by_one(&ops));
    }

    #[test]
    fn operations_at_once_do_what_they_would_do_one_by_one(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(all_at_once(&ops));
    }
}
