//! A cache's numbers as text for people.

use std::fmt;
use std::time::Duration;

use nanotier_tier::measure::{Latencies, TierMetrics};

use crate::metrics::Metrics;

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cache")?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        let (entries, capacity) = (grouped(self.entries), grouped(self.capacity));
        write!(f, "\n  memory   {entries} of {capacity} entries, {} of tables", bytes(self.memory_used))?;
        if self.counts {
            self.fmt_calls(f)?;
        } else {
            f.write_str("\n  nothing is counted: `Builder::stats(true)`")?;
        }
        self.tiers.iter().try_for_each(|tier| self.fmt_tier(f, tier))?;
        if self.counts { self.fmt_times(f) } else { Ok(()) }
    }
}

impl Metrics {
    fn fmt_calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hits, misses) = (self.memory.hits, self.memory.misses);
        write!(
            f,
            "\n  hits     {} of {} look-ups",
            share(hits, hits.saturating_add(misses)),
            grouped(hits.saturating_add(misses))
        )?;
        let left = [
            ("for room", self.memory.evictions),
            ("expired", self.memory.expirations),
            ("removed", self.memory.removals),
        ];
        fmt_counts(f, "left", &left)?;
        let calls = [
            ("stale", self.calls.stale),
            ("joined", self.calls.joined),
            ("computed", self.calls.computed),
            ("rejected", self.calls.rejected),
            ("failed", self.calls.failed),
            ("dropped", self.calls.dropped),
        ];
        fmt_counts(f, "calls", &calls)?;
        let behind = [("refreshed", self.calls.refreshed), ("in vain", self.calls.refreshed_in_vain)];
        fmt_counts(f, "behind", &behind)
    }

    fn fmt_tier(&self, f: &mut fmt::Formatter<'_>, tier: &TierMetrics) -> fmt::Result {
        write!(f, "\n  tier {}   {}", tier.at.0, tier.name)?;
        if let Some(guard) = &tier.guard {
            write!(f, ", breaker {}, {} at it, {} waiting", guard.breaker, guard.in_flight, guard.waiting)?;
        }
        if self.counts {
            let read = tier.reads.found + tier.reads.missed;
            write!(f, ", {} of {} reads found", share(tier.reads.found, read), grouped(read))?;
        }
        Ok(())
    }

    /// A table of how long things took.
    fn fmt_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![("loads".to_owned(), self.loads.failed, self.loads.took)];
        for tier in &self.tiers {
            rows.push((format!("tier {} reads", tier.at.0), tier.reads.failed, tier.reads.took));
            rows.push((format!("tier {} writes", tier.at.0), tier.writes.failed, tier.writes.took));
        }
        write!(f, "\n  {:<15}{:>11}{:>9}", "", "calls", "failed")?;
        for column in ["p50", "p90", "p99", "max"] {
            write!(f, "{column:>9}")?;
        }
        rows.into_iter().try_for_each(|(name, failed, took)| fmt_row(f, &name, failed, &took))
    }
}

/// A line of counts, without those that are zero. No line if all are.
fn fmt_counts(f: &mut fmt::Formatter<'_>, name: &str, counts: &[(&str, u64)]) -> fmt::Result {
    let counted: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{} {what}", grouped(*count)))
        .collect();
    if counted.is_empty() { Ok(()) } else { write!(f, "\n  {name:<7}  {}", counted.join(", ")) }
}

fn fmt_row(f: &mut fmt::Formatter<'_>, name: &str, failed: u64, took: &Latencies) -> fmt::Result {
    write!(f, "\n  {name:<15}{:>11}{:>9}", grouped(took.count), grouped(failed))?;
    for time in [took.p50, took.p90, took.p99, took.max] {
        let time = if took.count == 0 { "-".to_owned() } else { brief(time) };
        write!(f, "{time:>9}")?;
    }
    Ok(())
}

/// In percent; a dash of nothing.
fn share(part: u64, whole: u64) -> String {
    // What is lost beyond 2^53 does not show in a tenth of a percent.
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two or three digits, and a unit that lets them be.
fn brief(time: Duration) -> String {
    let ns = time.as_nanos();
    let (unit, in_unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => ("µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => ("ms", time.as_secs_f64() * 1e3),
        _ => ("s", time.as_secs_f64()),
    };
    if in_unit < 10.0 { format!("{in_unit:.1} {unit}") } else { format!("{in_unit:.0} {unit}") }
}

fn bytes(count: usize) -> String {
    let count = count as f64;
    let units = [("KiB", 1024.0), ("MiB", 1024.0 * 1024.0), ("GiB", 1024.0 * 1024.0 * 1024.0)];
    let (unit, size) = units.into_iter().rev().find(|(_, size)| count >= *size).unwrap_or(units[0]);
    format!("{:.1} {unit}", count / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_their_meaning() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let ns = [0, 999, 1_500, 45_000, 5_200_000, 62_000_000, 3_000_000_000, 4_400_000_000_000];
        let expected = ["0 ns", "999 ns", "1.5 µs", "45 µs", "5.2 ms", "62 ms", "3.0 s", "4400 s"];
        assert_eq!(ns.map(|ns| brief(Duration::from_nanos(ns))), expected);
        assert_eq!([0, 1024, 3_500_000].map(bytes), ["0.0 KiB", "1.0 KiB", "3.3 MiB"]);
        assert_eq!((share(0, 0), share(2, 3)), ("-".to_owned(), "66.7 %".to_owned()));
    }
}
