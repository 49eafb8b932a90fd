//! A lane: steps that together prove one thing, within one time box.
//!
//! How a lane ends is decided here and nowhere else:
//! - FAILED, if any step failed: a test did, a program did, the time was over, or nothing was done at all. A suite
//!   that should have run and did not is a failure, not a success with zero tests.
//! - NOT RUN, if nothing failed but a step was left out because its tool is missing, or a program counted parts that it
//!   left out itself: `COUNT not-run`.
//! - passed, otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{self, End, Live, Run, Watch};
use crate::tools::{Tool, Toolbox};
use crate::workspace::Workspace;

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) proves: &'static str,
    pub(crate) minutes: u64,
    /// Whether `--quick` includes it.
    pub(crate) quick: bool,
    /// Without these no step can be named or run. A tool of a single step is the step's own.
    pub(crate) needs: &'static [Tool],
    /// Folders in the target folder that no other lane uses. They are several GiB each: `CI`, which builds them for one
    /// run only, has them removed when the lane is done.
    pub(crate) own: &'static [&'static str],
    /// Whether the workspace contains what this lane is about.
    pub(crate) present: fn(&Workspace) -> bool,
    /// Asked when the tools are here: they may be needed to say what the steps are.
    pub(crate) steps: fn(&Workspace) -> Result<Vec<Step>, String>,
}

impl Lane {
    pub(crate) fn run(&self, workspace: &Workspace, toolbox: &mut Toolbox<'_>, live: Live) -> Report {
        let report = self.run_within(Duration::from_secs(self.minutes * 60), workspace, toolbox, live);
        if std::env::var_os("CI").is_some() {
            // What is still there takes room, and nothing else.
            self.own.iter().for_each(|folder| drop(fs::remove_dir_all(workspace.target.join(folder))));
        }
        report
    }

    fn run_within(
        &self,
        time_box: Duration,
        workspace: &Workspace,
        toolbox: &mut Toolbox<'_>,
        live: Live,
    ) -> Report {
        let mut report = Report::new(self.name, time_box, workspace.log(self.name));
        report.begin_log();
        live.say(&format!("\n==== {}: {}", self.name, self.proves));
        report.missing = self.needs.iter().copied().filter(|&tool| !toolbox.make_ready(tool)).collect();
        if !report.missing.is_empty() {
            return report;
        }
        let steps = (self.steps)(workspace).unwrap_or_else(|error| {
            report.fail(&format!("the steps could not be listed: {error}"));
            Vec::new()
        });
        // Installing a tool is not the lane's work: its time begins here.
        let began = Instant::now();
        for step in &steps {
            let left = time_box.saturating_sub(began.elapsed());
            report.run_step(step, left, workspace, toolbox, live);
        }
        report.took = began.elapsed();
        report
    }
}

/// One program, and what it must have done for the step to hold.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) program: Program,
    pub(crate) expect: Expect,
    pub(crate) needs: Option<Tool>,
}

/// Every expectation includes that the program succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing more, and nothing is proved by it: it prepares for what follows.
    Ready,
    /// Nothing more. Counts as one test.
    Success,
    /// At least one test ran. Its tests are what counts.
    Tests,
    /// It counted something else, and more than zero of it. Counts as one test.
    Counted,
    /// These words are in its output. Counts as one test.
    Says(&'static str),
}

/// A Cargo command line with its environment, printable so that it can be repeated by hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// Runs this instead of Cargo.
    name: Option<&'static str>,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Program {
    /// `line` is split at spaces.
    pub(crate) fn cargo(line: &str) -> Self {
        Program { arguments: line.split_whitespace().map(str::to_owned).collect(), ..Program::default() }
    }

    /// A program that is not Cargo.
    pub(crate) fn named(name: &'static str) -> Self {
        Program { name: Some(name), ..Program::default() }
    }

    #[cfg(test)]
    pub(crate) fn shell(script: &str) -> Self {
        Program { name: Some("sh"), arguments: vec!["-c".into(), script.into()], environment: Vec::new() }
    }

    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn args<I: Into<String>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub(crate) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = self.name.map_or_else(|| workspace.cargo(), |name| workspace.command(name));
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(self.name.unwrap_or("cargo"))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// As a shell would have to be told.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a lane did.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) lane: &'static str,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Schedules, executions, kills: whatever else was counted, by name.
    pub(crate) others: BTreeMap<String, u64>,
    /// Parts that a program left out where they should have run, as it counted them itself: `COUNT not-run`.
    pub(crate) gaps: u64,
    /// One sentence for each step that failed.
    pub(crate) failures: Vec<String>,
    pub(crate) missing: Vec<Tool>,
    pub(crate) took: Duration,
    pub(crate) time_box: Duration,
    pub(crate) log: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    NotRun,
}

impl Report {
    pub(crate) fn new(lane: &'static str, time_box: Duration, log: PathBuf) -> Self {
        Report {
            lane,
            passed: 0,
            failed: 0,
            skipped: 0,
            others: BTreeMap::new(),
            gaps: 0,
            failures: Vec::new(),
            missing: Vec::new(),
            took: Duration::ZERO,
            time_box,
            log,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if !self.failures.is_empty() {
            Verdict::Failed
        } else if !self.missing.is_empty() || self.gaps > 0 {
            Verdict::NotRun
        } else if self.passed == 0 {
            // No step failed, and yet nothing was shown: there were no steps.
            Verdict::Failed
        } else {
            Verdict::Passed
        }
    }

    /// The log tells of this run only.
    pub(crate) fn begin_log(&self) {
        // Usually there is none yet. If an old one cannot be removed, appending to it says more than stopping.
        drop(fs::remove_file(&self.log));
    }

    pub(crate) fn run_step(
        &mut self,
        step: &Step,
        limit: Duration,
        workspace: &Workspace,
        toolbox: &mut Toolbox<'_>,
        live: Live,
    ) -> Duration {
        if let Some(tool) = step.needs.filter(|&tool| !toolbox.make_ready(tool)) {
            self.missing.push(tool);
            return Duration::ZERO;
        }
        if limit.is_zero() {
            self.fail(&format!("{}: no time left in the box of {} s", step.title, self.time_box.as_secs()));
            return Duration::ZERO;
        }
        live.say(&format!("---- {}\n$ {}", step.title, step.program));
        let words = if let Expect::Says(words) = step.expect { Some(words) } else { None };
        let watch = Watch { live, log: &self.log, words };
        let run = process::run(step.program.command(workspace), limit, watch);
        self.absorb(step, &run);
        run.took
    }

    pub(crate) fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.failures.push(why.to_owned());
    }

    fn absorb(&mut self, step: &Step, run: &Run) {
        self.passed += run.counts.passed;
        self.failed += run.counts.failed;
        self.skipped += run.counts.skipped;
        for (name, number) in run.counts.others() {
            if name == GAPS {
                self.gaps = self.gaps.saturating_add(number);
                continue;
            }
            let sum = self.others.entry(name).or_default();
            *sum = sum.saturating_add(number);
        }
        match shortcoming(step, run, self.time_box) {
            None if matches!(step.expect, Expect::Ready | Expect::Tests) => {}
            None => self.passed += 1,
            Some(why) => {
                // Failed tests are counted already; a program that failed without naming one counts as one.
                self.failed += u64::from(run.counts.failed == 0);
                self.failures.push(format!("{}: {why}", step.title));
            }
        }
    }
}

/// What a program counts that it could not do, though it should be possible on this machine.
const GAPS: &str = "not-run";

/// Why a step does not hold, if so.
fn shortcoming(step: &Step, run: &Run, time_box: Duration) -> Option<String> {
    match &run.end {
        End::OverTime => {
            return Some(format!("killed after {:.0?}, over the box of {:?}", run.took, time_box));
        }
        End::Failed(why) => return Some(format!("the program {why}")),
        End::Succeeded => {}
    }
    if run.counts.failed > 0 {
        return Some(format!("{} tests failed, though the program claims success", run.counts.failed));
    }
    match step.expect {
        Expect::Ready | Expect::Success => None,
        Expect::Tests => (run.counts.passed == 0).then(|| "not a single test ran".to_owned()),
        Expect::Counted => {
            let counted = |(name, number): (String, u64)| name != GAPS && number > 0;
            (!run.counts.others().into_iter().any(counted)).then(|| "counted nothing".to_owned())
        }
        Expect::Says(words) => (!run.said).then(|| format!("did not say `{words}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes;

    fn step(script: &str, expect: Expect) -> Step {
        Step { title: "fake".into(), program: Program::shell(script), expect, needs: None }
    }

    fn run_fake(
        name: &'static str,
        time_box: Duration,
        needs: &'static [Tool],
        steps: fn(&Workspace) -> Result<Vec<Step>, String>,
    ) -> Report {
        let target = std::env::temp_dir().join(format!("xtask-lane-{}-{name}", std::process::id()));
        let workspace = Workspace::pretend(std::env::temp_dir(), &target, &[]);
        let mut toolbox = Toolbox::pretend(&workspace, &[Tool::Rustfmt]);
        let lane =
            Lane { name, proves: "", minutes: 1, quick: false, needs, own: &[], present: |_| true, steps };
        let report = lane.run_within(time_box, &workspace, &mut toolbox, Live::Silent);
        // Lanes that ran nothing have not made the folder.
        drop(fs::remove_dir_all(target));
        report
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_lane_passes_when_its_tests_do_and_other_steps_count_as_one_test() {
        let report = run_fake("passes", LONG, &[Tool::Rustfmt], |_| {
            Ok(vec![
                step(
                    "echo 'test result: ok. 3 passed; 0 failed; 2 ignored'; echo COUNT schedules 5",
                    Expect::Tests,
                ),
                step("echo COUNT schedules 7", Expect::Counted),
                step("echo this is a warm start indeed", Expect::Says("warm start")),
                step("true", Expect::Success),
            ])
        });
        assert_eq!(report.verdict(), Verdict::Passed, "{report:?}");
        assert_eq!((report.passed, report.failed, report.skipped), (6, 0, 2));
        assert_eq!(report.others["schedules"], 12);
    }

    #[test]
    fn a_lane_over_its_box_is_killed_and_fails_and_later_steps_do_not_hide_it() {
        let report = run_fake("slow", Duration::from_millis(300), &[], |_| {
            Ok(vec![step("sleep 65", Expect::Success), step("true", Expect::Success)])
        });
        assert_eq!(report.verdict(), Verdict::Failed);
        assert!(report.took < Duration::from_secs(10), "{report:?}");
        assert!(report.failures[0].contains("killed after"), "{report:?}");
        assert!(report.failures[1].contains("no time left"), "{report:?}");
        assert_eq!((report.passed, report.failed), (0, 2));
    }

    #[test]
    fn a_suite_that_ran_no_test_fails() {
        for script in [
            "true",
            "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out'",
            "echo 'test result: ok. 0 passed; 0 failed; 9 ignored'",
        ] {
            let mut report = Report::new("empty", LONG, std::env::temp_dir().join("unused"));
            let run = quiet_run(script);
            report.absorb(&step(script, Expect::Tests), &run);
            assert_eq!((report.verdict(), report.failed), (Verdict::Failed, 1), "{script}");
            assert!(report.failures[0].contains("not a single test"), "{report:?}");
        }
    }

    #[test]
    fn a_lane_without_steps_or_with_preparations_only_fails() {
        let only_ready = run_fake("ready", LONG, &[], |_| Ok(vec![step("true", Expect::Ready)]));
        assert_eq!((only_ready.verdict(), only_ready.passed), (Verdict::Failed, 0));
        assert_eq!(run_fake("none", LONG, &[], |_| Ok(Vec::new())).verdict(), Verdict::Failed);
        let report = run_fake("unlisted", LONG, &[], |_| Err("no list".into()));
        assert_eq!((report.verdict(), report.failed), (Verdict::Failed, 1));
    }

    #[test]
    fn what_was_expected_and_not_shown_is_a_failure() {
        for (script, expect) in [
            ("echo COUNT kills 0", Expect::Counted),
            ("echo COUNT not-run 3", Expect::Counted),
            ("echo cold start", Expect::Says("warm start")),
            ("echo warm start; exit 1", Expect::Says("warm start")),
            ("echo 'test result: FAILED. 3 passed; 1 failed; 0 ignored'", Expect::Tests),
            ("exit 101", Expect::Tests),
            ("exit 1", Expect::Success),
        ] {
            let mut report = Report::new("short", LONG, std::env::temp_dir().join("unused"));
            report.absorb(&step(script, expect), &quiet_run(script));
            assert_eq!((report.verdict(), report.failed), (Verdict::Failed, 1), "{script}");
        }
    }

    #[test]
    fn a_missing_tool_means_not_run_and_a_failure_outweighs_it() {
        let report =
            run_fake("toolless", LONG, &[Tool::CargoFuzz], |_| Ok(vec![step("true", Expect::Success)]));
        assert_eq!((report.verdict(), report.passed), (Verdict::NotRun, 0));
        assert_eq!(report.missing, [Tool::CargoFuzz]);

        let lint = |script| Step { needs: Some(Tool::Clippy), ..step(script, Expect::Success) };
        let mut report = Report::new("partly", LONG, std::env::temp_dir().join("unused"));
        let workspace = Workspace::pretend(std::env::temp_dir(), "/no/such/target", &[]);
        let mut toolbox = Toolbox::pretend(&workspace, &[]);
        report.absorb(&step("true", Expect::Success), &quiet_run("true"));
        report.run_step(&lint("true"), LONG, &workspace, &mut toolbox, Live::Silent);
        assert_eq!((report.verdict(), report.passed), (Verdict::NotRun, 1));
        report.fail("something else");
        assert_eq!(report.verdict(), Verdict::Failed);
    }

    #[test]
    fn what_a_program_left_out_itself_means_not_run() {
        let report = run_fake("gaps", LONG, &[], |_| {
            Ok(vec![step("echo COUNT kills 3; echo COUNT not-run 2", Expect::Counted)])
        });
        assert_eq!((report.verdict(), report.passed, report.gaps), (Verdict::NotRun, 1, 2));
        let report = run_fake("elsewhere", LONG, &[], |_| {
            Ok(vec![step("echo COUNT kills 3; echo COUNT needs-root-on-linux 2", Expect::Counted)])
        });
        assert_eq!((report.verdict(), report.others["needs-root-on-linux"]), (Verdict::Passed, 2));
    }

    #[test]
    fn a_command_is_printed_so_that_a_shell_repeats_it() {
        let program = Program::cargo("test -p x").env("RUSTFLAGS", "--cfg a").args(["it's", ""]);
        assert_eq!(program.to_string(), r"RUSTFLAGS='--cfg a' cargo test -p x 'it'\''s' ''");
    }

    #[test]
    fn names_of_lanes_differ_and_quick_ones_need_no_tool_as_a_whole() {
        for (place, lane) in lanes::LANES.iter().enumerate() {
            assert!(lanes::LANES[..place].iter().all(|other| other.name != lane.name));
            assert!(lane.minutes > 0 && !lane.proves.is_empty());
            assert!(!lane.quick || lane.needs.is_empty());
        }
    }

    fn quiet_run(script: &str) -> Run {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("xtask-run-{}-{number}.log", std::process::id()));
        let workspace = Workspace::pretend(std::env::temp_dir(), "/no/such/target", &[]);
        let command = Program::shell(script).command(&workspace);
        let run =
            process::run(command, LONG, Watch { live: Live::Silent, log: &log, words: Some("warm start") });
        fs::remove_file(log).unwrap();
        run
    }
}
