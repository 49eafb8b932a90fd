//! The same kinds of work as in the lanes, for as long as one likes: schedules, races at full speed, churn, fuzzing and
//! crashes take turns.
//!
//! A turn is sized by how long the last one of its kind took, so that turns come out about equally long and the
//! last one ends before the time does. A kind of work that failed gets no further turn: the failure is found, and
//! its log should not be buried.

use std::time::{Duration, Instant};

use crate::lane::{Report, Step};
use crate::lanes;
use crate::process::Live;
use crate::tools::{Tool, Toolbox};
use crate::workspace::Workspace;

pub(crate) fn run(
    workspace: &Workspace,
    toolbox: &mut Toolbox<'_>,
    time: Duration,
) -> Result<Vec<Report>, String> {
    let mut soak = Soak { workspace, began: Instant::now(), time };
    let mut parts = soak.parts(toolbox);
    if parts.is_empty() {
        return Err(
            "this workspace has nothing to soak: no schedule tests, fuzz targets or crash tests".to_owned()
        );
    }
    for part in &mut parts {
        soak.build(part, toolbox);
    }
    while soak.round(&mut parts, toolbox) {}
    Ok(parts.into_iter().map(|part| part.report).collect())
}

struct Soak<'a> {
    workspace: &'a Workspace,
    began: Instant,
    time: Duration,
}

struct Part {
    work: Work,
    report: Report,
    last: Option<Turn>,
}

enum Work {
    Schedules,
    FullSpeed,
    Churn,
    /// Of operations, next to a rival's.
    Latency,
    /// The targets, and whose turn it is.
    Fuzz {
        targets: Vec<String>,
        turn: usize,
    },
    Crash,
}

/// How much was done, and how long that took.
#[derive(Clone, Copy)]
struct Turn {
    size: u64,
    took: Duration,
}

impl Soak<'_> {
    fn parts(&self, toolbox: &mut Toolbox<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for lane in lanes::LANES.iter().filter(|lane| (lane.present)(self.workspace)) {
            let mut report =
                Report::new(lane.name, self.time, self.workspace.log(&format!("soak-{}", lane.name)));
            let work = match lane.name {
                "schedules" => Work::Schedules,
                "reclaim" => Work::FullSpeed,
                "churn" => Work::Churn,
                // To build the rivals takes minutes.
                "counts" if self.time >= LATENCY_FROM => Work::Latency,
                "crash" => Work::Crash,
                "fuzz" => Work::Fuzz { targets: self.fuzz_targets(&mut report, toolbox), turn: 0 },
                _ => continue,
            };
            report.begin_log();
            parts.push(Part { work, report, last: None });
        }
        parts
    }

    /// None, and the reason in the report, if they cannot be run.
    fn fuzz_targets(&self, report: &mut Report, toolbox: &mut Toolbox<'_>) -> Vec<String> {
        if !toolbox.make_ready(Tool::CargoFuzz) {
            report.missing.push(Tool::CargoFuzz);
            return Vec::new();
        }
        lanes::fuzz_targets(self.workspace).unwrap_or_else(|error| {
            report.fail(&error);
            Vec::new()
        })
    }

    /// Built beforehand, so that the first turn measures the work and not the compiler.
    fn build(&self, part: &mut Part, toolbox: &mut Toolbox<'_>) {
        if !part.goes_on() {
            return;
        }
        let step = match &part.work {
            Work::Schedules => lanes::schedules_build_step(self.workspace),
            Work::FullSpeed => lanes::full_speed_build_step(),
            Work::Churn => lanes::churn_build_step(),
            Work::Latency => lanes::latency_build_step(self.workspace),
            Work::Fuzz { .. } => lanes::fuzz_build_step(self.workspace),
            Work::Crash => lanes::crash_build_step(),
        };
        self.announce(&step.title, self.left());
        let took = part.report.run_step(&step, self.left(), self.workspace, toolbox, Live::Terminal);
        part.report.took += took;
    }

    /// One turn for every part that goes on. Whether there should be another round.
    fn round(&mut self, parts: &mut [Part], toolbox: &mut Toolbox<'_>) -> bool {
        let mut anything = false;
        for part in parts.iter_mut().filter(|part| part.goes_on()) {
            let Some(length) = turn_length(self.time, self.left()) else {
                return false;
            };
            let (step, size) = part.next(self.workspace, length);
            self.announce(&format!("{} of size {size}", step.title), length);
            let took = part.report.run_step(&step, self.left(), self.workspace, toolbox, Live::Terminal);
            part.report.took += took;
            part.last = Some(Turn { size, took });
            anything = true;
        }
        anything
    }

    fn left(&self) -> Duration {
        self.time.saturating_sub(self.began.elapsed())
    }

    fn announce(&self, what: &str, length: Duration) {
        let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
        let (now, all) = (clock(self.began.elapsed()), clock(self.time));
        println!("\n==== soak {now} of {all}: {what}, at most about {} s", length.as_secs());
    }
}

impl Part {
    fn goes_on(&self) -> bool {
        self.report.missing.is_empty() && self.report.failures.is_empty()
    }

    fn next(&mut self, workspace: &Workspace, length: Duration) -> (Step, u64) {
        match &mut self.work {
            Work::Schedules => {
                let size = next_size(self.last, ITERATIONS_FIRST, length);
                (lanes::schedules_step(workspace, Some(size)), size)
            }
            Work::FullSpeed => {
                let size = next_size(self.last, SECONDS_FIRST, length);
                (lanes::full_speed_step(size), size)
            }
            Work::Churn => {
                let size = next_size(self.last, SECONDS_FIRST, length);
                (lanes::churn_step(size), size)
            }
            Work::Latency => {
                // Shorter ones say little about one operation in ten thousand.
                let size = length.as_secs().clamp(1, LATENCY_SECS_MAX);
                (lanes::latency_step(workspace, size), size)
            }
            Work::Fuzz { targets, turn } => {
                let target = &targets[*turn % targets.len()];
                *turn += 1;
                let seconds = length.as_secs().max(1);
                (lanes::fuzz_step(workspace, target, seconds), seconds)
            }
            Work::Crash => {
                let size = next_size(self.last, CYCLES_FIRST, length);
                (lanes::crash_soak_step(size), size)
            }
        }
    }
}

/// How long the next turn should be. None: the rest is too short to be worth beginning anything.
fn turn_length(time: Duration, left: Duration) -> Option<Duration> {
    let usual = (time / TURNS).min(TURN_MAX);
    // No turn is exact: what ends at the very last second might just as well end after it, and be killed.
    let safe = left * 3 / 5;
    if safe >= TURN_MIN { Some(usual.clamp(TURN_MIN, safe)) } else { None }
}

/// As much as fits into `length`, going by the last turn, but never so much more that one odd figure is ruinous.
fn next_size(last: Option<Turn>, first: u64, length: Duration) -> u64 {
    let Some(Turn { size, took }) = last else {
        return first;
    };
    let fits = u128::from(size) * length.as_millis() / took.as_millis().max(1);
    u64::try_from(fits).unwrap_or(u64::MAX).clamp(1, size.saturating_mul(GROWTH_MAX))
}

/// Turns in the whole time, if all were of the usual length.
const TURNS: u32 = 12;
const TURN_MIN: Duration = Duration::from_secs(3);
const TURN_MAX: Duration = Duration::from_secs(300);
const GROWTH_MAX: u64 = 8;
const ITERATIONS_FIRST: u64 = 10_000;
const CYCLES_FIRST: u64 = 30;
const SECONDS_FIRST: u64 = 1;
const LATENCY_FROM: Duration = Duration::from_secs(30 * 60);
const LATENCY_SECS_MAX: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn turns_shrink_towards_the_end_and_then_stop() {
        let hour = seconds(3600);
        assert_eq!(turn_length(hour, seconds(3500)), Some(seconds(300)));
        assert_eq!(turn_length(hour, seconds(100)), Some(seconds(60)));
        assert_eq!(turn_length(hour, seconds(4)), None);
        assert_eq!(turn_length(hour, seconds(0)), None);
        assert_eq!(turn_length(seconds(60), seconds(60)), Some(seconds(5)));
    }

    #[test]
    fn whatever_is_left_a_turn_leaves_time_to_be_late() {
        for left in 0..3600 {
            if let Some(length) = turn_length(seconds(3600), seconds(left)) {
                assert!(length * 5 <= seconds(left) * 3, "{left} s left, turn of {length:?}");
            }
        }
    }

    #[test]
    fn a_turn_is_as_large_as_fits_going_by_the_last() {
        let last = |size, took| Some(Turn { size, took });
        assert_eq!(next_size(None, 30, seconds(100)), 30);
        assert_eq!(next_size(last(30, seconds(10)), 30, seconds(40)), 120);
        assert_eq!(next_size(last(1000, seconds(50)), 30, seconds(5)), 100);
        assert_eq!(next_size(last(30, seconds(1)), 30, seconds(300)), 240, "grows eightfold at most");
        assert_eq!(next_size(last(1, seconds(100)), 30, seconds(5)), 1, "never nothing");
        assert_eq!(next_size(last(u64::MAX, Duration::ZERO), 30, seconds(5)), u64::MAX);
    }
}
