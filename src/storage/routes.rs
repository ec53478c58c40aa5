//! Which of several stores serves a bucket (pure).

#![warn(clippy::arithmetic_side_effects)]

use super::{Bucket, NameError};

/// The patterns of all stores, the longest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    rows: Vec<(Pattern, u16)>,
}

/// Names of buckets: one, or all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    is_prefix: bool,
}

impl Pattern {
    /// Takes the name of a bucket, or the beginning of names with `*` after it.
    ///
    /// # Errors
    /// No bucket can have such a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        if !(is_prefix && (text.is_empty() || text.bytes().all(|byte| byte == b'.'))) {
            drop(Bucket::parse(text)?);
        }
        Ok(Self {
            text: text.into(),
            is_prefix,
        })
    }

    fn matches(&self, bucket: &str) -> bool {
        if self.is_prefix {
            bucket.starts_with(&*self.text)
        } else {
            bucket == &*self.text
        }
    }
}

impl Routes {
    /// Sends what a pattern matches to a store, unless a longer one matches as well; a name as a
    /// whole comes before all beginnings of it.
    pub fn add(&mut self, pattern: Pattern, store: u16) {
        let longer = |(row, _): &(Pattern, u16)| {
            (row.text.len(), !row.is_prefix) >= (pattern.text.len(), !pattern.is_prefix)
        };
        let at = self.rows.partition_point(longer);
        self.rows.insert(at, (pattern, store));
    }

    /// Returns the store of a bucket; 0 serves what nothing matches.
    #[must_use]
    pub fn of(&self, bucket: &Bucket) -> u16 {
        let matches = |(pattern, _): &&(Pattern, u16)| pattern.matches(bucket.as_str());
        self.rows
            .iter()
            .find(matches)
            .map_or(0, |(_, store)| *store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_decides_and_a_name_before_beginnings() {
        let mut routes = Routes::default();
        for (store, pattern) in [(1, "archive-*"), (2, "archive-cold*"), (3, "archive-cold")] {
            routes.add(Pattern::parse(pattern).unwrap(), store);
        }
        for (bucket, store) in [
            ("archive-", 1),
            ("archive-2024", 1),
            ("archive-colder", 2),
            ("archive-cold", 3),
            ("archive", 0),
            ("my-archive-1", 0),
        ] {
            let bucket = Bucket::parse(bucket).unwrap();
            assert_eq!(routes.of(&bucket), store, "{bucket}");
        }
        routes.add(Pattern::parse("*").unwrap(), 4);
        assert_eq!(routes.of(&Bucket::parse("other").unwrap()), 4);
        assert_eq!(routes.of(&Bucket::parse("archive-cold").unwrap()), 3);
    }

    #[test]
    fn only_what_can_name_buckets_is_a_pattern() {
        for good in ["a", "a*", "*", "my.bucket_x", ".*"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a**", "*a", "a*b", "a b", ".."] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
