//! What an observer is told, passed on to what services measure and log with.

#[cfg(feature = "metrics")]
mod to_metrics;
#[cfg(feature = "tracing")]
mod to_tracing;

#[cfg(feature = "metrics")]
pub use to_metrics::ToMetrics;
#[cfg(feature = "tracing")]
pub use to_tracing::ToTracing;
