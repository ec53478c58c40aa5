//! What was counted, and the groups of what changes: a bounded number of them, the rest by their
//! reasons.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::event::Act;
use super::judge::Change;
use crate::causes::printable;

/// What changes for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub change: Change,
    pub user: String,
    /// None for a login.
    pub act: Option<Act>,
    /// A directory, or what of a login matters.
    pub about: String,
}

/// How often, and where for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub count: u64,
    pub first_line: u64,
    pub example: String,
}

/// Everything that was counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub lines: u64,
    /// Lines that told something.
    pub events: u64,
    pub unreadable: u64,
    /// Lines that were too long.
    pub too_long: u64,
    pub logins: Count,
    pub operations: Count,
    /// Operations of sessions whose login is not in the log.
    pub unknown_sessions: u64,
    pub failed_before: u64,
    groups: BTreeMap<Subject, Group>,
    rest: BTreeMap<Change, u64>,
}

/// Outcomes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub same: u64,
    pub changed: u64,
    /// The provider was not asked, or did not answer, or the log does not show what decides.
    pub not_asked: u64,
}

impl Tally {
    /// Counts something that changes.
    pub(super) fn changes(&mut self, subject: Subject, example: &str) {
        let line = self.lines;
        if let Some(group) = self.groups.get_mut(&subject) {
            group.count = group.count.saturating_add(1);
            return;
        }
        if self.groups.len() >= GROUPS_MAX {
            let rest = self.rest.entry(subject.change).or_default();
            *rest = rest.saturating_add(1);
            return;
        }
        let shown = example.chars().take(EXAMPLE_CHARS_MAX).collect();
        let group = Group {
            count: 1,
            first_line: line,
            example: shown,
        };
        self.groups.insert(subject, group);
    }

    /// Returns how many outcomes change.
    #[must_use]
    pub const fn changed(&self) -> u64 {
        self.logins.changed.saturating_add(self.operations.changed)
    }

    /// Returns how much of the log was not judged: what was not asked, operations of unknown
    /// sessions, and lines that were not read.
    #[must_use]
    pub const fn not_judged(&self) -> u64 {
        self.logins
            .not_asked
            .saturating_add(self.operations.not_asked)
            .saturating_add(self.unknown_sessions)
            .saturating_add(self.unreadable)
            .saturating_add(self.too_long)
    }

    fn ordered(&self) -> Vec<(&Subject, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by(|(one, left), (other, right)| {
            let by_count = right.count.cmp(&left.count);
            by_count.then_with(|| one.cmp(other))
        });
        groups
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        for (subject, group) in self.ordered().into_iter().take(SHOWN_MAX) {
            let change = subject.change;
            let act = subject.act.map_or("login", Act::as_str);
            let _ = writeln!(
                text,
                "{:>7} {act:<14} {:<26} {} {}",
                group.count,
                change.as_str(),
                printable(&subject.user),
                printable(&subject.about),
            );
            let _ = writeln!(
                text,
                "        {}; first in line {}: {}",
                change.text(),
                group.first_line,
                printable(&group.example)
            );
        }
        let hidden = self.groups.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            let _ = writeln!(text, "{hidden} more groups: --json prints them");
        }
        for (change, count) in &self.rest {
            let _ = writeln!(text, "{count:>7} more, not grouped: {}", change.as_str());
        }
        for (what, count) in [("logins", self.logins), ("operations", self.operations)] {
            let _ = writeln!(
                text,
                "{what}: {} same, {} changed, {} not asked",
                count.same, count.changed, count.not_asked
            );
        }
        for (count, what) in [
            (
                self.failed_before,
                "logins were refused before, and may be again",
            ),
            (
                self.unknown_sessions,
                "operations of sessions whose login is not in the log",
            ),
            (self.unreadable, "lines could not be read"),
            (self.too_long, "lines were too long"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{count} {what}");
            }
        }
        let _ = writeln!(text, "{} lines", self.lines);
        text
    }

    #[must_use]
    pub fn json(&self) -> String {
        let count = |count: Count| {
            json!({
                "same": count.same,
                "changed": count.changed,
                "notAsked": count.not_asked,
            })
        };
        let groups = self.ordered().into_iter().map(|(subject, group)| {
            json!({
                "change": subject.change.as_str(),
                "text": subject.change.text(),
                "user": subject.user,
                "operation": subject.act.map_or("login", Act::as_str),
                "about": subject.about,
                "count": group.count,
                "firstLine": group.first_line,
                "example": group.example,
            })
        });
        let rest: BTreeMap<_, _> = self
            .rest
            .iter()
            .map(|(one, count)| (one.as_str(), count))
            .collect();
        let told = json!({
            "lines": self.lines,
            "unreadable": self.unreadable,
            "tooLong": self.too_long,
            "logins": count(self.logins),
            "operations": count(self.operations),
            "unknownSessions": self.unknown_sessions,
            "refusedBefore": self.failed_before,
            "groups": groups.collect::<Vec<_>>(),
            "notGrouped": rest,
        });
        format!("{told:#}\n")
    }
}

const GROUPS_MAX: usize = 10_000;
const SHOWN_MAX: usize = 50;
const EXAMPLE_CHARS_MAX: usize = 200;
