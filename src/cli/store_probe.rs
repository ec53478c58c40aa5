//! `check-config --probe`: the configured store is tried out, and its answers are put into words.

use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{Failure, output, signals};
use crate::causes::NO_TLS;
use crate::clock::SystemClock;
use crate::compose::stores;
use crate::config;
use crate::metrics::Metrics;
use crate::storage::probe::{Finding, Probe, Subject};
use crate::storage::retry::{Retries, Retrying};
use crate::storage::s3::S3Store;
use crate::storage::{
    Bucket, Capabilities, ObjectStore as _, SharedStore, StorageError, StorageErrorKind,
};

/// A bucket, and a prefix in it without slashes at its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    bucket: Bucket,
    prefix: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://");
        let rest = rest.ok_or("allowed: for example s3://my-bucket/tmp")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = Bucket::parse(bucket).map_err(|error| error.to_string())?;
        let prefix = prefix.trim_matches('/').to_owned();
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(format!(
                "allowed: a prefix of up to {PREFIX_BYTES_MAX} bytes"
            ));
        }
        Ok(Self { bucket, prefix })
    }
}

impl Place {
    pub(super) const fn bucket(&self) -> &Bucket {
        &self.bucket
    }
}

/// Names the settings of the store's own section.
fn named(text: &str, section: &str) -> String {
    text.replace("[storage]", &format!("[{section}]"))
        .replace(" storage.", &format!(" {section}."))
}

/// Tries the store out and prints what was found.
///
/// # Errors
/// The store cannot be used, or does less than the configuration claims.
pub(super) fn run(section: &str, storage: &config::Storage, place: &Place) -> Result<(), Failure> {
    signals::run(|stop| async move {
        let probed = probe(section, storage, place, stop).await;
        probed.map_err(|error| anyhow::anyhow!(named(&format!("{error:#}"), section)))
    })
}

async fn probe(
    section: &str,
    storage: &config::Storage,
    place: &Place,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let store = S3Store::connect(stores::settings(storage)).await;
    let store = store.context("[storage] cannot be used")?;
    let Place { bucket, prefix } = place;
    let store = in_its_region(store, bucket, storage).await?;
    let folder = folder(prefix)?;
    output::print(&format!("probing s3://{bucket}/{folder}\n"));
    if let Some(kind) = kind_of(bucket) {
        output::print(&format!("s3://{bucket} is {kind}\n"));
    }
    let unchecked = Capabilities {
        checksums: false,
        is_truncated: false,
        ..Capabilities::all()
    };
    let probe = Probe::new(
        repeated(storage, store.with_capabilities(unchecked)),
        repeated(storage, store.with_capabilities(Capabilities::all())),
        bucket.clone(),
        folder.clone(),
    );
    let found = tokio::select! {
        found = report(&probe, storage.capabilities, section) => found,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = probe.clean().await;
    let faults = match (found, cleaned) {
        (Ok(faults), Ok(())) => faults,
        // Where nothing could be written, nothing is left; the first failure says why.
        (Err(error), Ok(()) | Err(_)) => return Err(error),
        (Ok(_), Err(error)) => bail!("test objects remain in s3://{bucket}/{folder}: {error}"),
    };
    report_lifecycle(&store, place).await;
    faults.conclude()
}

/// Says what its name tells of a bucket, and what to expect of it.
fn kind_of(bucket: &Bucket) -> Option<&'static str> {
    let ends = |suffix| bucket.as_str().ends_with(suffix);
    match () {
        () if ends("--x-s3") => Some(
            "a directory bucket: its listings have no order, and its ETags are not digests. The \
             gateway renames there by copy and delete, not by RenameObject",
        ),
        () if ends("-ext-s3alias") => Some(
            "an access point of a file system (FSx): it does not support renames, nor uploads \
             over 5 GB. With storage.object_bytes_max = 5000000000 a larger upload fails as soon \
             as it is too large, not at its end",
        ),
        () if ends("-s3alias") => Some(
            "an access point: its own policy must allow what the role does, and a rename reads \
             and writes through it",
        ),
        () => None,
    }
}

fn repeated(storage: &config::Storage, store: S3Store) -> SharedStore {
    let observer = Arc::new(Metrics::default());
    let retries = Retries::new(storage.retries.clone(), Arc::new(SystemClock), observer);
    Arc::new(Retrying::new(Arc::new(store), retries))
}

/// Returns the store that asks where the bucket is. With AWS's own endpoints the gateway finds
/// that out by itself; another endpoint has one region.
async fn in_its_region(
    store: S3Store,
    bucket: &Bucket,
    storage: &config::Storage,
) -> anyhow::Result<S3Store> {
    let configured = &storage.region;
    let Err(mut error) = store.check_bucket(bucket).await else {
        return Ok(store);
    };
    let Some(named) = error.elsewhere.take() else {
        // What is plain is not tried again, and no other failure takes its place.
        match plainly(&error, storage.endpoint.as_deref(), bucket) {
            Some(why) => bail!("the store cannot be used: {why}"),
            None => return Ok(store),
        }
    };
    if !store.follows_regions() {
        let remedy = match &*named {
            "" => "the one of storage.endpoint".to_owned(),
            named => format!("\"{named}\""),
        };
        bail!(
            "the bucket is not in storage.region = \"{configured}\", and with storage.endpoint no \
             other region is used; set storage.region = {remedy}"
        );
    }
    let region = match &*named {
        "" => store.bucket_region(bucket).await.ok().flatten(),
        _ => Some(named),
    };
    let Some(region) = region else {
        return Ok(store);
    };
    output::print(&format!(
        "the bucket is in region {region}: the gateway uses it, although storage.region is \
         {configured}\n"
    ));
    Ok(store.within_region(&region))
}

/// What makes a configuration unfit for its store.
#[derive(Debug, Default)]
struct Faults {
    /// Settings that claim too much, as they should be.
    settings: Vec<String>,
    /// What the gateway has no other way for.
    missing: Vec<&'static str>,
}

impl Faults {
    fn note(&mut self, subject: Subject, finding: &Finding, declared: Option<bool>) {
        match (finding, declared) {
            (Finding::Honoured | Finding::Unclear(_), _) | (_, Some(false)) => {}
            (Finding::Ignored | Finding::Refused(_), Some(true)) => {
                let setting = setting(subject).map(|setting| format!("{setting} = false"));
                self.settings.extend(setting);
            }
            (Finding::Ignored, None) if is_needed(subject) => self.missing.push(name(subject)),
            // What is refused fails, and is noticed.
            (Finding::Ignored | Finding::Refused(_), None) => {}
        }
    }

    fn conclude(&self) -> anyhow::Result<()> {
        let settings = self.settings.join(", ");
        let missing = self.missing.join(", ");
        match (self.settings.is_empty(), self.missing.is_empty()) {
            (true, true) => {
                output::print("ok: the store supports everything this configuration relies on\n");
                Ok(())
            }
            (false, true) => bail!("{CLAIMS_TOO_MUCH}: {settings}"),
            (true, false) => bail!("{NOT_SAFE}: {missing}"),
            (false, false) => bail!("{CLAIMS_TOO_MUCH}: {settings}; {NOT_SAFE}: {missing}"),
        }
    }
}

/// Prints every finding.
async fn report(probe: &Probe, configured: Capabilities, section: &str) -> anyhow::Result<Faults> {
    let reached = probe.reach().await;
    reached.map_err(|error| anyhow::anyhow!("the store cannot be used: {error}"))?;
    let mut faults = Faults::default();
    for subject in Subject::ALL {
        let finding = probe.find(subject).await;
        let declared = subject.declared(configured);
        output::print(&named(&words(subject, &finding, declared), section));
        faults.note(subject, &finding, declared);
    }
    Ok(faults)
}

/// Says why a store cannot be used, and what to change; `None`: only the store's own words tell.
fn plainly(error: &StorageError, endpoint: Option<&str>, bucket: &Bucket) -> Option<String> {
    let says = |words: &str| error.detail.contains(words);
    let place = endpoint.unwrap_or("AWS's endpoint");
    if says("no credentials found") || says("no providers in chain provided credentials") {
        return Some(NO_CREDENTIALS.to_owned());
    }
    if says(NO_TLS) {
        let plain = place.replacen("https://", "http://", 1);
        return Some(format!(
            "{place}: the server does not use TLS; did you mean storage.endpoint = \"{plain}\"?"
        ));
    }
    if says("invalid peer certificate") {
        return Some(format!(
            "{place}: the server's certificate is not trusted; set storage.ca_file to the \
             certificate of its authority"
        ));
    }
    if says("Connection refused") {
        return Some(format!(
            "{place}: connection refused; check storage.endpoint"
        ));
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others have words of the store"
    )]
    match error.kind {
        StorageErrorKind::Denied => Some(format!(
            "bucket {bucket}: access denied; check the access key, and allow s3:ListBucket, \
             s3:GetObject, s3:PutObject and s3:DeleteObject there"
        )),
        StorageErrorKind::NoSuchBucket => Some(format!(
            "bucket {bucket} does not exist at {place}; check its name and storage.endpoint"
        )),
        _ => None,
    }
}

/// What the AWS chain of credentials was looked through in vain for.
pub(super) const NO_CREDENTIALS: &str = "no AWS credentials found: set storage.access_key_id and \
    storage.secret_access_key, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where there is a \
    role";

fn words(subject: Subject, finding: &Finding, declared: Option<bool>) -> String {
    let name = name(subject);
    let (outcome, cause) = match finding {
        Finding::Honoured => ("honoured", None),
        Finding::Ignored => ("not honoured", None),
        Finding::Refused(detail) => ("refused", Some(detail)),
        Finding::Unclear(detail) => ("unclear", Some(detail)),
    };
    let mut text = format!("{name}: {outcome}\n");
    let mut more = |line: &str| {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    };
    if let Some(cause) = cause {
        more(&format!("the store answered: {cause}"));
    }
    let honoured = *finding == Finding::Honoured;
    if !honoured {
        more(&format!("without it: {}", without(subject)));
    }
    let clear = !matches!(finding, Finding::Unclear(_));
    match (setting(subject), declared) {
        (Some(setting), Some(declared)) if clear && declared != honoured => {
            more(&format!("set {setting} = {honoured} under [storage]"));
        }
        (Some(_) | None, _) => {}
    }
    text
}

const fn name(subject: Subject) -> &'static str {
    match subject {
        Subject::ConditionalPut => "conditions on PutObject",
        Subject::ConditionalComplete => "conditions on CompleteMultipartUpload",
        Subject::Copy => "CopyObject",
        Subject::ConditionalCopy => "conditions on CopyObject",
        Subject::ConditionalDelete => "conditions on DeleteObject",
        Subject::Checksums => "CRC-64/NVME checksums",
        Subject::PinnedRead => "GetObject of one version (If-Match)",
        Subject::PinnedCopy => "CopyObject of one version (x-amz-copy-source-if-match)",
        Subject::RangeCopy => "UploadPartCopy of a range",
        Subject::ByteOrder => "listings in byte order",
        Subject::IsTruncated => "IsTruncated on the last page of a listing",
    }
}

const fn setting(subject: Subject) -> Option<&'static str> {
    match subject {
        Subject::ConditionalPut => Some("conditional_put"),
        Subject::ConditionalComplete => Some("conditional_complete"),
        Subject::ConditionalCopy => Some("conditional_copy"),
        Subject::ConditionalDelete => Some("conditional_delete"),
        Subject::Checksums => Some("checksums"),
        Subject::IsTruncated => Some("is_truncated"),
        Subject::Copy
        | Subject::PinnedRead
        | Subject::PinnedCopy
        | Subject::RangeCopy
        | Subject::ByteOrder => None,
    }
}

/// Says whether files could be wrong, unnoticed, on a store that does not do this.
const fn is_needed(subject: Subject) -> bool {
    match subject {
        Subject::PinnedRead | Subject::PinnedCopy => true,
        Subject::ConditionalPut
        | Subject::ConditionalComplete
        | Subject::Copy
        | Subject::ConditionalCopy
        | Subject::ConditionalDelete
        | Subject::Checksums
        | Subject::RangeCopy
        | Subject::ByteOrder
        | Subject::IsTruncated => false,
    }
}

/// Says what the gateway does where the store does not do this.
const fn without(subject: Subject) -> &'static str {
    match subject {
        Subject::ConditionalPut => {
            "exclusive creation only checks beforehand, so two clients at the same moment can \
             both succeed; a small file that changed since OPEN is overwritten"
        }
        Subject::ConditionalComplete => {
            "the same for files of more than one part: the last CLOSE wins silently"
        }
        Subject::Copy => {
            "renames fail: clients that upload under a temporary name and then rename the file \
             leave it under the temporary name, unless they are set to write in place"
        }
        Subject::ConditionalCopy => {
            "a rename only checks beforehand that its target is free, so a file that appears at \
             that moment is replaced"
        }
        Subject::ConditionalDelete => {
            "a rename may remove a source that changed between the copy and the removal"
        }
        Subject::Checksums => "damage of bytes on their way to the store is not detected",
        Subject::PinnedRead => {
            "a file that is replaced during a download may arrive as a mixture of both versions"
        }
        Subject::PinnedCopy => "a rename may copy a newer version than the one it checked",
        Subject::RangeCopy => {
            "writing over the beginning of a large file, and renaming files of more than 5 GiB, fails"
        }
        Subject::ByteOrder => {
            "directories are listed in the store's order, and a file and a directory of one name \
             may both be shown"
        }
        Subject::IsTruncated => {
            "a listing that was cut off before its last page is taken for complete"
        }
    }
}

async fn report_lifecycle(store: &S3Store, place: &Place) {
    let prefix = match &*place.prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let line = match store.aborts_uploads_after(&place.bucket, &prefix).await {
        Ok(Some(days)) => format!("after {days} days"),
        Ok(None) => "never\n    add a lifecycle rule with AbortIncompleteMultipartUpload to the \
                     bucket: until then you pay for a multipart upload that the gateway does not \
                     know"
            .to_owned(),
        Err(cause) => format!("unclear\n    the bucket's rules cannot be read: {cause}"),
    };
    output::print(&format!(
        "unfinished multipart uploads are removed by the bucket: {line}\n"
    ));
}

/// Returns a folder that nobody else uses.
fn folder(prefix: &str) -> anyhow::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
    let slash = if prefix.is_empty() { "" } else { "/" };
    let random = u64::from_ne_bytes(random);
    Ok(format!("{prefix}{slash}.portcullis-probe-{random:016x}/"))
}

const CLAIMS_TOO_MUCH: &str =
    "the configuration relies on what the store does not support; set under [storage]";
const NOT_SAFE: &str = "files may be wrong on this store, which lacks";

/// Leaves room in a key for the names of the probe's own objects.
const PREFIX_BYTES_MAX: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_perhaps_a_prefix() {
        let place = |text: &str| {
            let place = text.parse::<Place>().ok()?;
            Some(format!("{} {}", place.bucket, place.prefix))
        };
        assert_eq!(place("s3://b").as_deref(), Some("b "));
        assert_eq!(place("s3://b/").as_deref(), Some("b "));
        assert_eq!(place("s3://b/a/c/").as_deref(), Some("b a/c"));
        for bad in ["", "b/a", "s3://", "s3:///a", "https://b/a"] {
            assert_eq!(place(bad), None, "{bad}");
        }
        assert_eq!(place(&format!("s3://b/{}", "p".repeat(901))), None);
    }

    #[test]
    fn the_name_of_a_place_tells_what_it_is() {
        let kind = |name: &str| kind_of(&Bucket::parse(name).unwrap()).unwrap_or_default();
        assert!(kind("logs--use1-az4--x-s3").starts_with("a directory bucket"));
        assert!(kind("my-ap-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias").contains("policy"));
        assert!(kind("my-fsx-ap-foo7detztxouyjpwtu8krroppxytruse1a-ext-s3alias").contains("FSx"));
        assert_eq!(kind("inbox"), "");
    }

    #[test]
    fn what_differs_from_the_configuration_names_its_setting() {
        let copy = |finding: Finding, declared| {
            let text = words(Subject::ConditionalCopy, &finding, Some(declared));
            let set = text.lines().find(|line| line.starts_with("    set "));
            set.map(str::to_owned)
        };
        let set = |value| {
            Some(format!(
                "    set conditional_copy = {value} under [storage]"
            ))
        };
        assert_eq!(copy(Finding::Honoured, true), None);
        assert_eq!(copy(Finding::Ignored, true), set(false));
        assert_eq!(copy(Finding::Refused("501".into()), true), set(false));
        assert_eq!(copy(Finding::Ignored, false), None);
        assert_eq!(copy(Finding::Honoured, false), set(true));
        assert_eq!(copy(Finding::Unclear("x".into()), true), None);
    }

    #[test]
    fn a_store_that_mixes_versions_is_a_fault_whatever_is_configured() {
        let conclusion = |subject, finding, declared| {
            let mut faults = Faults::default();
            faults.note(subject, &finding, declared);
            faults.conclude().map_err(|error| error.to_string())
        };
        let mixed = conclusion(Subject::PinnedRead, Finding::Ignored, None).unwrap_err();
        assert!(mixed.contains("GetObject of one version"), "{mixed}");
        let claimed = conclusion(Subject::Checksums, Finding::Ignored, Some(true)).unwrap_err();
        assert!(
            claimed.ends_with("[storage]: checksums = false"),
            "{claimed}"
        );
        assert!(conclusion(Subject::Checksums, Finding::Ignored, Some(false)).is_ok());
        assert!(conclusion(Subject::ByteOrder, Finding::Ignored, None).is_ok());
        let unclear = Finding::Unclear("403".into());
        assert!(conclusion(Subject::PinnedRead, unclear, None).is_ok());
    }
}
