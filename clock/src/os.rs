//! What the operating system tells about time: the only place that asks it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch by the wall clock; 0 for a clock set before 1970.
#[cfg_attr(nanotier_loom, allow(dead_code, reason = "a model has a time of its own"))]
pub(crate) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    fn ms(id: ClockId) -> u64 {
        let time = clock_gettime(id);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
    }

    /// Steady milliseconds since boot, time spent suspended included. About 90 cycles.
    pub(crate) fn steady_ms() -> u64 {
        ms(ClockId::Boottime)
    }

    /// The same to the nanosecond, at the same price.
    pub(crate) fn precise() -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }

    /// The kernel's coarse steady clock, without time spent suspended. About 11 cycles, off by a tick (1 to
    /// 10 ms).
    pub(crate) fn coarse_ms() -> u64 {
        ms(ClockId::MonotonicCoarse)
    }

    /// The wall clock by the kernel's last tick.
    pub(crate) fn coarse_unix_ms() -> u64 {
        ms(ClockId::RealtimeCoarse)
    }
}
#[cfg(target_os = "linux")]
pub(crate) use linux::{coarse_ms, coarse_unix_ms, precise, steady_ms};

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    static START: OnceLock<Instant> = OnceLock::new();

    /// Steady milliseconds since the first call. Whether suspended time counts is the platform's choice.
    pub(crate) fn steady_ms() -> u64 {
        u64::try_from(precise().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// The same to the nanosecond.
    pub(crate) fn precise() -> Duration {
        START.get_or_init(Instant::now).elapsed()
    }

    pub(crate) fn coarse_ms() -> u64 {
        steady_ms()
    }

    pub(crate) fn coarse_unix_ms() -> u64 {
        super::unix_ms()
    }
}
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{coarse_ms, coarse_unix_ms, precise, steady_ms};
