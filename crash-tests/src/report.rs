//! What was done and found: lines as it goes, counts that can be summed up, a table at the end.

use std::time::{Duration, Instant};

use crate::faults::Found;
use crate::kill;
use crate::kind::Kind;
use crate::model::Faults;

/// Opening after a crash must not take longer. It takes tens of milliseconds where nothing else is done, and the table says how many; this is
/// for a machine that does other things at the same time, and catches what hangs or reads far too much.
const OPEN_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    failures: Vec<String>,
    left_out: Vec<String>,
    since: Option<Instant>,
}

/// A line of the table.
struct Row {
    kind: String,
    test: &'static str,
    cycles: u64,
    acknowledged: u64,
    faults: Faults,
    took: Duration,
    remark: String,
}

impl Report {
    pub(crate) fn say(&mut self, what: &str) {
        println!("---- {what}");
        self.since = Some(Instant::now());
    }

    fn took(&mut self) -> Duration {
        self.since.replace(Instant::now()).map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn fail(&mut self, what: String) {
        println!("FAILED: {what}");
        self.failures.push(what);
    }

    pub(crate) fn crashed(&mut self, how: &'static str, kind: Kind, plan: &kill::Plan, counts: kill::Counts) {
        let took = self.took();
        let clean = counts.failures.is_empty();
        counts.failures.into_iter().for_each(|failure| self.fail(failure));
        let mut want = |holds: bool, sentence: &str| {
            if !holds {
                self.fail(format!(
                    "{kind}: {sentence}; again: crash kill --kind {kind} --seed {}",
                    plan.seed
                ));
            }
        };
        want(!clean || plan.block.is_some() || counts.cycles >= plan.cycles, "not all cycles were run");
        want(counts.acknowledged > 0 || counts.cycles < kill::BLOCK, "nothing was ever acknowledged");
        let too_long = format!(
            "opening after a crash took {:.1} s, more than {} s",
            counts.slowest_open.as_secs_f64(),
            OPEN_MAX.as_secs()
        );
        want(counts.slowest_open < OPEN_MAX, &too_long);
        want(
            !clean || counts.kills_inside * 2 >= counts.kills - counts.kills_of_recovery,
            "fewer than half of the crashes hit a write under way",
        );
        println!("COUNT {} {}", if how == "kill" { "kills" } else { "power-cuts" }, counts.kills);
        println!("COUNT acknowledged {}", counts.acknowledged);
        let remark = format!(
            "{} inside a write, {} in recovery, slowest opening {:.0} ms, loss up to {:.1} ms",
            counts.kills_inside,
            counts.kills_of_recovery,
            counts.slowest_open.as_secs_f64() * 1e3,
            counts.loss_max.as_secs_f64() * 1e3,
        );
        self.row(kind, how, counts.cycles, counts.acknowledged, counts.faults, took, remark);
    }

    pub(crate) fn mistreated(&mut self, kind: Kind, test: &'static str, found: Found, seed: u64) {
        let took = self.took();
        let faults = Faults { torn: found.faults.len() as u64, ..Faults::default() };
        for fault in found.faults {
            self.fail(format!("{kind}, {test}: {fault}; again: crash faults --kind {kind} --seed {seed}"));
        }
        if found.tried == 0 {
            self.fail(format!("{kind}, {test}: nothing was tried"));
        }
        println!("COUNT mistreated {}", found.tried);
        self.row(kind, test, found.tried, 0, faults, took, found.remark);
    }

    /// Something that cannot be done here. Said aloud, and counted: as a gap where it should be possible, which is for root on Linux.
    pub(crate) fn left_out(&mut self, what: &str, why: &str) {
        println!("NOT RUN: {what}: {why}");
        let should_run = cfg!(target_os = "linux") && rustix::process::geteuid().is_root();
        println!("COUNT {} 1", if should_run { "not-run" } else { "needs-root-on-linux" });
        self.left_out.push(format!("{what}: {why}"));
    }

    pub(crate) fn planted_crashes(&mut self, kind: Kind, counts: &kill::Counts) {
        let fault = counts.faults.words.first().filter(|_| counts.faults.sum() > 0);
        self.planted(kind, counts.cycles, fault.map(String::as_str));
        if fault.is_none() {
            counts.failures.iter().for_each(|failure| println!("{failure}"));
        }
        counts.failures.iter().for_each(|failure| forget(failure));
    }

    /// A bug was planted and this was noticed after so many tries.
    pub(crate) fn planted(&mut self, kind: Kind, tried: u64, fault: Option<&str>) {
        match fault {
            Some(fault) => {
                println!("{kind}: noticed after {tried}: {fault}");
                println!("COUNT planted-bugs-noticed 1");
            }
            None => self.fail(format!("{kind}: {tried} tries did not bring the bug to light")),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a table")]
    fn row(
        &mut self,
        kind: Kind,
        test: &'static str,
        cycles: u64,
        acknowledged: u64,
        faults: Faults,
        took: Duration,
        remark: String,
    ) {
        let row = Row { kind: kind.to_string(), test, cycles, acknowledged, faults, took, remark };
        println!("{row}");
        self.rows.push(row);
    }

    /// Prints the table. True if all went well.
    pub(crate) fn finish(self) -> bool {
        if !self.rows.is_empty() {
            println!("\n{HEAD}");
            self.rows.iter().for_each(|row| println!("{row}"));
        }
        for left_out in &self.left_out {
            println!("NOT RUN: {left_out}");
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        self.failures.is_empty()
    }
}

const HEAD: &str = "kind         test          cycles     acks  lost  torn  resurrected  other   seconds";

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Faults { lost, torn, resurrected, .. } = self.faults;
        let other = self.faults.sum() - lost - torn - resurrected;
        write!(
            f,
            "{:<12} {:<12} {:>7} {:>8} {lost:>5} {torn:>5} {resurrected:>12} {other:>6} {:>9.1}  {}",
            self.kind,
            self.test,
            self.cycles,
            self.acknowledged,
            self.took.as_secs_f64(),
            self.remark,
        )
    }
}

/// What a planted bug left behind teaches nothing.
fn forget(failure: &str) {
    let kept = failure.lines().find_map(|line| line.split_once("and the journal: "));
    if let Some((_, folder)) = kept {
        // A folder for temporary files: whatever is left of it goes with the others.
        let _ = std::fs::remove_dir_all(folder);
    }
}
