//! To the crate `tracing`.

use std::sync::Arc;

use nanotier_tier::{Call, Event, Observer, Outcome};
use tracing::{Level, enabled, event};

/// An observer that logs calls and events with the crate [`tracing`], target `nanotier`, inside the span of the caller.
///
/// | what | level |
/// |---|---|
/// | a call answered by memory | TRACE |
/// | any other call | DEBUG |
/// | a call that failed or was refused | WARN |
/// | a breaker that closes or is half-open | INFO |
/// | any other event | WARN |
///
/// Fields: `cache`; of a call `operation`, `outcome`, `source`, `duration_us`, `error`, `keys`, and `key` if the cache was
/// told to [show keys](crate::Builder::observe_keys); of an event `event`, `tier`, `at`.
///
/// ```
/// use nanotier::{Cache, bridges::ToTracing};
///
/// let users: Cache<u64, u64> = Cache::builder().observer(ToTracing::new("users")).build()?;
/// # Ok::<(), nanotier::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ToTracing {
    cache: Arc<str>,
}

impl ToTracing {
    /// With the cache's name as the field `cache`.
    #[must_use]
    pub fn new(cache: impl Into<Arc<str>>) -> Self {
        Self { cache: cache.into() }
    }
}

macro_rules! call_event {
    ($level:expr, $cache:expr, $call:expr) => {
        event!(
            target: "nanotier",
            $level,
            cache = $cache,
            operation = $call.operation.name(),
            outcome = $call.outcome.name(),
            source = %$call.source,
            duration_us = $call.duration.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            error = $call.error.map(tracing::field::debug),
            keys = $call.keys,
            key = $call.key,
        )
    };
}

macro_rules! tier_event {
    ($level:expr, $cache:expr, $event:expr) => {{
        let tier = $event.tier();
        event!(
            target: "nanotier",
            $level,
            cache = $cache,
            event = $event.name(),
            tier = tier.map(|(tier, _)| tier),
            at = tier.map(|(_, at)| at.0),
        )
    }};
}

impl Observer for ToTracing {
    fn call(&self, call: &Call<'_>) {
        let cache = &*self.cache;
        match (call.outcome, call.duration) {
            (Outcome::Error | Outcome::Rejected, _) => call_event!(Level::WARN, cache, call),
            (_, Some(_)) => call_event!(Level::DEBUG, cache, call),
            (_, None) => {
                // Mostly nobody wants them: that is found out first.
                if enabled!(target: "nanotier", Level::TRACE) {
                    call_event!(Level::TRACE, cache, call);
                }
            }
        }
    }

    fn event(&self, event: &Event) {
        let cache = &*self.cache;
        match event {
            Event::BreakerClosed { .. } | Event::BreakerHalfOpen { .. } => {
                tier_event!(Level::INFO, cache, event);
            }
            _ => tier_event!(Level::WARN, cache, event),
        }
    }
}
