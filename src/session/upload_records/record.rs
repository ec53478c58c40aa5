//! The record of one upload (pure): small, readable JSON.

#![warn(clippy::arithmetic_side_effects)]

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::storage::{Bucket, CompletedPart, ETag, Key, Location, Nonce, PartLayout, UploadId};
use crate::vfs::VirtualPath;

/// What is written of an upload before its first part is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadRecord {
    /// `None` until the store has given it one.
    pub(crate) upload: Option<UploadId>,
    pub(crate) location: Location,
    pub(crate) path: VirtualPath,
    /// The provider's own name of the user.
    pub(crate) user: Box<str>,
    pub(crate) login_name: Box<str>,
    pub(crate) session_id: Box<str>,
    pub(crate) source_ip: IpAddr,
    /// In the metadata of the object that the upload makes.
    pub(crate) nonce: Nonce,
    pub(crate) opened: SystemTime,
    /// When the user's access ends.
    pub(crate) expires_at: Option<SystemTime>,
    /// Any file may be replaced that was there before OPEN.
    pub(crate) replace: bool,
    /// None may be there.
    pub(crate) exclusive: bool,
    /// The file that is appended to.
    pub(crate) over: Option<OverBase>,
    /// Where parts begin and end.
    pub(crate) layout: PartLayout,
    pub(crate) stage: Stage,
}

/// The version of a file that is appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverBase {
    pub(crate) etag: ETag,
    pub(crate) size: u64,
}

/// How far the upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The client sends it: an object that it made is whole.
    Open,
    /// What arrived is about to become the object: one that is there already lacks its mark.
    Keeping,
}

/// The same as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    version: u32,
    upload: String,
    bucket: String,
    key: String,
    path: String,
    user: Box<str>,
    login_name: Box<str>,
    session_id: Box<str>,
    source_ip: IpAddr,
    nonce: String,
    /// Milliseconds of Unix time.
    opened_ms: u64,
    /// Seconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    replace: bool,
    exclusive: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<OverRow>,
    layout: PartLayout,
    stage: Stage,
}

#[derive(Debug, Serialize, Deserialize)]
struct OverRow {
    etag: String,
    size: u64,
}

impl UploadRecord {
    /// Writes it; `None`: the store has given no upload yet.
    pub(super) fn text(&self) -> Option<Bytes> {
        let row = Row {
            version: VERSION,
            upload: self.upload.as_ref()?.0.to_string(),
            bucket: self.location.bucket.as_str().to_owned(),
            key: self.location.key.as_str().to_owned(),
            path: self.path.as_str().to_owned(),
            user: self.user.clone(),
            login_name: self.login_name.clone(),
            session_id: self.session_id.clone(),
            source_ip: self.source_ip,
            nonce: self.nonce.to_string(),
            opened_ms: u64::try_from(since_1970(self.opened).as_millis()).unwrap_or(u64::MAX),
            expires_at: self.expires_at.map(|end| since_1970(end).as_secs()),
            replace: self.replace,
            exclusive: self.exclusive,
            over: self.over.as_ref().map(|base| OverRow {
                etag: base.etag.0.to_string(),
                size: base.size,
            }),
            layout: self.layout,
            stage: self.stage,
        };
        serde_json::to_vec_pretty(&row).ok().map(Bytes::from)
    }

    /// Reads what was written.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let row: Row = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if row.version != VERSION {
            return Err(format!("version {} is not known", row.version));
        }
        let bucket = Bucket::parse(&row.bucket).map_err(|error| error.to_string())?;
        let key = Key::parse(&row.key).map_err(|error| error.to_string())?;
        Ok(Self {
            upload: Some(UploadId(row.upload.into())),
            location: Location { bucket, key },
            path: VirtualPath::parse(&row.path).map_err(|error| error.to_string())?,
            user: row.user,
            login_name: row.login_name,
            session_id: row.session_id,
            source_ip: row.source_ip,
            nonce: Nonce::parse(&row.nonce).ok_or("its nonce is none")?,
            opened: time(Duration::from_millis(row.opened_ms))?,
            expires_at: match row.expires_at {
                Some(end) => Some(time(Duration::from_secs(end))?),
                None => None,
            },
            replace: row.replace,
            exclusive: row.exclusive,
            over: row.over.map(|base| OverBase {
                etag: ETag(base.etag.into()),
                size: base.size,
            }),
            layout: row.layout,
            stage: row.stage,
        })
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn time(since_1970: Duration) -> Result<SystemTime, String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(since_1970);
    time.ok_or_else(|| "a time is out of range".to_owned())
}

/// Returns the parts that follow each other from the first one on, as they were planned, and how
/// many bytes they have. A part that is not full is the last one.
pub(crate) fn in_sequence(
    layout: &PartLayout,
    listed: Vec<CompletedPart>,
) -> (Vec<CompletedPart>, u64) {
    let (mut kept, mut at) = (Vec::<CompletedPart>::new(), 0_u64);
    for part in listed {
        // Some stores list a part that was sent again twice.
        if kept.last().is_some_and(|last| *last == part) {
            continue;
        }
        let place = layout.part_at(at);
        let fits = |bytes| part.size > 0 && part.size <= bytes;
        let Some(place) = place.filter(|at| at.number == part.number && fits(at.bytes)) else {
            break;
        };
        at = at.saturating_add(part.size);
        let is_full = part.size == place.bytes;
        kept.push(part);
        if !is_full {
            break;
        }
    }
    (kept, at)
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "times of a test")]

    use super::*;
    use crate::limits::Limits;
    use crate::storage::PartNumber;

    const MIB: u64 = 1024 * 1024;

    impl UploadRecord {
        pub(in crate::session) fn for_tests() -> Self {
            Self {
                upload: Some(UploadId("up\"1".into())),
                location: Location {
                    bucket: Bucket::parse("b").unwrap(),
                    key: Key::parse("in/line\nbreak").unwrap(),
                },
                path: VirtualPath::parse("/in/line\nbreak").unwrap(),
                user: "ann".into(),
                login_name: "Ann".into(),
                session_id: "7f3a".into(),
                source_ip: "192.0.2.7".parse().unwrap(),
                nonce: Nonce::new().unwrap(),
                opened: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
                expires_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
                replace: false,
                exclusive: true,
                over: Some(OverBase {
                    etag: ETag("\"e-2\"".into()),
                    size: 9 * MIB,
                }),
                layout: PartLayout::of(&Limits::default()),
                stage: Stage::Keeping,
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let whole = UploadRecord::for_tests();
        let text = whole.text().unwrap();
        assert_eq!(UploadRecord::parse(&text), Ok(whole.clone()));
        let plain = UploadRecord {
            expires_at: None,
            over: None,
            stage: Stage::Open,
            ..whole.clone()
        };
        assert_eq!(UploadRecord::parse(&plain.text().unwrap()), Ok(plain));
        let without = UploadRecord {
            upload: None,
            ..whole
        };
        assert_eq!(without.text(), None);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let text = String::from_utf8(UploadRecord::for_tests().text().unwrap().to_vec()).unwrap();
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"bucket\": \"b\"", "\"bucket\": \"../b\""),
            ("\"stage\": \"keeping\"", "\"stage\": \"lost\""),
            ("{", ""),
        ] {
            assert!(text.contains(from), "{from}");
            let other = text.replacen(from, to, 1);
            assert!(UploadRecord::parse(other.as_bytes()).is_err(), "{to}");
        }
        assert!(UploadRecord::parse(b"").is_err());
    }

    fn part(number: u32, size: u64) -> CompletedPart {
        CompletedPart {
            number: PartNumber(number),
            etag: ETag("\"e\"".into()),
            checksum: None,
            size,
        }
    }

    #[test]
    fn parts_count_up_to_the_first_that_is_missing_or_does_not_join() {
        let layout = PartLayout::of_parts(40 * MIB, 8 * MIB);
        for (listed, parts, bytes) in [
            (vec![], 0, 0),
            (vec![part(2, 8 * MIB)], 0, 0),
            (
                vec![part(1, 8 * MIB), part(2, 8 * MIB), part(4, 8 * MIB)],
                2,
                16 * MIB,
            ),
            // One that is not full ends the object.
            (
                vec![part(1, 8 * MIB), part(2, 3), part(3, 8 * MIB)],
                2,
                8 * MIB + 3,
            ),
            (vec![part(1, 8 * MIB), part(2, 9 * MIB)], 1, 8 * MIB),
            (
                vec![part(1, 8 * MIB), part(1, 8 * MIB), part(2, 5)],
                2,
                8 * MIB + 5,
            ),
            (vec![part(1, 0)], 0, 0),
        ] {
            let told = format!("{listed:?}");
            let (kept, size) = in_sequence(&layout, listed);
            assert_eq!((kept.len(), size), (parts, bytes), "{told}");
        }
    }
}
