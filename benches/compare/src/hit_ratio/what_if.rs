//! How near the truth nanotier's advice is: what `what_if` says after a trace, next to what replays at those capacities say.

use std::collections::HashMap;

use nanotier_engine::{Engine, Options, Plain, Policy};

use super::trace::{Trace, key};
use crate::bench::Progress;

/// How far off each point was: what was said, less what is true.
#[derive(Debug)]
pub(crate) struct Advice {
    trace: String,
    policy: &'static str,
    capacity: u64,
    sampled: u64,
    /// By the factor, from the smallest on.
    off: Vec<(f64, f64)>,
}

/// One for each policy and capacity.
pub(crate) fn judge(trace: &Trace, progress: &Progress) -> Vec<Advice> {
    let capacities = trace.capacities();
    let mut advice = Vec::new();
    for (nth, (name, policy)) in POLICIES.into_iter().enumerate() {
        // Eight times one capacity is often another's double.
        let mut truth = HashMap::new();
        for &capacity in &capacities {
            progress.step(&trace.name, "policy", nth + 1, POLICIES.len());
            let watched = engine(capacity as u64, policy, true);
            replay(trace, &watched);
            let Some(what_if) = watched.what_if() else { continue };
            let mut off = |point: &nanotier_engine::WhatIfPoint| {
                let replayed = || replay(trace, &engine(point.capacity, policy, false));
                (point.factor, point.hit_ratio - *truth.entry(point.capacity).or_insert_with(replayed))
            };
            let off = what_if.points().iter().map(&mut off).collect();
            let (trace, capacity, sampled) = (trace.name.clone(), capacity as u64, what_if.sampled());
            advice.push(Advice { trace, policy: name, capacity, sampled, off });
        }
    }
    advice
}

fn engine(capacity: u64, policy: Policy, what_if: bool) -> Engine<u64, u64> {
    let options = Options::new(capacity).policy(policy).what_if(what_if);
    Engine::with(options, Plain).expect("a capacity and a policy go together")
}

/// The hit ratio from an empty cache on.
fn replay(trace: &Trace, engine: &Engine<u64, u64>) -> f64 {
    let mut hits = 0_u64;
    for &id in trace.ids() {
        let key = key(id);
        if engine.get(&key).is_some() {
            hits += 1;
        } else {
            engine.insert(key, key);
        }
    }
    hits as f64 / trace.requests() as f64
}

/// A line for each, in points of the hit ratio.
pub(crate) fn table(advice: &[Advice]) -> String {
    let mut lines = vec![format!(
        "{:<16} {:<9} {:>9} {:>9}   said less true, in points, at",
        "trace", "policy", "capacity", "sampled"
    )];
    for Advice { trace, policy, capacity, sampled, off } in advice {
        let off: Vec<_> = off.iter().map(|(factor, off)| format!("{factor}x {:+.1}", off * 100.0)).collect();
        lines.push(format!("{trace:<16} {policy:<9} {capacity:>9} {sampled:>9}   {}", off.join("  ")));
    }
    lines.join("\n") + "\n"
}

/// Of all traces: for each policy the mean, the 95th of a hundred and the greatest error, and where that was.
pub(crate) fn summary(advice: &[Advice]) -> String {
    let mut lines = vec![format!(
        "{:<9} {:>6} {:>6} {:>6} {:>6} {:>9}",
        "policy", "points", "mean", "p95", "most", "within 2"
    )];
    for (name, _) in POLICIES {
        let own = advice.iter().filter(|advice| advice.policy == name);
        let mut errors: Vec<_> = own
            .flat_map(|advice| {
                advice.off.iter().map(move |(factor, off)| (off.abs() * 100.0, advice, factor))
            })
            .collect();
        errors.sort_by(|one, other| one.0.total_cmp(&other.0));
        let Some(&(most, at, factor)) = errors.last() else { continue };
        let count = errors.len();
        let mean = errors.iter().map(|(error, ..)| error).sum::<f64>() / count as f64;
        let within = errors.iter().filter(|(error, ..)| *error <= 2.0).count() as f64 / count as f64;
        lines.push(format!(
            "{name:<9} {count:>6} {mean:>6.2} {:>6.2} {most:>6.2} {:>8.1}%   the most: {} at {factor} times {}",
            errors[count * 95 / 100].0,
            within * 100.0,
            at.trace,
            at.capacity,
        ));
    }
    lines.join("\n") + "\n"
}

const POLICIES: [(&str, Policy); 3] =
    [("clock", Policy::Clock), ("lru", Policy::Lru), ("adaptive", Policy::Adaptive)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_has_an_error_for_each_factor_and_is_told() {
        let trace = Trace::new("t", (0..40_000_u32).map(|place| place * place % 1009)).unwrap();
        let advice = judge(&trace, &Progress::new());
        assert_eq!(advice.len(), POLICIES.len() * trace.capacities().len());
        assert!(advice.iter().all(|advice| advice.off.len() == 6));
        assert_eq!(table(&advice).lines().count(), 1 + advice.len());
        let summary = summary(&advice);
        assert!(summary.lines().count() == 1 + POLICIES.len() && summary.contains("t at"), "{summary}");
    }
}
