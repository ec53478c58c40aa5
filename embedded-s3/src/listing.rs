//! Listing keys: byte order, prefixes, delimiters, pages.
//!
//! A common prefix is passed by seeking to the first key after it, so that a page costs its own
//! size and not that of the directories it names.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, ObjectStorageClass, Owner, StorageClass,
};
use s3s::{S3Result, s3_error};

use crate::percent;
use crate::store::{Object, Store};

/// What one page is asked to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    /// The key or common prefix after which the page begins.
    pub(crate) after: &'a str,
    pub(crate) items_max: usize,
}

/// One page of keys and common prefixes.
#[derive(Debug)]
pub(crate) struct Page<V> {
    pub(crate) entries: Vec<(String, V)>,
    pub(crate) common_prefixes: Vec<String>,
    /// The last item, if more follow.
    pub(crate) next: Option<String>,
}

impl Query<'_> {
    /// Lists one page of `keys`.
    pub(crate) fn run<V: Clone>(self, keys: &BTreeMap<String, V>) -> Page<V> {
        let mut page = Page {
            entries: Vec::new(),
            common_prefixes: Vec::new(),
            next: None,
        };
        if self.items_max == 0 {
            return page;
        }
        let Some(mut entries) = self.start(keys) else {
            return page;
        };
        let mut last = String::new();
        while let Some((key, value)) = entries.next() {
            if !key.starts_with(self.prefix) {
                break;
            }
            if page.entries.len() + page.common_prefixes.len() == self.items_max {
                page.next = Some(last);
                break;
            }
            match self.common_prefix(key) {
                None => {
                    key.clone_into(&mut last);
                    page.entries.push((key.clone(), value.clone()));
                }
                Some(common) => {
                    common.clone_into(&mut last);
                    page.common_prefixes.push(common.to_owned());
                    let Some(beyond) = successor(common) else {
                        break;
                    };
                    entries = keys.range::<str, _>((Bound::Included(&*beyond), Bound::Unbounded));
                }
            }
        }
        page
    }

    fn start<'k, V>(
        self,
        keys: &'k BTreeMap<String, V>,
    ) -> Option<std::collections::btree_map::Range<'k, String, V>> {
        let bound = if self.after < self.prefix {
            return Some(keys.range::<str, _>((Bound::Included(self.prefix), Bound::Unbounded)));
        } else if self.common_prefix(self.after) == Some(self.after) {
            // The last item was this common prefix: all keys under it have been accounted for.
            let beyond = successor(self.after)?;
            return Some(keys.range::<str, _>((Bound::Included(&*beyond), Bound::Unbounded)));
        } else {
            Bound::Excluded(self.after)
        };
        Some(keys.range::<str, _>((bound, Bound::Unbounded)))
    }

    /// Returns the part of `key` up to the first delimiter after the prefix.
    pub(crate) fn common_prefix(self, key: &str) -> Option<&str> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix)?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        key.get(..end)
    }
}

/// Returns the first string after all strings that start with `prefix`; none if there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut head = prefix.to_owned();
    while let Some(last) = head.pop() {
        // Iterating over characters steps over the surrogate gap.
        if let Some(next) = (last..=char::MAX).nth(1) {
            head.push(next);
            return Some(head);
        }
    }
    None
}

impl Store {
    pub(crate) fn list_objects_v2(
        &self,
        input: ListObjectsV2Input,
    ) -> S3Result<ListObjectsV2Output> {
        let token = input
            .continuation_token
            .as_deref()
            .map(read_token)
            .transpose()?;
        let after = token
            .as_deref()
            .or(input.start_after.as_deref())
            .unwrap_or_default();
        let items_max = page_size(input.max_keys)?;
        let page = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after,
            items_max,
        }
        .run(&self.bucket(&input.bucket)?.lock().objects);

        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let owner = (input.fetch_owner == Some(true)).then(owner);
        let key_count = page.entries.len() + page.common_prefixes.len();
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
            max_keys: i32::try_from(items_max).ok(),
            key_count: i32::try_from(key_count).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(write_token),
            contents: Some(encoding.objects(page.entries, owner.as_ref())),
            common_prefixes: Some(encoding.prefixes(page.common_prefixes)),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(delimiter)),
            encoding_type: input.encoding_type,
            start_after: input.start_after.map(|key| encoding.apply(key)),
            ..Default::default()
        })
    }

    pub(crate) fn list_objects(&self, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        let items_max = page_size(input.max_keys)?;
        let page = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref().unwrap_or_default(),
            items_max,
        }
        .run(&self.bucket(&input.bucket)?.lock().objects);

        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
            marker: Some(encoding.apply(input.marker.unwrap_or_default())),
            max_keys: i32::try_from(items_max).ok(),
            is_truncated: Some(page.next.is_some()),
            // Version 1 gives the marker only with a delimiter; else it is the last key.
            next_marker: page
                .next
                .filter(|_| input.delimiter.is_some())
                .map(|key| encoding.apply(key)),
            contents: Some(encoding.objects(page.entries, Some(&owner()))),
            common_prefixes: Some(encoding.prefixes(page.common_prefixes)),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(delimiter)),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }
}

/// How keys are written in a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(crate) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(
                InvalidArgument,
                "Invalid Encoding Method specified in Request"
            )),
        }
    }

    pub(crate) fn apply(self, text: String) -> String {
        match self {
            Self::Plain => text,
            Self::Url => percent::encode(&text),
        }
    }

    pub(crate) fn prefixes(self, prefixes: Vec<String>) -> Vec<CommonPrefix> {
        let prefix = |prefix| CommonPrefix {
            prefix: Some(self.apply(prefix)),
        };
        prefixes.into_iter().map(prefix).collect()
    }

    fn objects(
        self,
        entries: Vec<(String, Arc<Object>)>,
        owner: Option<&Owner>,
    ) -> Vec<s3s::dto::Object> {
        let describe = |(key, object): (String, Arc<Object>)| {
            let class = object
                .properties
                .storage_class
                .as_ref()
                .map_or(StorageClass::STANDARD, |class| class.as_str());
            s3s::dto::Object {
                key: Some(self.apply(key)),
                size: i64::try_from(object.body.len()).ok(),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(object.modified.into()),
                owner: owner.cloned(),
                storage_class: Some(ObjectStorageClass::from(class.to_owned())),
                ..Default::default()
            }
        };
        entries.into_iter().map(describe).collect()
    }
}

/// Returns the number of items a page may hold: at most, and by default, a thousand.
pub(crate) fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.unwrap_or(1000);
    let size =
        usize::try_from(asked).map_err(|_| s3_error!(InvalidArgument, "Negative page size"))?;
    Ok(size.min(1000))
}

/// Returns the one owner of everything here.
pub(crate) fn owner() -> Owner {
    Owner {
        display_name: Some(String::from("embedded")),
        id: Some("0".repeat(64)),
    }
}

/// Writes a token of hexadecimal digits: opaque, and safe in XML whatever the key holds.
fn write_token(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str) -> S3Result<String> {
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        )
    };
    let digits: Vec<_> = token
        .bytes()
        .map(|digit| char::from(digit).to_digit(16))
        .collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(invalid());
    };
    let byte =
        |[high, low]: &[Option<u32>; 2]| u8::try_from(high.as_ref()? * 16 + low.as_ref()?).ok();
    let bytes = pairs
        .iter()
        .map(byte)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(invalid)?;
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(keys: &[&str], prefix: &str, delimiter: Option<&str>, items_max: usize) -> Vec<String> {
        let keys: BTreeMap<_, _> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = Query {
                prefix,
                delimiter,
                after: &after,
                items_max,
            }
            .run(&keys);
            assert!(page.entries.len() + page.common_prefixes.len() <= items_max);
            items.extend(page.entries.into_iter().map(|(key, ())| key));
            items.extend(page.common_prefixes);
            match page.next {
                Some(next) => after = next,
                None => return items,
            }
        }
    }

    #[test]
    fn pages_of_any_size_hold_every_item_once() {
        let keys = [
            "a",
            "a-",
            "a/",
            "a/b",
            "a/c/d",
            "a/c/e",
            "a0",
            "b//",
            "b//c",
            "é/x",
            "\u{d7ff}/",
            "\u{e000}",
        ];
        for items_max in 1..14 {
            let mut flat = all(&keys, "", None, items_max);
            assert_eq!(flat, keys);
            flat = all(&keys, "", Some("/"), items_max);
            flat.sort();
            assert_eq!(
                flat,
                ["a", "a-", "a/", "a0", "b/", "é/", "\u{d7ff}/", "\u{e000}"]
            );
            assert_eq!(all(&keys, "b/", Some("/"), items_max), ["b//"]);
        }
        assert_eq!(all(&keys, "a/", Some("/"), 1), ["a/", "a/b", "a/c/"]);
    }

    #[test]
    fn start_inside_a_common_prefix_names_it_if_keys_follow() {
        let keys: BTreeMap<_, _> = ["d/1", "d/2", "e"].map(|key| (key.to_owned(), ())).into();
        let from = |after| {
            Query {
                prefix: "",
                delimiter: Some("/"),
                after,
                items_max: 9,
            }
            .run(&keys)
        };
        assert_eq!(from("d/1").common_prefixes, ["d/"]);
        assert!(from("d/2").common_prefixes.is_empty());
        assert!(from("d/").common_prefixes.is_empty());
    }

    #[test]
    fn tokens_carry_any_key() {
        for key in ["", "a", "é\u{1}<&>"] {
            assert_eq!(read_token(&write_token(key)).unwrap(), key);
        }
        for token in ["a", "zz", "ff", "+1"] {
            assert!(read_token(token).is_err(), "{token}");
        }
    }

    #[test]
    fn successor_passes_every_extension() {
        assert_eq!(successor("a/").as_deref(), Some("a0"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor(""), None);
    }
}
