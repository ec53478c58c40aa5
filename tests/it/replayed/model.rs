//! What two servers answer and keep: the gateway, whose files are objects, and OpenSSH's
//! `sftp-server`, whose files are those of a file system. Wherever they differ the row of the table
//! in docs/semantics.md is named that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::program::{How, Op, SESSIONS};
use crate::common::raw::{EOF, FAILURE, NO_SUCH_FILE, OK};

/// What a client sees of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Zero: it was done.
    Status(u32),
    Data(Vec<u8>),
    File(u64),
    Directory,
    Names(BTreeSet<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Gateway,
    OpenSsh,
}

/// Rows of the table in docs/semantics.md.
pub(super) const GROWING: &str = "a file that is being written";
pub(super) const GAP: &str = "bytes that were never written";
pub(super) const TWO: &str = "a file that is changed by two at once";
pub(super) const REPLACED: &str = "a file that is replaced while it is read";
pub(super) const REMOVED: &str = "a file that is removed while it is written";
pub(super) const GONE: &str = "a client that disconnects before CLOSE";
pub(super) const INTO_ITSELF: &str = "RENAME of a directory into itself";
pub(super) const ROWS: [&str; 7] = [GROWING, GAP, TWO, REPLACED, REMOVED, GONE, INTO_ITSELF];

const BAD_MESSAGE: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    /// The number of its content; at the gateway a change makes another one.
    File(usize),
}

#[derive(Debug)]
struct Handle {
    path: String,
    how: How,
    /// What OPEN found or made.
    base: Option<usize>,
    /// What its CLOSE is to store, at the gateway.
    content: Vec<u8>,
    touched: bool,
    /// Bytes that nobody wrote.
    holes: Vec<Range<usize>>,
    /// Its CLOSE stores a file whatever was written.
    makes: bool,
    /// Renamed while it was open: its CLOSE depends on what the RENAME saw.
    renamed: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    server: Server,
    tree: BTreeMap<String, Node>,
    contents: Vec<Vec<u8>>,
    handles: [Option<Handle>; SESSIONS],
    /// Directories that a session saw and another one removed: it may go on seeing them.
    gone: [BTreeSet<String>; SESSIONS],
    pub(super) rows: BTreeSet<&'static str>,
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A WRITE leaves holes only where nobody asks what is in them before CLOSE.
const fn joins(handle: &Handle, at: usize) -> bool {
    at <= handle.content.len() || handle.holes.is_empty()
}

/// Where a file is whose name another one took.
const NOWHERE: &str = "nowhere";

const DONE: Seen = Seen::Status(OK);
const FAILED: Seen = Seen::Status(FAILURE);
const MISSING: Seen = Seen::Status(NO_SUCH_FILE);

impl Model {
    pub(super) fn of(server: Server) -> Self {
        Self {
            server,
            tree: BTreeMap::new(),
            contents: Vec::new(),
            handles: std::array::from_fn(|_| None),
            gone: std::array::from_fn(|_| BTreeSet::new()),
            rows: BTreeSet::new(),
        }
    }

    /// Returns every path, and the bytes of files.
    pub(super) fn everything(&self) -> BTreeMap<String, Option<&[u8]>> {
        let all = self.tree.iter();
        all.map(|(path, node)| (path.clone(), self.content(*node)))
            .collect()
    }

    /// Returns the file that a session has open, and how long it is.
    pub(super) fn open(&self, who: usize) -> Option<(&str, usize)> {
        let handle = self.handles[who].as_ref()?;
        Some((&handle.path, handle.content.len()))
    }

    /// Whether it is known what an operation does. It is not where it depends on what a session
    /// remembers of other sessions, which is tried elsewhere.
    pub(super) fn knows(&self, who: usize, op: &Op) -> bool {
        let open = self.handles.iter().flatten();
        let mine = self.handles[who].as_ref();
        let paths = op.paths();
        let outside = matches!(op, Op::OutsidePut(..) | Op::OutsideRemove(_));
        let gone = |path: &&str| self.gone[who].iter().any(|gone| is_below(path, gone));
        if !outside && paths.iter().any(gone) {
            return false;
        }
        let is_mine = |path: &str| mine.is_some_and(|handle| handle.path == path);
        match op {
            Op::Begin(path, how) => {
                let reads_directory =
                    *how == How::Read && matches!(self.node(path), Some(Node::Directory));
                mine.is_none() && !reads_directory
            }
            Op::Write(at, _) => mine.is_some_and(|mine| mine.how != How::Read && joins(mine, *at)),
            Op::Read(..) => mine.is_some_and(|mine| match mine.how {
                How::Edit => mine.holes.is_empty() && !self.is_stale(mine),
                How::Read => true,
                How::Upload | How::Append => false,
            }),
            Op::Size(_) => mine.is_some_and(|mine| {
                matches!(mine.how, How::Upload | How::Edit) && mine.holes.is_empty()
            }),
            // The same bytes again are the same version to some stores, and another one to others.
            Op::End => mine.is_some_and(|mine| !self.is_stale(mine) || !self.looks_the_same(mine)),
            Op::MkDir(path) | Op::RmDir(path) => {
                !open.into_iter().any(|open| is_below(&open.path, path))
            }
            Op::Rename { from, to, .. } => {
                let touches = |open: &Handle, path: &str| {
                    is_below(&open.path, path) || is_below(path, &open.path)
                };
                let others = self.handles.iter().enumerate();
                let others =
                    others.filter_map(|(other, open)| open.as_ref().filter(|_| other != who));
                let free = !others
                    .into_iter()
                    .any(|open| touches(open, from) || touches(open, to));
                let exists = *from != NOWHERE && *to != NOWHERE;
                exists && free && mine.is_none_or(|mine| self.knows_rename(mine, from, to))
            }
            Op::Resize(path, size) => {
                let same = self.bytes(path).is_some_and(|old| old.len() == *size);
                !same && !is_mine(path)
            }
            Op::Put(path, _)
            | Op::Get(path)
            | Op::Grow(path, _)
            | Op::Stat(path)
            | Op::Remove(path) => !is_mine(path),
            Op::List(path) => !mine.is_some_and(|mine| {
                parent(&mine.path) == path && mine.how != How::Upload && mine.how != How::Read
            }),
            Op::Vanish => true,
            Op::OutsidePut(path, _) => {
                self.is_directory(parent(path)) && !matches!(self.node(path), Some(Node::Directory))
            }
            Op::OutsideRemove(path) => self.bytes(path).is_some(),
        }
    }

    /// Whether it is known what a RENAME does to the file that its own session has open.
    fn knows_rename(&self, mine: &Handle, from: &str, to: &str) -> bool {
        let touches = |path: &str| is_below(&mine.path, path) || is_below(path, &mine.path);
        let is_apart = |path: &str| !touches(path);
        if is_apart(from) && is_apart(to) {
            return true;
        }
        let writes = mine.how != How::Read && !self.is_stale(mine);
        let is_itself = mine.path == from && (from == to || is_apart(to));
        let gives_way =
            mine.path == to && is_apart(from) && matches!(self.node(from), Some(Node::File(_)));
        writes && (is_itself || gives_way)
    }

    /// Says what the operation may answer, and does it.
    pub(super) fn apply(&mut self, who: usize, op: &Op) -> Vec<Seen> {
        let seen = match op {
            Op::Begin(path, how) => self.begin(who, path, *how),
            Op::Write(at, made) => return self.write(who, *at, &made.bytes()),
            Op::Read(at, length) => return self.read(who, *at, *length),
            Op::Size(size) => return self.set_size(who, *size),
            Op::End => self.end(who),
            Op::Put(path, made) => self.put(path, made.bytes()),
            Op::Get(path) => match self.node(path) {
                Some(Node::File(number)) => Seen::Data(self.contents[number].clone()),
                Some(Node::Directory) => FAILED,
                None => MISSING,
            },
            Op::Grow(path, made) => self.change(path, |old| old.extend(made.bytes())),
            Op::Resize(path, size) => self.change(path, |old| old.resize(*size, 0)),
            Op::Stat(path) => match self.node(path) {
                Some(Node::File(number)) => Seen::File(self.contents[number].len() as u64),
                Some(Node::Directory) => Seen::Directory,
                None => MISSING,
            },
            Op::List(path) => self.list(who, path),
            Op::MkDir(path) => self.make_directory(path),
            Op::RmDir(path) => self.remove_directory(who, path),
            Op::Remove(path) => match self.node(path) {
                Some(Node::File(_)) => {
                    self.tree.remove(path);
                    DONE
                }
                Some(Node::Directory) => FAILED,
                None => MISSING,
            },
            Op::Rename { from, to, replace } => self.rename(who, from, to, *replace),
            Op::Vanish => self.vanish(who),
            Op::OutsidePut(path, made) => {
                let number = self.keep(made.bytes());
                self.tree.insert(path.clone(), Node::File(number));
                DONE
            }
            Op::OutsideRemove(path) => {
                self.tree.remove(path);
                DONE
            }
        };
        vec![seen]
    }

    fn node(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::Directory);
        }
        self.tree.get(path).copied()
    }

    fn content(&self, node: Node) -> Option<&[u8]> {
        match node {
            Node::Directory => None,
            Node::File(number) => Some(&self.contents[number]),
        }
    }

    fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.node(path).and_then(|node| self.content(node))
    }

    fn number(&self, path: &str) -> Option<usize> {
        match self.node(path)? {
            Node::Directory => None,
            Node::File(number) => Some(number),
        }
    }

    fn is_directory(&self, path: &str) -> bool {
        matches!(self.node(path), Some(Node::Directory))
    }

    /// A file that was opened is not the one that is there.
    fn is_stale(&self, handle: &Handle) -> bool {
        self.number(&handle.path) != handle.base
    }

    fn looks_the_same(&self, handle: &Handle) -> bool {
        let base = handle.base.map(|number| self.contents[number].as_slice());
        self.bytes(&handle.path) == base
    }

    fn keep(&mut self, content: Vec<u8>) -> usize {
        self.contents.push(content);
        self.contents.len() - 1
    }

    /// Why no file can be made or changed there.
    fn refused(&self, path: &str) -> Option<Seen> {
        if self.is_directory(path) {
            return Some(FAILED);
        }
        (!self.is_directory(parent(path))).then_some(MISSING)
    }

    fn begin(&mut self, who: usize, path: &str, how: How) -> Seen {
        let there = self.number(path);
        if let Some(refused) = self.refused(path) {
            return refused;
        }
        let makes = matches!(how, How::Upload | How::Append);
        if there.is_none() && !makes {
            return MISSING;
        }
        let mut base = there;
        if self.server == Server::OpenSsh && makes {
            let number = there.unwrap_or_else(|| self.keep(Vec::new()));
            if how == How::Upload {
                self.contents[number].clear();
            }
            self.tree.insert(path.to_owned(), Node::File(number));
            base = Some(number);
        }
        let content = match base {
            Some(number) if how != How::Upload => self.contents[number].clone(),
            _ => Vec::new(),
        };
        self.handles[who] = Some(Handle {
            path: path.to_owned(),
            how,
            base,
            content,
            touched: false,
            holes: Vec::new(),
            makes: how == How::Upload || (how == How::Append && there.is_none()),
            renamed: false,
        });
        DONE
    }

    /// A change of what somebody else replaced may be refused at once, and is at CLOSE.
    fn accepted(&self, who: usize) -> Vec<Seen> {
        let handle = self.handles[who].as_ref().unwrap();
        let may_fail = self.server == Server::Gateway
            && handle.how != How::Upload
            && (self.is_stale(handle) || !handle.holes.is_empty());
        if may_fail {
            return vec![DONE, FAILED];
        }
        vec![DONE]
    }

    fn write(&mut self, who: usize, at: usize, bytes: &[u8]) -> Vec<Seen> {
        let mut handle = self.handles[who].take().unwrap();
        if self.server == Server::OpenSsh {
            let file = &mut self.contents[handle.base.unwrap()];
            let at = match handle.how {
                How::Append => file.len(),
                How::Upload | How::Edit | How::Read => at,
            };
            put_into(file, at, bytes);
            if at > handle.content.len() {
                handle.holes.push(handle.content.len()..at);
            }
            put_into(&mut handle.content, at, bytes);
        } else {
            let length = handle.content.len();
            let at = match handle.how {
                How::Append => length,
                How::Upload | How::Edit | How::Read => at,
            };
            if at > length {
                handle.holes.push(length..at);
            }
            let filled = at..at + bytes.len();
            let holes = std::mem::take(&mut handle.holes);
            handle.holes = holes
                .into_iter()
                .flat_map(|hole| {
                    [
                        hole.start..filled.start.min(hole.end),
                        filled.end.max(hole.start)..hole.end,
                    ]
                })
                .filter(|hole| hole.start < hole.end)
                .collect();
            put_into(&mut handle.content, at, bytes);
        }
        handle.touched = true;
        self.handles[who] = Some(handle);
        self.accepted(who)
    }

    fn set_size(&mut self, who: usize, size: usize) -> Vec<Seen> {
        let mut handle = self.handles[who].take().unwrap();
        if self.server == Server::OpenSsh {
            self.contents[handle.base.unwrap()].resize(size, 0);
        }
        handle.content.resize(size, 0);
        handle.touched = true;
        self.handles[who] = Some(handle);
        self.accepted(who)
    }

    fn read(&mut self, who: usize, at: usize, length: usize) -> Vec<Seen> {
        let handle = self.handles[who].as_ref().unwrap();
        let content = match (self.server, handle.how) {
            (Server::Gateway, How::Edit) => &handle.content,
            _ => &self.contents[handle.base.unwrap()],
        };
        let end = content.len().min(at + length);
        let seen = match content.get(at..end) {
            Some(bytes) if !bytes.is_empty() => Seen::Data(bytes.to_vec()),
            _ => Seen::Status(EOF),
        };
        if self.server == Server::Gateway && self.is_stale(handle) {
            self.rows.insert(REPLACED);
            return vec![seen, FAILED];
        }
        vec![seen]
    }

    fn end(&mut self, who: usize) -> Seen {
        let handle = self.handles[who].take().unwrap();
        if self.server == Server::OpenSsh || handle.how == How::Read {
            return DONE;
        }
        if handle.path == NOWHERE {
            return DONE;
        }
        let stale = self.is_stale(&handle);
        if !handle.touched && !handle.makes {
            return DONE;
        }
        if !handle.holes.is_empty() {
            self.rows.insert(GAP);
            return FAILED;
        }
        if stale {
            let missing = self.node(&handle.path).is_none();
            self.rows.insert(if missing { REMOVED } else { TWO });
            if handle.how != How::Upload || handle.renamed {
                return FAILED;
            }
        }
        let number = self.keep(handle.content);
        self.tree.insert(handle.path, Node::File(number));
        DONE
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>) -> Seen {
        if let Some(refused) = self.refused(path) {
            return refused;
        }
        self.store(path, bytes);
        DONE
    }

    /// A file system changes the file that is there, and whoever has it open sees that.
    fn store(&mut self, path: &str, bytes: Vec<u8>) {
        match (self.server, self.number(path)) {
            (Server::OpenSsh, Some(number)) => self.contents[number] = bytes,
            _ => {
                let number = self.keep(bytes);
                self.tree.insert(path.to_owned(), Node::File(number));
            }
        }
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Seen {
        match self.node(path) {
            Some(Node::File(number)) => {
                let mut content = self.contents[number].clone();
                change(&mut content);
                self.store(path, content);
                DONE
            }
            Some(Node::Directory) => FAILED,
            None => MISSING,
        }
    }

    fn list(&mut self, who: usize, path: &str) -> Seen {
        match self.node(path) {
            Some(Node::Directory) => {}
            Some(Node::File(_)) | None => return MISSING,
        }
        let all = self.tree.keys().filter(|name| parent(name) == path);
        let mut names: BTreeSet<&str> = all.map(String::as_str).collect();
        if self.server == Server::Gateway
            && let Some(mine) = &self.handles[who]
            && mine.how == How::Upload
            && mine.path != NOWHERE
            && parent(&mine.path) == path
        {
            self.rows.insert(GROWING);
            names.insert(&mine.path);
        }
        let last = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        Seen::Names(names.into_iter().map(last).collect())
    }

    fn make_directory(&mut self, path: &str) -> Seen {
        if !self.is_directory(parent(path)) {
            return MISSING;
        }
        if self.node(path).is_some() {
            return FAILED;
        }
        self.tree.insert(path.to_owned(), Node::Directory);
        self.is_there(path);
        DONE
    }

    fn remove_directory(&mut self, who: usize, path: &str) -> Seen {
        if !self.is_directory(path) {
            return MISSING;
        }
        if self.is_full(path) {
            return FAILED;
        }
        self.tree.remove(path);
        self.is_gone(who, path);
        DONE
    }

    fn is_full(&self, path: &str) -> bool {
        self.tree
            .keys()
            .any(|other| other != path && is_below(other, path))
    }

    fn is_there(&mut self, directory: &str) {
        for gone in &mut self.gone {
            gone.retain(|path| !is_below(path, directory));
        }
    }

    fn is_gone(&mut self, who: usize, directory: &str) {
        for (session, gone) in self.gone.iter_mut().enumerate() {
            if session != who {
                gone.insert(directory.to_owned());
            }
        }
    }

    fn rename(&mut self, who: usize, from: &str, to: &str, replace: bool) -> Seen {
        if self.server == Server::Gateway && self.is_mine(who, from) {
            return self.rename_mine(who, from, to, replace);
        }
        let seen = self.rename_stored(who, from, to, replace);
        if seen == DONE && from != to {
            let renamed = self.is_mine(who, from).then_some(to);
            let gone = self.is_mine(who, to).then_some(NOWHERE);
            if let (Some(path), Some(mine)) = (gone.or(renamed), &mut self.handles[who]) {
                path.clone_into(&mut mine.path);
            }
        }
        seen
    }

    fn is_mine(&self, who: usize, path: &str) -> bool {
        let mine = self.handles[who].as_ref();
        mine.is_some_and(|mine| mine.path == path)
    }

    /// What is stored under the name goes along, and the file is seen under the new one alone.
    fn rename_mine(&mut self, who: usize, from: &str, to: &str, replace: bool) -> Seen {
        if from == to {
            return if replace { DONE } else { FAILED };
        }
        if !self.is_directory(parent(to)) {
            return MISSING;
        }
        match self.node(to) {
            Some(Node::Directory) => return FAILED,
            Some(Node::File(_)) if !replace => return FAILED,
            Some(Node::File(_)) | None => {}
        }
        if let Some(stored) = self.tree.remove(from) {
            self.tree.insert(to.to_owned(), stored);
        }
        let seen = self.number(to);
        let mine = self.handles[who].as_mut().unwrap();
        if mine.how == How::Upload || mine.base.is_none() {
            mine.base = seen;
        }
        to.clone_into(&mut mine.path);
        mine.renamed = true;
        DONE
    }

    fn rename_stored(&mut self, who: usize, from: &str, to: &str, replace: bool) -> Seen {
        let (Some(source), true) = (self.node(from), from == to || self.is_directory(parent(to)))
        else {
            return MISSING;
        };
        if from == to {
            return if replace { DONE } else { FAILED };
        }
        let mine = self.is_mine(who, to).then_some(Node::File(usize::MAX));
        let target = self.node(to).or(mine);
        if source == Node::Directory && is_below(to, from) && (replace || target.is_none()) {
            self.rows.insert(INTO_ITSELF);
            return match (self.server, target) {
                (Server::Gateway, Some(Node::File(_))) => MISSING,
                (Server::Gateway, Some(Node::Directory) | None) => FAILED,
                (Server::OpenSsh, _) => Seen::Status(BAD_MESSAGE),
            };
        }
        match (source, target) {
            (_, Some(_)) if !replace => return FAILED,
            (Node::File(_), Some(Node::Directory)) => return FAILED,
            (Node::Directory, Some(Node::File(_))) => return MISSING,
            (Node::Directory, Some(Node::Directory)) if self.is_full(to) => return FAILED,
            (Node::Directory | Node::File(_), _) => {}
        }
        let all = std::mem::take(&mut self.tree).into_iter();
        self.tree = all
            .filter(|(path, _)| path != to)
            .map(|(path, node)| match path.strip_prefix(from) {
                Some(rest) if is_below(&path, from) => (format!("{to}{rest}"), node),
                _ => (path, node),
            })
            .collect();
        if source == Node::Directory {
            self.is_gone(who, from);
            self.is_there(to);
        }
        DONE
    }

    fn vanish(&mut self, who: usize) -> Seen {
        self.gone[who].clear();
        if let Some(handle) = self.handles[who].take()
            && handle.how != How::Read
        {
            self.rows.insert(GONE);
        }
        DONE
    }
}

fn put_into(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}
