//! One key of the file of users (pure): its value, its line, and what is said when it is wrong.

#![warn(clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Place, Problem};

/// Where the lines of a text begin: a file of many users asks for many lines.
#[derive(Debug)]
pub(super) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate();
        let ends = ends.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self {
            ends: ends.collect(),
        }
    }

    /// Returns the line, counted from 1, of a byte.
    pub(super) fn at(&self, offset: usize) -> usize {
        let before = self.ends.partition_point(|end| *end < offset);
        before.saturating_add(1)
    }
}

/// A key with its value and its place.
pub(super) struct Field<'a, 'i> {
    pub(super) name: &'a str,
    /// `users.ann.mappings[0].entry`
    pub(super) path: String,
    line: usize,
    pub(super) value: &'a DeValue<'i>,
}

/// Returns the keys of a table.
pub(super) fn fields<'a, 'i>(
    lines: &Lines,
    path: &str,
    table: &'a DeTable<'i>,
) -> Vec<Field<'a, 'i>> {
    let field = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'i>>)| {
        let name: &str = AsRef::<Cow<'_, str>>::as_ref(key);
        let dot = if path.is_empty() { "" } else { "." };
        Field {
            name,
            path: format!("{path}{dot}{name}"),
            line: lines.at(key.span().start),
            value: value.get_ref(),
        }
    };
    table.iter().map(field).collect()
}

impl<'a, 'i> Field<'a, 'i> {
    pub(super) fn refuse(&self, message: impl Into<Box<str>>) -> Problem {
        Problem::new(Place::Line(self.line), self.path.as_str(), message)
    }

    pub(super) fn unknown(&self, allowed: &str) -> Problem {
        self.refuse(format!("unknown key; allowed: {allowed}"))
    }

    pub(super) fn found(&self, found: &str, allowed: &str) -> Problem {
        self.refuse(format!("found {found:?}; allowed: {allowed}"))
    }

    pub(super) fn table(&self, lines: &Lines) -> Result<Vec<Self>, Problem> {
        let DeValue::Table(table) = self.value else {
            return Err(self.refuse("allowed: a table"));
        };
        Ok(fields(lines, &self.path, table))
    }

    pub(super) fn text(&self) -> Result<&'a str, Problem> {
        let text = self.value.as_str();
        text.ok_or_else(|| self.refuse("allowed: a string"))
    }

    fn items(&self, lines: &Lines, of: &str) -> Result<Vec<Self>, Problem> {
        let DeValue::Array(items) = self.value else {
            return Err(self.refuse(format!("allowed: a list of {of}")));
        };
        let item = |(at, value): (usize, &'a Spanned<DeValue<'i>>)| Field {
            name: self.name,
            path: format!("{}[{at}]", self.path),
            line: lines.at(value.span().start),
            value: value.get_ref(),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn number(&self) -> Result<u64, Problem> {
        let DeValue::Integer(integer) = self.value else {
            return Err(self.refuse("allowed: a whole number, not negative"));
        };
        let digits = integer.as_str().replace('_', "");
        u64::from_str_radix(&digits, integer.radix())
            .map_err(|_| self.refuse("allowed: a whole number, not negative, below 2^64"))
    }

    /// Takes a list whose items are read alike; the first item that is wrong is told.
    pub(super) fn list<T>(
        &self,
        lines: &Lines,
        of: &str,
        read: impl Fn(&Self) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let items = self.items(lines, of)?;
        // No list means no bound; a list that came out empty surely does not.
        if items.is_empty() {
            return Err(self.refuse(format!("empty; allowed: at least one of {of}, or no list")));
        }
        items.iter().map(read).collect()
    }
}
