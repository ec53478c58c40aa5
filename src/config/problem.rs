//! What is wrong with a configuration, said so that an operator can mend it.

use std::fmt;
use std::io;

use crate::causes;

/// Everything that is wrong, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: Box<str>,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// The setting, as `section.key`, or the variable.
    pub key: Box<str>,
    /// What was found where that is no secret, and what is allowed.
    pub message: Box<str>,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, at a line that counts from 1.
    Line(usize),
    /// In a variable of the environment.
    Variable(String),
    /// Nowhere: something is missing.
    Nowhere,
}

impl Problem {
    /// Says what is wrong with one key.
    pub fn new(place: Place, key: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        let (key, message) = (key.into(), message.into());
        Self {
            place,
            key,
            message,
        }
    }
}

impl ConfigErrors {
    /// Puts problems into the order of their places.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        let file = "configuration".into();
        Self { file, problems }
    }

    /// Says that a file cannot be read.
    #[must_use]
    pub fn unreadable(key: &str, path: &str, error: &io::Error) -> Self {
        let message = format!("cannot read {path:?}: {}", causes::system(error));
        Self::new(vec![Problem::new(Place::Nowhere, key, message)])
    }

    /// Names the file in which the lines count.
    #[must_use]
    pub fn in_file(mut self, path: Option<&str>) -> Self {
        if let Some(path) = path {
            self.file = path.into();
        }
        self
    }

    /// Returns what is wrong, one by one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            let Problem {
                place,
                key,
                message,
            } = problem;
            match place {
                Place::Line(line) => write!(f, "{}:{line}: {key}: {message}", self.file)?,
                Place::Variable(name) => write!(f, "{name} ({key}): {message}")?,
                Place::Nowhere => write!(f, "{key}: {message}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
