//! A cache's calls as metrics of OpenTelemetry: twenty lines over its API, with whatever exporter the service has.
//!
//! ```sh
//! cargo run --example opentelemetry
//! ```

use std::sync::Arc;
use std::time::Duration;

use nanotier::{Cache, Call, Event, Observer};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use parking_lot::Mutex;

/// An observer that counts with OpenTelemetry. Of a key it says nothing: each one would be a time series of its own.
struct Telemetry {
    cache: &'static str,
    calls: Counter<u64>,
    durations: Histogram<f64>,
    events: Counter<u64>,
}

impl Telemetry {
    fn new(cache: &'static str, meter: &Meter) -> Self {
        Self {
            cache,
            calls: meter.u64_counter("cache.calls").with_description("Calls by what they came to").build(),
            durations: meter.f64_histogram("cache.call.duration").with_unit("s").build(),
            events: meter.u64_counter("cache.events").with_description("Trouble below memory").build(),
        }
    }
}

impl Observer for Telemetry {
    fn call(&self, call: &Call<'_>) {
        let attributes = [
            KeyValue::new("cache", self.cache),
            KeyValue::new("operation", call.operation.name()),
            KeyValue::new("outcome", call.outcome.name()),
        ];
        self.calls.add(1, &attributes);
        // What memory answered by itself was not timed.
        if let Some(duration) = call.duration {
            self.durations.record(duration.as_secs_f64(), &attributes);
        }
    }

    fn event(&self, event: &Event) {
        let mut attributes = vec![KeyValue::new("cache", self.cache), KeyValue::new("event", event.name())];
        if let Some((tier, at)) = event.tier() {
            attributes.extend([KeyValue::new("tier", tier), KeyValue::new("at", i64::from(at.0))]);
        }
        self.events.add(1, &attributes);
    }
}

/// Prints what it is given. A service has its own exporter in its place: OTLP, Prometheus, stdout.
#[derive(Clone, Default)]
struct Print {
    printed: Arc<Mutex<Vec<String>>>,
}

impl PushMetricExporter for Print {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { continue };
            for point in sum.data_points() {
                let labels = point.attributes().map(|label| format!("{}={}", label.key, label.value));
                let mut labels: Vec<String> = labels.collect();
                labels.sort();
                let line = format!("{} {} {}", metric.name(), labels.join(" "), point.value());
                println!("{line}");
                self.printed.lock().push(line);
            }
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = Print::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();

    let squares: Cache<u64, u64> = Cache::builder()
        .ttl(Duration::from_secs(60))
        .observer(Telemetry::new("squares", &provider.meter("nanotier")))
        .build()?;
    for key in [3, 4, 3, 3, 5] {
        squares.get_with(&key, async move || key * key).wait()?;
    }
    squares.get(&7).wait()?;

    provider.force_flush()?;
    let printed = exporter.printed.lock().clone();
    for told in ["get_with outcome=computed 3", "get_with outcome=hit 2", "get outcome=miss 1"] {
        let line = format!("cache.calls cache=squares operation={told}");
        assert!(printed.contains(&line), "{line}");
    }
    provider.shutdown()?;
    Ok(())
}
