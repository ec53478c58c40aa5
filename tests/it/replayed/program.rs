//! What a seed has everybody do, and what each of the two servers is to answer.

use std::collections::BTreeSet;

use super::model::{Model, Seen, Server, parent};

/// Sessions of one user that work on the same names.
pub(super) const SESSIONS: usize = 3;

/// What a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A new file, or one in the place of another.
    Upload,
    Append,
    /// Changes anywhere, and reading what was changed.
    Edit,
    Read,
}

/// Bytes that only this seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made(u64, usize);

impl Made {
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut dice = fastrand::Rng::with_seed(self.0);
        std::iter::repeat_with(|| dice.u8(1..))
            .take(self.1)
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// The first four are about the one handle that each session has.
    Begin(String, How),
    Write(usize, Made),
    Read(usize, usize),
    Size(usize),
    End,
    Put(String, Made),
    Get(String),
    /// Writes from the end on, as `reput` does.
    Grow(String, Made),
    /// Sets a size by name.
    Resize(String, usize),
    Stat(String),
    List(String),
    MkDir(String),
    RmDir(String),
    Remove(String),
    Rename {
        from: String,
        to: String,
        replace: bool,
    },
    /// The client goes, whatever it has open, and another one comes.
    Vanish,
    /// A program that knows nothing of the server.
    OutsidePut(String, Made),
    OutsideRemove(String),
}

impl Op {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Begin(_, How::Upload) => "OPEN for an upload",
            Self::Begin(_, How::Append) => "OPEN for an append",
            Self::Begin(_, How::Edit) => "OPEN for an edit",
            Self::Begin(_, How::Read) => "OPEN for reading",
            Self::Write(..) => "WRITE",
            Self::Read(..) => "READ",
            Self::Size(_) => "FSETSTAT",
            Self::End => "CLOSE",
            Self::Put(..) => "an upload",
            Self::Get(_) => "a download",
            Self::Grow(..) => "a resumed upload",
            Self::Resize(..) => "SETSTAT",
            Self::Stat(_) => "STAT",
            Self::List(_) => "READDIR",
            Self::MkDir(_) => "MKDIR",
            Self::RmDir(_) => "RMDIR",
            Self::Remove(_) => "REMOVE",
            Self::Rename { replace: false, .. } => "RENAME",
            Self::Rename { replace: true, .. } => "posix-rename",
            Self::Vanish => "a disconnect",
            Self::OutsidePut(..) => "a file of another program",
            Self::OutsideRemove(_) => "a removal by another program",
        }
    }

    /// Returns the paths that it names.
    pub(super) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Begin(path, _)
            | Self::Put(path, _)
            | Self::Get(path)
            | Self::Grow(path, _)
            | Self::Resize(path, _)
            | Self::Stat(path)
            | Self::List(path)
            | Self::MkDir(path)
            | Self::RmDir(path)
            | Self::Remove(path)
            | Self::OutsidePut(path, _)
            | Self::OutsideRemove(path) => vec![path],
            Self::Rename { from, to, .. } => vec![from, to],
            Self::Write(..) | Self::Read(..) | Self::Size(_) | Self::End | Self::Vanish => vec![],
        }
    }
}

/// One operation, by whom, and what either server may answer.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) who: usize,
    pub(super) op: Op,
    pub(super) here: Vec<Seen>,
    pub(super) there: Vec<Seen>,
}

/// A whole run, and what stands there at its end.
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) here: Model,
    pub(super) there: Model,
}

impl Program {
    pub(super) fn of(seed: u64, operations: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (mut here, mut there) = (Model::of(Server::Gateway), Model::of(Server::OpenSsh));
        let mut steps = Vec::new();
        while steps.len() < operations {
            let who = dice.usize(..SESSIONS);
            let op = draw(&mut dice, here.open(who));
            if here.knows(who, &op) && there.knows(who, &op) {
                let (here, there) = (here.apply(who, &op), there.apply(who, &op));
                steps.push(Step {
                    who,
                    op,
                    here,
                    there,
                });
            }
        }
        Self { steps, here, there }
    }

    /// Returns in what the two differed.
    pub(super) fn rows(&self) -> BTreeSet<&'static str> {
        self.here.rows.union(&self.there.rows).copied().collect()
    }
}

/// Draws an operation; `open`: the file that the session has open, and how long it is.
fn draw(dice: &mut fastrand::Rng, open: Option<(&str, usize)>) -> Op {
    if let Some((mine, length)) = open
        && dice.u32(..3) > 0
    {
        let at = match dice.u32(..8) {
            0 => 0,
            1..=2 => length,
            3 => length + dice.usize(1..20),
            _ => dice.usize(..=length),
        };
        return match dice.u32(..13) {
            12 => Op::List(parent(mine).to_owned()),
            0 => Op::Rename {
                from: if dice.bool() {
                    mine.to_owned()
                } else {
                    path(dice)
                },
                to: if dice.bool() {
                    mine.to_owned()
                } else {
                    path(dice)
                },
                replace: dice.bool(),
            },
            1..=4 => Op::Write(at, made(dice, false)),
            5..=8 => Op::Read(at, dice.usize(1..30_000)),
            9 => Op::Size(at + 1),
            _ => Op::End,
        };
    }
    match dice.u32(..34) {
        0..=5 => {
            let how = [How::Upload, How::Append, How::Edit, How::Edit, How::Read];
            Op::Begin(path(dice), how[dice.usize(..how.len())])
        }
        6..=8 => Op::Put(path(dice), made(dice, true)),
        9..=10 => Op::Get(path(dice)),
        11..=12 => Op::Grow(path(dice), made(dice, true)),
        13..=14 => Op::Resize(path(dice), dice.usize(1..60)),
        15..=16 => Op::Stat(path(dice)),
        17 => Op::List(path(dice)),
        18 => Op::List(String::new()),
        19..=22 => Op::MkDir(path(dice)),
        23 => Op::RmDir(path(dice)),
        24..=25 => Op::Remove(path(dice)),
        26..=29 => Op::Rename {
            from: path(dice),
            to: path(dice),
            replace: dice.bool(),
        },
        30 => Op::Vanish,
        31..=32 => Op::OutsidePut(path(dice), made(dice, false)),
        _ => Op::OutsideRemove(path(dice)),
    }
}

/// Few names, so that operations meet.
fn path(dice: &mut fastrand::Rng) -> String {
    let depth = [1, 1, 1, 2, 2, 2, 2, 3][dice.usize(..8)];
    let mut name = |names: &[&'static str]| names[dice.usize(..names.len())];
    let above = (1..depth).map(|_| name(&["a", "b"])).collect::<Vec<_>>();
    let last = name(&["a", "b", "c", "d"]);
    [above, vec![last]].concat().join("/")
}

/// Mostly few bytes; now and then so many that they take several parts.
fn made(dice: &mut fastrand::Rng, several: bool) -> Made {
    let length = match dice.u32(..24) {
        0 if several => 5_000_000 + dice.usize(..2_000_000),
        1..=4 => 1_000 + dice.usize(..90_000),
        _ => 1 + dice.usize(..40),
    };
    Made(dice.u64(..), length)
}
