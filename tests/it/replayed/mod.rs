//! The same operations of several sessions, and changes of other programs, over every store and
//! over OpenSSH's `sftp-server`: each server does what its model says, and where the two models
//! differ a row of the table in docs/semantics.md says so.
//!
//! A few seeds; `SEEDS=1000` for more, `SEED=17` for the one that failed.

mod line;
mod model;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::time::Duration;

use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::session::Environment;
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use tempfile::TempDir;

use self::line::{Line, SERVER};
use self::model::{Model, ROWS, Seen};
use self::program::{Op, Program, SESSIONS};
use crate::common::raw::OK;
use crate::common::sftp::{as_answered, begin_in, process};
use crate::common::stores::Subject;
use crate::idp_examples::skip;

/// Where the files are.
enum Place {
    /// A gateway with all its sessions, and a part of its store that no other run uses.
    Gateway {
        subject: Box<Subject>,
        environment: Box<Environment>,
        below: String,
    },
    OpenSsh(TempDir),
}

impl Place {
    fn gateway(subject: Subject, seed: u64) -> Self {
        let mut environment = process(Limits {
            part_bytes: 5 * 1024 * 1024,
            ..Limits::default()
        });
        // What a session remembers of others is tried elsewhere.
        environment.names_fresh_for = Duration::ZERO;
        Self::Gateway {
            subject: Box::new(subject),
            environment: Box::new(environment),
            below: format!("seed-{seed}"),
        }
    }

    async fn connect(&self) -> Line {
        match self {
            Self::Gateway {
                subject,
                environment,
                below,
            } => {
                let target = format!("/{}/{}{below}", subject.bucket, subject.prefix);
                let all = Mapping::parse("/", &target, EntryType::Directory, Access::ReadWrite);
                let home = HomeDirectory::logical(vec![all.unwrap()], VirtualPath::root());
                let config = UserConfig::new("ann", home.unwrap());
                let user = as_answered(config, subject.store.clone());
                let limits = (*environment.limits).clone();
                let begun = begin_in(user, limits, |process| *process = (**environment).clone());
                Line::to_gateway(begun).await
            }
            Self::OpenSsh(folder) => Line::to_openssh(folder.path().to_str().unwrap()).await,
        }
    }

    /// Returns where the files are, if they are files.
    fn folder(&self) -> Option<String> {
        match self {
            Self::Gateway { subject, below, .. } => {
                let root = subject.root()?;
                Some(format!("{root}/{}{below}", subject.prefix))
            }
            Self::OpenSsh(folder) => Some(folder.path().to_str().unwrap().to_owned()),
        }
    }

    /// Does what a program does that knows nothing of the server; `None`: it leaves nothing there.
    async fn outside(&self, path: &str, bytes: Option<Vec<u8>>) {
        if let Some(folder) = self.folder() {
            let path = format!("{folder}/{path}");
            let Some(bytes) = bytes else {
                return fs::remove_file(path).unwrap();
            };
            // Programs that replace a file put another one in its place.
            let beside = format!("{folder}.new");
            fs::write(&beside, bytes).unwrap();
            return fs::rename(beside, path).unwrap();
        }
        let Self::Gateway { subject, below, .. } = self else {
            unreachable!("a file system has a folder");
        };
        let name = format!("{below}/{path}");
        if let Some(bytes) = bytes {
            subject.put(&name, bytes).await;
        } else {
            let removed = subject.store.delete(&subject.at(&name), None).await;
            removed.unwrap();
        }
    }

    /// Nothing is left that anybody holds or began.
    async fn is_clean(&self) {
        if let Self::Gateway {
            environment,
            subject,
            ..
        } = self
        {
            environment.reaper.drain().await;
            assert_eq!(environment.budget.taken_bytes(), (0, 0));
            assert_eq!(environment.budget.account().taken_bytes(), 0);
            if let Some(root) = subject.root() {
                let unfinished = fs::read_dir(format!("{root}/.portcullis-uploads")).unwrap();
                assert_eq!(unfinished.count(), 0);
            }
        }
    }
}

/// Which of the two models a place follows.
#[derive(Clone, Copy)]
enum Side {
    Here,
    There,
}

/// Has everybody do what the seed says, and compares what they see.
async fn run(program: &Program, place: &Place, side: Side) {
    let mut lines = Vec::new();
    for _ in 0..SESSIONS {
        lines.push(place.connect().await);
    }
    for (number, step) in program.steps.iter().enumerate() {
        let seen = match &step.op {
            Op::Vanish => {
                let next = place.connect().await;
                std::mem::replace(&mut lines[step.who], next).end().await;
                continue;
            }
            Op::OutsidePut(path, made) => {
                place.outside(path, Some(made.bytes())).await;
                continue;
            }
            Op::OutsideRemove(path) => {
                place.outside(path, None).await;
                continue;
            }
            op => lines[step.who].act(op).await,
        };
        let expected = match side {
            Side::Here => &step.here,
            Side::There => &step.there,
        };
        assert!(
            expected.contains(&seen),
            "step {number}, {} {:?}: {} instead of {:?}, after {}",
            step.who,
            step.op,
            short(&seen),
            expected.iter().map(short).collect::<Vec<_>>(),
            before(program, number),
        );
    }
    for line in lines {
        line.end().await;
    }
    let model = match side {
        Side::Here => &program.here,
        Side::There => &program.there,
    };
    let mut line = place.connect().await;
    assert_everything(&mut line, model).await;
    line.end().await;
    place.is_clean().await;
}

/// What is there is what the model has, looked at by somebody new.
async fn assert_everything(line: &mut Line, model: &Model) {
    let mut found = BTreeMap::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let Seen::Names(names) = line.act(&Op::List(directory.clone())).await else {
            panic!("{directory:?} cannot be listed");
        };
        for name in names {
            let path = if directory.is_empty() {
                name
            } else {
                format!("{directory}/{name}")
            };
            match line.act(&Op::Stat(path.clone())).await {
                Seen::Directory => {
                    directories.push(path.clone());
                    found.insert(path, None);
                }
                _ => match line.act(&Op::Get(path.clone())).await {
                    Seen::Data(bytes) => drop(found.insert(path, Some(bytes))),
                    refused => panic!("{path:?} cannot be read: {refused:?}"),
                },
            }
        }
    }
    let expected = model.everything();
    let names = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>();
    let (ours, theirs) = (
        names(&mut found.keys().cloned()),
        names(&mut expected.keys().cloned()),
    );
    assert_eq!(ours, theirs, "what is there at the end");
    for (path, content) in &found {
        assert!(
            content.as_deref() == expected[path],
            "{path} at the end holds other bytes"
        );
    }
}

fn short(seen: &Seen) -> String {
    match seen {
        Seen::Data(bytes) => format!(
            "{} bytes, {:?}…",
            bytes.len(),
            &bytes[..bytes.len().min(12)]
        ),
        other => format!("{other:?}"),
    }
}

/// Tells what was done to the same names until then.
fn before(program: &Program, number: usize) -> String {
    let steps = &program.steps[number.saturating_sub(25)..number];
    let told = steps.iter().map(|step| {
        let here: Vec<_> = step.here.iter().map(short).collect();
        format!("\n{} {:?} → {here:?}", step.who, step.op)
    });
    told.collect()
}

fn seeds(few: u64) -> Range<u64> {
    let number = |variable: &str| {
        let text = crate::common::stores::environment(variable)?;
        Some(text.parse().expect("a number"))
    };
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(few),
    }
}

/// Says how to see a failure again.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "seed {} failed: SEED={0} cargo test --test it -- replayed",
                self.0
            );
        }
    }
}

const OPERATIONS: usize = 120;
/// So many seeds that every row is met.
const MANY: u64 = 40;

#[tokio::test]
async fn sessions_and_other_programs_do_what_the_model_says_in_memory() {
    for seed in seeds(24) {
        let _told = Told(seed);
        let program = Program::of(seed, OPERATIONS);
        run(
            &program,
            &Place::gateway(Subject::memory(), seed),
            Side::Here,
        )
        .await;
    }
}

#[tokio::test]
async fn sessions_and_other_programs_do_what_the_model_says_in_a_directory() {
    for seed in seeds(12) {
        let _told = Told(seed);
        let program = Program::of(seed, OPERATIONS);
        let place = Place::gateway(Subject::directory(), seed);
        fs::create_dir_all(place.folder().unwrap()).unwrap();
        run(&program, &place, Side::Here).await;
    }
}

#[tokio::test]
async fn sessions_and_other_programs_do_what_the_model_says_in_the_embedded_s3() {
    for seed in seeds(8) {
        let _told = Told(seed);
        let program = Program::of(seed, OPERATIONS);
        let place = Place::gateway(Subject::embedded().await, seed);
        run(&program, &place, Side::Here).await;
    }
}

#[tokio::test]
async fn sessions_and_other_programs_do_what_the_model_says_in_an_s3_of_others() {
    for seed in seeds(8) {
        let _told = Told(seed);
        let Some(subject) = Subject::external().await else {
            return skip("an S3 of others", "TEST_S3_ENDPOINT is not set");
        };
        let program = Program::of(seed, OPERATIONS);
        run(&program, &Place::gateway(subject, seed), Side::Here).await;
    }
}

#[tokio::test]
async fn openssh_differs_in_what_the_table_says_and_in_nothing_else() {
    let installed = fs::exists(SERVER).unwrap();
    if !installed {
        skip("sftp-server", "it is not installed");
    }
    let (mut met, mut done) = (BTreeSet::new(), BTreeMap::new());
    for seed in seeds(MANY) {
        let _told = Told(seed);
        let program = Program::of(seed, OPERATIONS);
        met.extend(program.rows());
        for step in &program.steps {
            let both = [&step.here[0], &step.there[0]];
            let was_done = both.iter().all(|seen| match seen {
                Seen::Status(status) => *status == OK,
                Seen::Data(_) | Seen::File(_) | Seen::Directory | Seen::Names(_) => true,
            });
            *done.entry(step.op.name()).or_insert(0) += usize::from(was_done);
        }
        if installed {
            let place = Place::OpenSsh(tempfile::tempdir().unwrap());
            run(&program, &place, Side::There).await;
        }
    }
    let document = include_str!("../../../docs/semantics.md");
    for row in ROWS {
        assert!(document.contains(&format!("\n| {row} | ")), "{row}");
    }
    let all: BTreeSet<&str> = ROWS.into_iter().collect();
    // One seed alone need not meet all of them.
    assert!(
        seeds(MANY).end < MANY || met == all,
        "not met: {:?}",
        &all - &met
    );
}
