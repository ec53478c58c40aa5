//! The process itself, under the names that every Prometheus client library has.

use std::fs;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::registrar::Registrar;

type Float = Gauge<f64, std::sync::atomic::AtomicU64>;
type FloatCounter = Counter<f64, std::sync::atomic::AtomicU64>;

#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: FloatCounter,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start_time: Float,
}

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    threads: i64,
    start_since_boot_seconds: f64,
}

impl Process {
    pub(super) fn new(all: &mut Registrar) -> Self {
        let (seconds, bytes) = (Some(Unit::Seconds), Some(Unit::Bytes));
        let process = Self {
            cpu_seconds: FloatCounter::default(),
            resident: Gauge::default(),
            virtual_memory: Gauge::default(),
            open_fds: Gauge::default(),
            max_fds: Gauge::default(),
            threads: Gauge::default(),
            start_time: Float::default(),
        };
        all.process(
            "cpu",
            seconds.clone(),
            "counter",
            "Processor time used",
            process.cpu_seconds.clone(),
        );
        for (name, help, gauge) in [
            ("resident_memory", "Memory in use", &process.resident),
            (
                "virtual_memory",
                "Virtual memory in use",
                &process.virtual_memory,
            ),
        ] {
            all.process(name, bytes.clone(), "gauge", help, gauge.clone());
        }
        for (name, help, gauge) in [
            ("open_fds", "Open file descriptors", &process.open_fds),
            (
                "max_fds",
                "Limit of open file descriptors",
                &process.max_fds,
            ),
            ("threads", "Threads", &process.threads),
        ] {
            all.process(name, None, "gauge", help, gauge.clone());
        }
        all.process(
            "start_time",
            seconds,
            "gauge",
            "Start time of the process, in seconds since 1970",
            process.start_time.clone(),
        );
        process
    }

    /// Reads what the kernel says; where it says nothing, the figures stay.
    pub(super) fn observe(&self) {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        if let Some(reading) = Reading::of(&read("/proc/self/stat"), &read("/proc/self/status")) {
            let before = self.cpu_seconds.get();
            let _ = self
                .cpu_seconds
                .inc_by((reading.cpu_seconds - before).max(0.0));
            let _ = self.resident.set(reading.resident_bytes);
            let _ = self.virtual_memory.set(reading.virtual_bytes);
            let _ = self.threads.set(reading.threads);
            if let Some(boot) = boot_time(&read("/proc/stat")) {
                let _ = self.start_time.set(boot + reading.start_since_boot_seconds);
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The one that lists them is there only meanwhile.
            let open = open.count().saturating_sub(1);
            let _ = self.open_fds.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        if let Some(most) = max_fds(&read("/proc/self/limits")) {
            let _ = self.max_fds.set(most);
        }
    }
}

impl Reading {
    /// Reads `/proc/PID/stat` and `/proc/PID/status` (proc(5)); the name in the first may have
    /// blanks and brackets, and its memory counts in pages, whose size differs.
    fn of(stat: &str, status: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first one here is the third of the manual page.
        let field = |number: usize| fields.get(number.checked_sub(3)?);
        let seconds = |number| Some(field(number)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: i64 = line.split_ascii_whitespace().next()?.parse().ok()?;
            Some(kib.saturating_mul(1024))
        };
        Some(Self {
            cpu_seconds: seconds(14)? + seconds(15)?,
            threads: field(20)?.parse().ok()?,
            start_since_boot_seconds: seconds(22)?,
            virtual_bytes: bytes("VmSize:")?,
            resident_bytes: bytes("VmRSS:")?,
        })
    }
}

/// Reads from `/proc/stat` when the machine started, in seconds since 1970.
fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// Reads from `/proc/self/limits` how many file descriptors may be open.
fn max_fds(limits: &str) -> Option<i64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What the kernel counts processor time in, for programs, on every machine that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_where_the_manual_page_says() {
        let stat = "42 (a ) name) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 700 40960 10 99";
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmSize:\t   40 kB\nVmRSS:\t      10 kB\n";
        let expected = Reading {
            cpu_seconds: 3.0,
            resident_bytes: 10_240,
            virtual_bytes: 40_960,
            threads: 9,
            start_since_boot_seconds: 7.0,
        };
        assert_eq!(Reading::of(stat, status), Some(expected));
        assert_eq!(Reading::of("42 (short) S", status), None);
        assert_eq!(Reading::of(stat, ""), None);
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1.7e9));
        let limits =
            "Limit  Soft  Hard\nMax open files            1024                 4096  files\n";
        assert_eq!(max_fds(limits), Some(1024));
    }
}
