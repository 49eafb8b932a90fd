//! To the crate `metrics`, and by its exporters to Prometheus and others.

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, counter, gauge, histogram};
use nanotier_tier::{Breaker, Call, Event, Observer, Operation, Outcome};

use crate::metrics::Metrics;

/// An observer that counts calls and events with the crate [`metrics`], under the name of the cache. Clones count as one.
///
/// | name | kind | labels |
/// |---|---|---|
/// | `nanotier_calls_total` | counter | `cache`, `operation`, `outcome` |
/// | `nanotier_call_duration_seconds` | histogram | the same; only calls that memory did not answer alone |
/// | `nanotier_events_total` | counter | `cache`, `event`, `tier`, `at` |
/// | `nanotier_entries`, `nanotier_memory_bytes` | gauge | `cache`; by [`set_gauges`](Self::set_gauges) |
/// | `nanotier_breaker_open` | gauge, 0 or 1 | `cache`, `tier`, `at`; by [`set_gauges`](Self::set_gauges) |
///
/// Keys are never labels. Install the recorder first: a counter belongs to the recorder that there is when it is first
/// told of. A hit then costs the recorder's increment and about 10 ns.
///
/// ```
/// use nanotier::{Cache, bridges::ToMetrics};
///
/// let bridge = ToMetrics::new("users");
/// let users: Cache<u64, u64> = Cache::builder().observer(bridge.clone()).build()?;
/// users.insert(1, 1815).wait()?;
/// bridge.set_gauges(&users.metrics()); // every ten seconds, say
/// # Ok::<(), nanotier::Error>(())
/// ```
#[derive(Clone)]
pub struct ToMetrics(Arc<Inner>);

struct Inner {
    cache: String,
    /// By operation, then by outcome.
    calls: Vec<[OnceLock<Counter>; Outcome::ALL.len()]>,
}

impl ToMetrics {
    /// With the cache's name as the label `cache`.
    #[must_use]
    pub fn new(cache: impl Into<String>) -> Self {
        let calls = Operation::ALL.iter().map(|_| [const { OnceLock::new() }; Outcome::ALL.len()]).collect();
        Self(Arc::new(Inner { cache: cache.into(), calls }))
    }

    /// Sets the gauges to what [`Cache::metrics`](crate::Cache::metrics) says. Nobody does it by itself: call it as often as
    /// you scrape.
    pub fn set_gauges(&self, metrics: &Metrics) {
        let cache = &self.0.cache;
        // A gauge is a float; what is lost beyond 2^53 nobody misses.
        gauge!("nanotier_entries", "cache" => cache.clone()).set(metrics.entries as f64);
        gauge!("nanotier_memory_bytes", "cache" => cache.clone()).set(metrics.memory_used as f64);
        for tier in &metrics.tiers {
            let Some(guard) = &tier.guard else { continue };
            let at = tier.at.0.to_string();
            gauge!("nanotier_breaker_open", "cache" => cache.clone(), "tier" => tier.name, "at" => at)
                .set(f64::from(u8::from(guard.breaker == Breaker::Open)));
        }
    }

    fn counter_of(&self, call: &Call<'_>) -> Counter {
        counter!(
            "nanotier_calls_total",
            "cache" => self.0.cache.clone(), "operation" => call.operation.name(), "outcome" => call.outcome.name()
        )
    }
}

impl Observer for ToMetrics {
    fn call(&self, call: &Call<'_>) {
        let known = Operation::ALL.iter().position(|operation| *operation == call.operation);
        match known {
            Some(nth) => {
                self.0.calls[nth][call.outcome as usize].get_or_init(|| self.counter_of(call)).increment(1);
            }
            None => self.counter_of(call).increment(1),
        }
        if let Some(duration) = call.duration {
            histogram!(
                "nanotier_call_duration_seconds",
                "cache" => self.0.cache.clone(), "operation" => call.operation.name(), "outcome" => call.outcome.name()
            )
            .record(duration);
        }
    }

    fn event(&self, event: &Event) {
        let (tier, at) = event.tier().map_or(("", String::new()), |(tier, at)| (tier, at.0.to_string()));
        counter!(
            "nanotier_events_total",
            "cache" => self.0.cache.clone(), "event" => event.name(), "tier" => tier, "at" => at
        )
        .increment(1);
    }
}

impl fmt::Debug for ToMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToMetrics").field(&self.0.cache).finish()
    }
}
