//! What is said at the end: a table, what failed and why, what was left out, and the totals alone on the last line.

use std::process::ExitCode;

use crate::lane::{Lane, Report, Verdict};
use crate::tools::Toolbox;

pub(crate) const EXIT_FAILED: u8 = 1;
pub(crate) const EXIT_BAD_USAGE: u8 = 2;
pub(crate) const EXIT_NOT_RUN: u8 = 3;

/// Prints the end and says how to leave.
pub(crate) fn finish(reports: &[Report]) -> ExitCode {
    print!("{}", render(reports));
    ExitCode::from(exit_status(reports))
}

fn exit_status(reports: &[Report]) -> u8 {
    let any = |verdict| reports.iter().any(|report| report.verdict() == verdict);
    if any(Verdict::Failed) || reports.is_empty() {
        EXIT_FAILED
    } else if any(Verdict::NotRun) {
        EXIT_NOT_RUN
    } else {
        0
    }
}

fn render(reports: &[Report]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(reports.iter().map(row));
    let mut text = format!("\n{}\n", table(&rows));
    for report in reports {
        for line in remarks(report) {
            text += &format!("{}: {line}\n", report.lane);
        }
    }
    let sum = |figure: fn(&Report) -> u64| reports.iter().map(figure).sum::<u64>();
    let (passed, failed, skipped) = (sum(|r| r.passed), sum(|r| r.failed), sum(|r| r.skipped));
    text += &format!("{passed} passed, {failed} failed");
    if skipped > 0 {
        text += &format!(", {skipped} skipped");
    }
    text + "\n"
}

const HEAD: [&str; 7] = ["lane", "result", "passed", "failed", "skipped", "seconds / box", "also counted"];

fn row(report: &Report) -> [String; 7] {
    let others: Vec<String> =
        report.others.iter().map(|(name, number)| format!("{} {name}", grouped(*number))).collect();
    [
        report.lane.to_owned(),
        said(report.verdict()).to_owned(),
        report.passed.to_string(),
        report.failed.to_string(),
        report.skipped.to_string(),
        format!("{} / {}", report.took.as_secs(), report.time_box.as_secs()),
        others.join(", "),
    ]
}

/// What goes well is said in small letters; the rest should catch the eye.
fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::NotRun => "NOT RUN",
    }
}

fn remarks(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.failures.iter().map(|why| format!("FAILED: {why}")).collect();
    if report.verdict() == Verdict::Failed {
        if lines.is_empty() {
            lines.push("FAILED: nothing was run".to_owned());
        }
        lines.extend(telling(&std::fs::read_to_string(&report.log).unwrap_or_default()));
        lines.push(format!("output: {}", report.log.display()));
        lines.push(format!("again: cargo xtask test --lane {}", report.lane));
    }
    for tool in &report.missing {
        lines.push(format!(
            "NOT RUN: {} is missing; install it with `{}`",
            tool.name(),
            tool.install_command()
        ));
    }
    // Whatever the verdict: what did not run has shown nothing.
    lines.extend(left_out(&std::fs::read_to_string(&report.log).unwrap_or_default()));
    if report.gaps > 0 {
        let verb = if report.gaps == 1 { "part was" } else { "parts were" };
        lines.push(format!("NOT RUN: {} {verb} left out that should run here", report.gaps));
    }
    if report.skipped > 0 {
        let verb = if report.skipped == 1 { "test was" } else { "tests were" };
        lines.push(format!("SKIPPED: {} {verb} ignored or left out", report.skipped));
    }
    lines
}

/// What programs said that they left out.
fn left_out(log: &str) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let said = log.lines().filter(|line| line.starts_with("NOT RUN: ") && seen.insert(*line));
    said.map(|line| line.chars().take(240).collect()).collect()
}

/// The lines of a failed lane's output that say what went wrong: where only the end of a run is kept, they are all
/// that is known of it.
fn telling(log: &str) -> Vec<String> {
    const SIGNS: [&str; 7] = [
        " ... FAILED",
        "panicked at ",
        "SUMMARY: ",
        "error: ",
        "error[",
        "WARNING: ThreadSanitizer",
        "ERROR: ",
    ];
    let is_telling = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
    // The line after a panic is its sentence.
    let mut after_panic = false;
    let mut seen = std::collections::HashSet::new();
    let said = log.lines().filter(|line| {
        let told = std::mem::replace(&mut after_panic, line.contains("panicked at ")) || is_telling(line);
        // Some panics are planned, and come in thousands.
        told && !line.trim().is_empty() && seen.insert(line.to_owned())
    });
    said.take(TELLING_MAX).map(|line| format!("  | {}", line.chars().take(240).collect::<String>())).collect()
}

const TELLING_MAX: usize = 24;

/// Names to the left, figures to the right, and the last column as it comes.
fn table(rows: &[[String; 7]]) -> String {
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            6 => cell.clone(),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// `44600000` is hard to read, `44,600,000` is not.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What `--list` prints.
pub(crate) fn list(lanes: &[&Lane], toolbox: &mut Toolbox<'_>) -> String {
    let mut text = String::new();
    for lane in lanes {
        let quick = if lane.quick { ", quick" } else { "" };
        text += &format!("{:<10} {} (at most {} min{quick})\n", lane.name, lane.proves, lane.minutes);
        for &tool in lane.needs {
            let state = if toolbox.is_here(tool) {
                "is here".to_owned()
            } else {
                format!("is missing: {}", tool.install_command())
            };
            text += &format!("{:<10} needs {}, which {state}\n", "", tool.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::LANES;
    use crate::tools::Tool;
    use crate::workspace::Workspace;
    use std::path::PathBuf;
    use std::time::Duration;

    fn report(lane: &'static str, passed: u64) -> Report {
        let mut report = Report::new(lane, Duration::from_secs(120), PathBuf::from("target/xtask/x.log"));
        report.passed = passed;
        report.took = Duration::from_millis(14_700);
        report
    }

    fn failed(lane: &'static str) -> Report {
        let mut report = report(lane, 4);
        report.fail("tests: the program ended with exit status: 101");
        report
    }

    fn not_run(lane: &'static str) -> Report {
        let mut report = report(lane, 0);
        report.missing.push(Tool::CargoFuzz);
        report
    }

    #[test]
    fn what_went_wrong_is_picked_out_of_the_log() {
        let log = "test a ... ok\ntest b ... FAILED\nthread 'b' panicked at x.rs:1:2:\nthe sentence\nmore\n";
        assert_eq!(
            telling(log),
            ["  | test b ... FAILED", "  | thread 'b' panicked at x.rs:1:2:", "  | the sentence"]
        );
        assert!(telling(&"error: x\n".repeat(100)).len() <= TELLING_MAX);
    }

    #[test]
    fn what_programs_left_out_is_said_once() {
        let log = "NOT RUN: power: no root\ntest x\nNOT RUN: EIO: no strace\nNOT RUN: power: no root\n";
        assert_eq!(left_out(log), ["NOT RUN: power: no root", "NOT RUN: EIO: no strace"]);
        let mut gap = report("crash", 1);
        gap.gaps = 2;
        let text = render(std::slice::from_ref(&gap));
        assert!(text.contains("crash: NOT RUN: 2 parts were left out that should run here\n"), "{text}");
        assert_eq!(exit_status(&[gap]), EXIT_NOT_RUN);
    }

    #[test]
    fn totals_stand_alone_on_the_last_line() {
        assert_eq!(render(&[report("a", 2), report("b", 3)]).lines().last(), Some("5 passed, 0 failed"));
        let mut ignores = report("c", 1);
        ignores.skipped = 2;
        assert_eq!(render(&[failed("a"), ignores]).lines().last(), Some("5 passed, 1 failed, 2 skipped"));
    }

    #[test]
    fn each_lane_has_its_line_and_each_problem_its_remark() {
        let mut fuzz = report("fuzz", 8);
        fuzz.others.insert("executions".into(), 44_600_000);
        fuzz.skipped = 1;
        let text = render(&[fuzz, failed("unit"), not_run("crash")]);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        assert_eq!(
            line("fuzz ").split_whitespace().collect::<Vec<_>>(),
            ["fuzz", "passed", "8", "0", "1", "14", "/", "120", "44,600,000", "executions"]
        );
        assert!(line("unit ").contains("FAILED") && line("crash ").contains("NOT RUN"));
        assert!(text.contains("unit: FAILED: tests: the program ended with exit status: 101\n"));
        assert!(text.contains("unit: output: target/xtask/x.log\n"));
        assert!(text.contains(
            "crash: NOT RUN: cargo-fuzz is missing; install it with `cargo install cargo-fuzz --locked`\n"
        ));
        assert!(text.contains("fuzz: SKIPPED: 1 test was"));
    }

    #[test]
    fn the_exit_status_tells_failed_from_not_run() {
        assert_eq!(exit_status(&[report("a", 1)]), 0);
        assert_eq!(exit_status(&[report("a", 1), not_run("b")]), EXIT_NOT_RUN);
        assert_eq!(exit_status(&[not_run("a"), failed("b")]), EXIT_FAILED);
        assert_eq!(exit_status(&[report("ran nothing", 0)]), EXIT_FAILED);
        assert_eq!(exit_status(&[]), EXIT_FAILED);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 44_600_000].map(grouped), ["0", "999", "1,000", "44,600,000"]);
    }

    #[test]
    fn the_list_says_which_tool_is_missing() {
        let workspace = Workspace::pretend("/t", "/t", &[]);
        let lanes: Vec<&Lane> = LANES.iter().collect();
        let without = list(&lanes, &mut Toolbox::pretend(&workspace, &[]));
        assert!(without.contains("cargo-fuzz, which is missing: cargo install"), "{without}");
        let with = list(&lanes, &mut Toolbox::pretend(&workspace, &[Tool::CargoFuzz]));
        assert!(
            with.contains("cargo-fuzz, which is here") && with.contains("(at most 2 min, quick)"),
            "{with}"
        );
    }
}
