//! One page out of a sorted map of keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Object;
use crate::storage::{ListCursor, ListPage, ListQuery, ListedObject};

/// Lists as S3 does: a group of keys counts as one entry and is skipped in one step.
pub(super) fn page(objects: &BTreeMap<String, Object>, query: &ListQuery) -> ListPage {
    let mut page = ListPage::default();
    let mut entries = 0;
    let mut last: Option<String> = None;
    let mut from = first(query);
    while let Some((key, object)) = objects
        .range::<str, _>((from.as_ref().map(String::as_str), Bound::Unbounded))
        .next()
    {
        let Some(rest) = key.strip_prefix(query.prefix.as_str()) else {
            break;
        };
        if entries == query.max {
            page.next = last;
            break;
        }
        entries += 1;
        match rest.split_once('/').filter(|_| query.delimited) {
            Some((group, _)) => {
                let prefix = format!("{}{group}/", query.prefix);
                from = past(&prefix);
                last = Some(format!("{GROUP}{prefix}"));
                page.prefixes.push(prefix);
            }
            None => {
                from = Bound::Excluded(key.clone());
                last = Some(format!("{OBJECT}{key}"));
                page.objects.push(ListedObject {
                    key: key.clone(),
                    size: object.meta.size,
                    etag: object.meta.etag.clone(),
                    modified: object.meta.modified,
                    mode: None,
                    owner: None,
                });
            }
        }
    }
    page
}

fn first(query: &ListQuery) -> Bound<String> {
    let (after, group) = match &query.after {
        None => return Bound::Included(query.prefix.clone()),
        Some(ListCursor::StartAfter(key)) => (key.as_str(), false),
        Some(ListCursor::Continuation(token)) => match token.strip_prefix(GROUP) {
            Some(prefix) => (prefix, true),
            None => (token.strip_prefix(OBJECT).unwrap_or(token), false),
        },
    };
    if after < query.prefix.as_str() {
        Bound::Included(query.prefix.clone())
    } else if group || is_group(after, query) {
        past(after)
    } else {
        Bound::Excluded(after.to_owned())
    }
}

/// A start-after that is itself a common prefix leaves the whole group out.
fn is_group(after: &str, query: &ListQuery) -> bool {
    let rest = after.strip_prefix(query.prefix.as_str());
    query.delimited && rest.is_some_and(|rest| rest.ends_with('/'))
}

/// The first key that does not begin with `prefix`, which ends in `/`: `0` follows it in ASCII.
fn past(prefix: &str) -> Bound<String> {
    let stem = prefix.strip_suffix('/').unwrap_or(prefix);
    Bound::Included(format!("{stem}0"))
}

const GROUP: char = 'p';
const OBJECT: char = 'o';
