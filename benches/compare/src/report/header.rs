//! Where and with what the figures were taken.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::bench::Bench;

#[derive(Debug, Serialize)]
pub(crate) struct Header {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) cpu: String,
    pub(crate) processors: usize,
    pub(crate) gigahertz: f64,
    /// Whether cycles were counted, and locked instructions.
    pub(crate) counters: bool,
    pub(crate) counters_locked: bool,
    pub(crate) rustc: &'static str,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) versions: BTreeMap<&'static str, &'static str>,
}

impl Header {
    pub(crate) fn new(bench: &Bench) -> Self {
        Self {
            date: now(),
            machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            gigahertz: (bench.meter.gigahertz() * 100.0).round() / 100.0,
            counters: bench.meter.has_counters(),
            counters_locked: bench.meter.counts_locked(),
            rustc: env!("COMPARE_RUSTC"),
            rounds: bench.rounds,
            quick: bench.is_quick,
            versions: versions(LOCK),
        }
    }

    pub(crate) fn render(&self) -> String {
        let counters = match (self.counters, self.counters_locked) {
            (false, _) => "no counters: wall time, cycles estimated by a calibrated loop",
            (true, false) => "counters, but none for locked instructions",
            (true, true) => "counters",
        };
        format!(
            "{}, {}, {} processors at {:.2} GHz, {counters}\n{}, {}, {} rounds\n{}\n\n",
            self.machine,
            self.cpu,
            self.processors,
            self.gigahertz,
            self.date,
            self.rustc,
            self.rounds,
            listed(&self.versions),
        )
    }
}

const COMPARED: [&str; 17] = [
    "TinyUFO",
    "ahash",
    "arc-swap",
    "cached",
    "dashmap",
    "fibre_cache",
    "foyer",
    "hashbrown",
    "lru",
    "mini-moka",
    "moka",
    "nanotier",
    "nanotier-engine",
    "papaya",
    "parking_lot",
    "quick_cache",
    "scc",
];

/// The versions of what is compared, without the rest of the header.
pub(crate) fn versions_line() -> String {
    listed(&versions(LOCK))
}

fn listed(versions: &BTreeMap<&str, &str>) -> String {
    versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

const LOCK: &str = include_str!("../../Cargo.lock");

/// The versions of what is compared, the newest where there are several: that is the one that is compared.
fn versions(lock: &'static str) -> BTreeMap<&'static str, &'static str> {
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    let value = |line: &'static str, field| {
        line.strip_prefix(field)?.trim_start().strip_prefix('=')?.trim().strip_prefix('"')?.strip_suffix('"')
    };
    for package in lock.split("[[package]]").skip(1) {
        let field = |field| package.lines().find_map(|line| value(line, field));
        // A lock file has them in the order of their versions.
        if let Some((name, version)) = field("name").zip(field("version"))
            && COMPARED.contains(&name)
        {
            versions.insert(name, version);
        }
    }
    versions
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        (Some(name), ..) => name,
        _ => "unknown".to_owned(),
    }
}

/// The present time in UTC, as RFC 3339 has it.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date that is this many days after the first of January 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_453), (2025, 12, 31));
    }

    #[test]
    fn everything_that_is_compared_is_in_the_lock_file() {
        let versions = versions(LOCK);
        assert!(COMPARED.iter().all(|name| versions.contains_key(name)), "{versions:?}");
        assert_eq!(versions["quick_cache"], "0.7.0");
        assert_eq!(versions["hashbrown"], "0.17.1");
    }
}
