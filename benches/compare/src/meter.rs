//! What an operation costs: by the processor's counters where there are some, and always by the wall clock.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// One batch, per operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) ns: f64,
    /// Core cycles in user mode.
    pub(crate) cycles: Option<f64>,
    pub(crate) instructions: Option<f64>,
    /// Retired instructions with a lock prefix, or an implied one.
    pub(crate) locked: Option<f64>,
    /// The share of operations that were hits, 0 to 1.
    pub(crate) hits: f64,
    /// The share of the time in which a thread was ready and had no processor, 0 to 1.
    pub(crate) waited: f64,
}

/// Beyond this, what was measured is the machine's other work.
const WAITED_MAX: f64 = 0.03;

impl Sample {
    pub(crate) fn is_calm(&self) -> bool {
        self.waited <= WAITED_MAX
    }

    /// Of samples of the same number of operations each.
    pub(crate) fn mean(samples: &[Self]) -> Self {
        let count = samples.len().max(1) as f64;
        let mean = |figure: fn(&Self) -> f64| samples.iter().map(figure).sum::<f64>() / count;
        let mean_if_all = |figure: fn(&Self) -> Option<f64>| {
            samples.iter().map(figure).sum::<Option<f64>>().map(|sum| sum / count)
        };
        Self {
            ns: mean(|sample| sample.ns),
            cycles: mean_if_all(|sample| sample.cycles),
            instructions: mean_if_all(|sample| sample.instructions),
            locked: mean_if_all(|sample| sample.locked),
            hits: mean(|sample| sample.hits),
            waited: mean(|sample| sample.waited),
        }
    }
}

pub(crate) struct Meter {
    counters: Option<counters::Counters>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { counters: counters::Counters::open() }
    }

    pub(crate) fn has_counters(&self) -> bool {
        self.counters.is_some()
    }

    pub(crate) fn counts_locked(&self) -> bool {
        self.counters.as_ref().is_some_and(counters::Counters::has_locked)
    }

    /// Runs `work`, which does `ops` operations and says how many were hits, on this thread.
    pub(crate) fn measure(&mut self, ops: u64, work: impl FnOnce() -> u64) -> Sample {
        let per_op = |count: u64| count as f64 / ops as f64;
        let waited = Waited::now();
        if let Some(counters) = &mut self.counters {
            counters.start();
        }
        let start = Instant::now();
        let hits = work();
        let took = start.elapsed();
        let counts = self.counters.as_mut().and_then(counters::Counters::stop);
        Sample {
            ns: took.as_nanos() as f64 / ops as f64,
            cycles: counts.map(|counts| per_op(counts.cycles)),
            instructions: counts.map(|counts| per_op(counts.instructions)),
            locked: counts.and_then(|counts| counts.locked).map(per_op),
            hits: per_op(hits),
            waited: waited.share_of(took),
        }
    }

    /// Cycles per nanosecond at present, by a chain of instructions that take one cycle each.
    pub(crate) fn gigahertz(&self) -> f64 {
        const STEPS: u32 = 400_000;
        // The shortest of a few: an interruption only ever adds.
        let shortest = (0..3)
            .map(|_| {
                let start = Instant::now();
                let mut state = black_box(0x1234_5678_9ABC_DEF0_u64);
                let mask = black_box(0x5555_AAAA_3333_CCCC_u64);
                for _ in 0..STEPS {
                    state = (state ^ mask).rotate_left(7);
                }
                black_box(state);
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        f64::from(STEPS) * 2.0 / shortest.as_nanos().max(1) as f64
    }
}

/// How long this thread has been ready without a processor to run on, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(u64);

impl Waited {
    /// Always the same where the kernel does not tell.
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        // Time run, time waited, turns; in nanoseconds.
        Self(text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0))
    }

    /// Since then, as a share of `time`.
    pub(crate) fn share_of(self, time: Duration) -> f64 {
        Self::now().0.saturating_sub(self.0) as f64 / time.as_nanos().max(1) as f64
    }
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    cycles: u64,
    instructions: u64,
    locked: Option<u64>,
}

#[cfg(target_os = "linux")]
mod counters {
    use std::fs;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use perf_event::events::{Event, Hardware, Raw};
    use perf_event::{Builder, Counter, Group};

    use super::Counts;

    /// Counts what this thread does in user mode.
    pub(super) struct Counters {
        group: Group,
        cycles: Counter,
        instructions: Counter,
        locked: Option<Counter>,
    }

    impl Counters {
        /// `None` where the machine has none, or does not let us use them.
        pub(super) fn open() -> Option<Self> {
            let mut opened = Self::try_open().ok()?;
            // Some virtual machines offer counters that never count.
            let counts = opened.count_locked_adds()?;
            if counts.cycles == 0 || counts.instructions < ADDS {
                return None;
            }
            let are_plausible = |locked| (ADDS..ADDS + ADDS / 10).contains(&locked);
            if !counts.locked.is_some_and(are_plausible) {
                opened.locked = None;
            }
            Some(opened)
        }

        fn try_open() -> io::Result<Self> {
            let mut group = Group::new()?;
            let cycles = group.add(&user_mode(Hardware::CPU_CYCLES))?;
            let instructions = group.add(&user_mode(Hardware::INSTRUCTIONS))?;
            let locked = locked_event().and_then(|event| group.add(&user_mode(event)).ok());
            Ok(Self { group, cycles, instructions, locked })
        }

        pub(super) fn has_locked(&self) -> bool {
            self.locked.is_some()
        }

        pub(super) fn start(&mut self) {
            // If it fails, what is read later is zero, and `stop` says that nothing was counted.
            drop(self.group.reset().and_then(|()| self.group.enable()));
        }

        pub(super) fn stop(&mut self) -> Option<Counts> {
            self.group.disable().ok()?;
            let data = self.group.read().ok()?;
            let counts = Counts {
                cycles: data[&self.cycles],
                instructions: data[&self.instructions],
                locked: self.locked.as_ref().map(|counter| data[counter]),
            };
            (counts.cycles > 0).then_some(counts)
        }

        fn count_locked_adds(&mut self) -> Option<Counts> {
            let word = AtomicU64::new(0);
            self.start();
            for _ in 0..ADDS {
                word.fetch_add(1, Ordering::SeqCst);
            }
            self.stop()
        }
    }

    const ADDS: u64 = 10_000;

    fn user_mode(event: impl Event) -> Builder<'static> {
        let mut builder = Builder::new(event);
        builder.exclude_kernel(true).exclude_hv(true);
        builder
    }

    /// Retired locked instructions, by the processor's maker.
    fn locked_event() -> Option<Raw> {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok()?;
        let vendor = cpu.lines().find_map(|line| line.strip_prefix("vendor_id")?.split(':').nth(1))?;
        match vendor.trim() {
            // Zen: event 0x25, unit mask 0x0e.
            "AuthenticAMD" => Some(Raw::new(0x0e25)),
            // MEM_INST_RETIRED.LOCK_LOADS: event 0xd0, unit mask 0x21.
            "GenuineIntel" => Some(Raw::new(0x21d0)),
            _ => None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod counters {
    use super::Counts;

    pub(super) enum Counters {}

    impl Counters {
        pub(super) fn open() -> Option<Self> {
            None
        }

        pub(super) fn has_locked(&self) -> bool {
            match *self {}
        }

        pub(super) fn start(&mut self) {
            match *self {}
        }

        pub(super) fn stop(&mut self) -> Option<Counts> {
            match *self {}
        }
    }
}
