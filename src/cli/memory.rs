//! Whether the memory that the process may have carries what its configuration allows it to take,
//! and what the kernel takes beside it.

use std::fs;

use crate::limits::{CONNECTION_BYTES, CONNECTION_KERNEL_BYTES, Limits, PROCESS_BYTES};

/// The least limit of the control groups that the process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    /// The file that says so.
    file: String,
}

impl Limit {
    /// Reads it; `None` where there is no limit, or none that can be read. `root` is empty, except
    /// in tests.
    pub(super) fn read(root: &str) -> Option<Self> {
        let groups = fs::read_to_string(format!("{root}/proc/self/cgroup")).ok()?;
        let files = groups.lines().flat_map(files);
        let limits = files.filter_map(|file| {
            // Version 2 says `max` where there is none, version 1 a number beyond all memory.
            let text = fs::read_to_string(format!("{root}{file}")).ok()?;
            let bytes = text.trim().parse().ok()?;
            Some(Self { bytes, file })
        });
        limits.min_by_key(|limit| limit.bytes)
    }

    /// Says what is wrong where less memory is there than the settings allow to take.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), String> {
        if self.bytes >= limits.process_bytes_max() {
            return Ok(());
        }
        let (found, file) = (mib(self.bytes), &self.file);
        Err(format!(
            "memory: found a limit of {found} ({file}); allowed: {}. Raise the limit, or lower \
            limits.connections_max or one of the limits.*_memory_bytes_max",
            sum(limits)
        ))
    }
}

/// Says what the process may take, and for what.
pub(super) fn sum(limits: &Limits) -> String {
    format!(
        "at least {}: {} for uploads, {} for read-ahead, {} for sessions, {} connections of {} \
         KiB and {} KiB in the kernel, and {} for the rest",
        mib(limits.process_bytes_max()),
        mib(limits.upload_memory_bytes_max),
        mib(limits.download_memory_bytes_max),
        mib(limits.session_memory_bytes_max),
        limits.connections_max,
        CONNECTION_BYTES / 1024,
        CONNECTION_KERNEL_BYTES / 1024,
        mib(PROCESS_BYTES),
    )
}

/// The most that the kernel receives for one connection that nobody reads from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReceiveBuffer {
    bytes_max: u64,
}

impl ReceiveBuffer {
    /// Reads it; `None` where the kernel does not say. `root` is empty, except in tests.
    pub(super) fn read(root: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("{root}/proc/sys/net/ipv4/tcp_rmem")).ok()?;
        // The least, the first and the largest size.
        let bytes_max = text.split_whitespace().nth(2)?.parse().ok()?;
        Some(Self { bytes_max })
    }

    /// Says what it takes beside the sum, and how fast an upload can be with it.
    pub(super) fn describe(&self) -> String {
        // Half of it is for the kernel's own records.
        let in_flight = self.bytes_max / 2;
        format!(
            "up to {} for a client that sends faster than S3 accepts, in addition to the sum \
             above; {} of an upload in flight, {}/s over a line with 100 ms (net.ipv4.tcp_rmem)",
            mib(self.bytes_max),
            mib(in_flight),
            mib(in_flight.saturating_mul(10)),
        )
    }
}

/// Names the files that may limit what one line of `/proc/self/cgroup` is about: of the group, and
/// of those that it is in. In a container the group's own path may be the machine's, and lead
/// nowhere; the container's group is the outermost one there.
fn files(line: &str) -> Vec<String> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (mount, name) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|one| one == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let mut path = path.trim_end_matches('/');
    let mut files = Vec::new();
    loop {
        files.push(format!("{mount}{path}/{name}"));
        match path.rsplit_once('/') {
            Some((outer, _)) => path = outer,
            None => return files,
        }
    }
}

/// Writes a size in whole MiB, upwards.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn read(files: &[(&str, &str)]) -> Option<(u64, String)> {
        let root = machine(files);
        let limit = Limit::read(&root.path().display().to_string());
        limit.map(|limit| (limit.bytes, limit.file))
    }

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let two = [
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/memory.max", "1000\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "max\n"),
        ];
        let file = "/sys/fs/cgroup/pods/memory.max".to_owned();
        assert_eq!(read(&two), Some((1_000, file)));
        let one = [
            (
                "proc/self/cgroup",
                "5:cpu:/a\n4:hugetlb,memory:/elsewhere/one\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "700\n"),
        ];
        let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
        assert_eq!(read(&one), Some((700, file)));
    }

    #[test]
    fn where_there_is_no_limit_nothing_is_said() {
        let none = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ];
        assert_eq!(read(&none), None);
        assert_eq!(read(&[("proc/self/cgroup", "odd\n")]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn what_the_kernel_receives_is_read_and_told() {
        let of = |text| {
            let root = machine(&[("proc/sys/net/ipv4/tcp_rmem", text)]);
            ReceiveBuffer::read(&root.path().display().to_string())
        };
        let usual = of("4096\t131072\t6291456\n").unwrap();
        for words in ["up to 6 MiB for a client", "3 MiB of an upload", "30 MiB/s"] {
            assert!(usual.describe().contains(words), "{}", usual.describe());
        }
        assert_eq!(of("4096 131072\n"), None);
        assert_eq!(of("4096 131072 much\n"), None);
        let nothing = machine(&[]);
        assert_eq!(
            ReceiveBuffer::read(&nothing.path().display().to_string()),
            None
        );
    }

    #[test]
    fn a_limit_that_is_too_small_is_refused_with_the_sum() {
        let limits = Limits::default();
        let enough = limits.process_bytes_max();
        let file = || "/f".to_owned();
        let limit = |bytes| {
            Limit {
                bytes,
                file: file(),
            }
            .check(&limits)
        };
        assert!(limit(enough).is_ok());
        let text = limit(enough - 1).unwrap_err();
        for word in [
            "(/f)",
            "192 MiB for uploads",
            "2000 connections of",
            "connections_max",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }
}
