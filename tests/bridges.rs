//! What arrives at the other ends of the bridges.
#![cfg(all(feature = "metrics", feature = "tracing"))]

mod common;

use std::fmt::{Debug, Write};
use std::sync::Arc;

use common::Watched;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use nanotier::bridges::{ToMetrics, ToTracing};
use nanotier::{Cache, Clock, Json, Limits, Observer, Tier};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

/// Lines of what arrives.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn push(&self, line: String) {
        self.0.lock().push(line);
    }

    fn assert_has(&self, wanted: &[&str]) {
        let lines = self.0.lock();
        for wanted in wanted {
            assert!(lines.iter().any(|line| line == wanted), "{wanted}\nis not among\n{}", lines.join("\n"));
        }
    }

    fn count(&self, of: &str) -> usize {
        self.0.lock().iter().filter(|line| line.starts_with(of)).count()
    }
}

/// A metric that writes down each change of it.
struct Metric {
    name: String,
    lines: Lines,
}

impl CounterFn for Metric {
    fn increment(&self, by: u64) {
        self.lines.push(format!("{} +{by}", self.name));
    }
    fn absolute(&self, _: u64) {
        unreachable!("nothing is counted so")
    }
}

impl GaugeFn for Metric {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set")
    }
    fn decrement(&self, _: f64) {
        unreachable!("gauges are set")
    }
    fn set(&self, to: f64) {
        self.lines.push(format!("{} ={to}", self.name));
    }
}

impl HistogramFn for Metric {
    fn record(&self, _: f64) {
        self.lines.push(format!("{} recorded", self.name));
    }
}

impl Lines {
    fn metric(&self, key: &Key) -> Arc<Metric> {
        let mut labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::new(Metric { name, lines: self.clone() })
    }
}

impl Recorder for Lines {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

/// Writes down each event with its fields.
impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "nanotier"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                let _ = write!(self.0, " {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.push(fields.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A write, a hit, a load, and a tier that fails until its breaker opens.
fn use_all(observer: impl Observer, gauges: impl Fn(&nanotier::Metrics)) {
    let (clock, _hands) = Clock::manual();
    let tier = Watched::new();
    let users = Cache::<String, u32>::builder().clock(clock).namespace("users").codec(Json::default());
    let users = users.observer(observer).observe_keys(|key| format!("<{}>", key.len()));
    let users = users.tiers(tier.clone().guarded(Limits::new().failures_in_a_row(1))).build().unwrap();
    users.insert("ada".to_owned(), 1).wait().unwrap();
    users.get("ada").wait().unwrap();
    users.get_with("grace", async || 2).wait().unwrap();
    tier.set_down(true);
    users.get("bob").wait().unwrap_err();
    gauges(&users.metrics());
}

#[test]
fn calls_events_and_gauges_arrive_as_metrics() {
    let lines = Lines::default();
    metrics::with_local_recorder(&lines, || {
        let bridge = ToMetrics::new("users");
        use_all(bridge.clone(), |metrics| bridge.set_gauges(metrics));
    });
    lines.assert_has(&[
        "nanotier_calls_total cache=users operation=insert outcome=done +1",
        "nanotier_call_duration_seconds cache=users operation=insert outcome=done recorded",
        "nanotier_calls_total cache=users operation=get outcome=hit +1",
        "nanotier_calls_total cache=users operation=get_with outcome=computed +1",
        "nanotier_calls_total cache=users operation=get outcome=error +1",
        "nanotier_events_total at=0 cache=users event=breaker_opened tier=watched +1",
        "nanotier_events_total at=0 cache=users event=read_failed tier=watched +1",
        "nanotier_entries cache=users =2",
        "nanotier_breaker_open at=0 cache=users tier=watched =1",
    ]);
    assert_eq!(lines.count("nanotier_calls_total"), 4);
    assert_eq!(lines.count("nanotier_call_duration_seconds"), 3, "a hit is not timed");
}

#[test]
fn calls_and_events_arrive_as_logs_of_their_levels() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || use_all(ToTracing::new("users"), |_| {}));
    let call = |told: &str| format!("cache=\"users\" {told}");
    lines.assert_has(&[
        &format!(
            "TRACE {}",
            call("operation=\"get\" outcome=\"hit\" source=memory keys=1 key=\"<3>\"")
        ),
        &format!(
            "DEBUG {}",
            call("operation=\"insert\" outcome=\"done\" source=nowhere duration_us=0 keys=1 key=\"<3>\"")
        ),
        &format!(
            "WARN {}",
            call("operation=\"get\" outcome=\"error\" source=nowhere duration_us=0 error=Unavailable keys=1 key=\"<3>\"")
        ),
        &format!("WARN {}", call("event=\"breaker_opened\" tier=\"watched\" at=0")),
    ]);
}
