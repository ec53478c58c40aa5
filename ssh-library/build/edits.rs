//! The edits: small files of their own form.
//!
//! ```text
//! why: what goes wrong without it
//! test: the functions that fail without it
//! upstream: what a pull request would say; further lines are indented
//! @@ after src/server/encrypted.rs
//! one to three whole lines that occur there exactly once
//! ==
//! the lines that come after them
//! ```
//!
//! Beside `after` there are `before` and `replace`; an edit may have several places.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::Path;

/// Lines by which a place is known.
pub(crate) const ANCHOR_LINES_MAX: usize = 3;

/// One change of the library.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) name: String,
    /// What goes wrong without it.
    why: String,
    /// The functions that fail without it.
    pub(crate) tests: Vec<String>,
    pub(crate) places: Vec<Place>,
}

/// One place that an edit changes.
#[derive(Debug)]
pub(crate) struct Place {
    position: Position,
    file: String,
    anchor: String,
    text: String,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    Before,
    After,
    Replace,
}

/// Why an edit cannot be made.
#[derive(Debug)]
pub(crate) struct Misfit {
    edit: String,
    cause: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the edit `{}` does not fit: {}", self.edit, self.cause)
    }
}

impl Error for Misfit {}

/// Reads the edits of a folder, in the order of their names.
pub(crate) fn read(folder: &Path) -> Result<Vec<Edit>, Box<dyn Error>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let mut edits = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        edits.push(Edit::parse(&name, &fs::read_to_string(&path)?)?);
    }
    Ok(edits)
}

impl Edit {
    /// Reads one edit.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Misfit> {
        let misfit = |cause: &str| Misfit {
            edit: name.to_owned(),
            cause: cause.to_owned(),
        };
        let (head, rest) = text
            .split_once("\n@@ ")
            .ok_or_else(|| misfit("it has no place"))?;
        let (why, tests, _) = head
            .strip_prefix("why: ")
            .and_then(|head| head.split_once("\ntest: "))
            .and_then(|(why, head)| {
                let (tests, upstream) = head.split_once("\nupstream: ")?;
                Some((why, tests, upstream))
            })
            .filter(|(why, tests, upstream)| {
                !(why.is_empty() | tests.is_empty() | upstream.is_empty())
            })
            .ok_or_else(|| misfit("it begins with `why: `, `test: ` and `upstream: `"))?;
        let places = rest.split("\n@@ ").map(|place| {
            let (title, body) = place.split_once('\n')?;
            let (position, file) = title.split_once(' ')?;
            let (anchor, text) = body.split_once("\n==\n")?;
            Some(Place {
                position: match position {
                    "before" => Position::Before,
                    "after" => Position::After,
                    "replace" => Position::Replace,
                    _ => return None,
                },
                file: file.to_owned(),
                anchor: anchor.to_owned(),
                text: text.trim_end_matches('\n').to_owned(),
            })
        });
        Ok(Self {
            name: name.to_owned(),
            why: why.to_owned(),
            tests: tests.split(", ").map(str::to_owned).collect(),
            places: places
                .collect::<Option<_>>()
                .ok_or_else(|| misfit("a place is not in the form of build/edits.rs"))?,
        })
    }

    /// Makes the change in the texts of the library.
    pub(crate) fn apply(&self, files: &mut [(String, String)]) -> Result<(), Misfit> {
        for place in &self.places {
            let misfit = |cause: String| Misfit {
                edit: self.name.clone(),
                cause: format!(
                    "{cause}\nIt is there because {}; without it {} fail",
                    self.why,
                    self.tests.join(", ")
                ),
            };
            let (_, text) = files
                .iter_mut()
                .find(|(path, _)| *path == place.file)
                .ok_or_else(|| misfit(format!("there is no {}", place.file)))?;
            *text = place.made_in(text).map_err(misfit)?;
        }
        Ok(())
    }
}

impl Place {
    /// Lines of this place, by which edits are kept small.
    pub(crate) fn lines(&self) -> (usize, usize) {
        (self.anchor.lines().count(), self.text.lines().count())
    }

    fn made_in(&self, text: &str) -> Result<String, String> {
        // Whole lines: the first and the last one have a neighbour too.
        let text = format!("\n{text}\n");
        let anchor = format!("\n{}\n", self.anchor);
        let times = text.matches(&anchor).count();
        if times != 1 || self.lines().0 > ANCHOR_LINES_MAX {
            return Err(format!(
                "its place in {} was found {times} times: {}",
                self.file, self.anchor
            ));
        }
        let made = match self.position {
            Position::Before => format!("\n{}{anchor}", self.text),
            Position::After => format!("{anchor}{}\n", self.text),
            Position::Replace => format!("\n{}\n", self.text),
        };
        let made = text.replacen(&anchor, &made, 1);
        Ok(made.strip_prefix('\n').unwrap_or(&made).to_owned())
    }
}
