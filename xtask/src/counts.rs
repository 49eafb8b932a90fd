//! What a program's output says about how much it did.
//!
//! Understood, line by line and among anything else: the summaries of libtest (`cargo test`, doc tests) and of
//! nextest, libFuzzer's count of runs, and the line that our own programs print: `COUNT <name> <number>`.

use std::collections::BTreeMap;

/// The name under which libFuzzer's runs are reported.
pub(crate) const EXECUTIONS: &str = "executions";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored by the test itself, or skipped by the runner.
    pub(crate) skipped: u64,
    /// From `COUNT` lines; the same name twice adds up.
    named: BTreeMap<String, u64>,
    /// libFuzzer may state its runs twice, in the two ways kept apart here. Adding both up would be a lie.
    runs_done: u64,
    runs_stat: u64,
}

impl Counts {
    /// Reads one line, with or without its end, coloured or not.
    pub(crate) fn read_line(&mut self, line: &str) {
        let plain = without_colours(line);
        let line = plain.trim();
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.read_libtest(summary);
        } else if line.starts_with("Summary [") {
            self.read_nextest(line);
        } else if let Some(runs) = line.strip_prefix("Done ") {
            self.runs_done +=
                runs.split_once(" runs in ").and_then(|(runs, _)| runs.parse().ok()).unwrap_or(0);
        } else if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs_stat += runs.trim().parse().unwrap_or(0);
        } else {
            self.read_named(line);
        }
    }

    /// Everything counted that is not a test.
    pub(crate) fn others(&self) -> BTreeMap<String, u64> {
        let mut others = self.named.clone();
        let executions = self.runs_done.max(self.runs_stat);
        if executions > 0 {
            *others.entry(EXECUTIONS.to_owned()).or_default() += executions;
        }
        others
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    fn read_libtest(&mut self, summary: &str) {
        let figures = summary.split_once(". ").map_or("", |(_verdict, figures)| figures);
        for figure in figures.split("; ") {
            match number_and_word(figure) {
                Some((number, "passed")) => self.passed += number,
                Some((number, "failed")) => self.failed += number,
                Some((number, "ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// `Summary [   0.010s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped`
    fn read_nextest(&mut self, line: &str) {
        let figures = line.split_once(" run: ").map_or("", |(_head, figures)| figures);
        for figure in figures.split(", ") {
            match number_and_word(figure) {
                Some((number, "passed")) => self.passed += number,
                // "timed out" and "exec failed".
                Some((number, "failed" | "timed" | "exec")) => self.failed += number,
                Some((number, "skipped")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// `COUNT schedules 100000`. libtest may have written `test name ... ` on the same line just before.
    fn read_named(&mut self, line: &str) {
        let own = if line.starts_with("test ") { line.rsplit(" ... ").next().unwrap_or(line) } else { line };
        let mut words = own.split_whitespace();
        if words.next() != Some("COUNT") {
            return;
        }
        if let (Some(name), Some(Ok(number)), None) =
            (words.next(), words.next().map(str::parse), words.next())
        {
            let sum: &mut u64 = self.named.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(number);
        }
    }
}

fn number_and_word(figure: &str) -> Option<(u64, &str)> {
    let mut words = figure.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.trim_end_matches([',', ';', '.'])))
}

/// Leaves out the terminal's escape sequences: from ESC `[` to the letter that ends it.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape.find(|c: char| ('@'..='~').contains(&c)).map_or("", |end| &escape[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(output: &str) -> Counts {
        let mut counts = Counts::default();
        for line in output.split_inclusive('\n') {
            counts.read_line(line);
        }
        counts
    }

    fn tests(counts: &Counts) -> (u64, u64, u64) {
        (counts.passed, counts.failed, counts.skipped)
    }

    fn other(counts: &Counts, name: &str) -> Option<u64> {
        counts.others().get(name).copied()
    }

    #[test]
    fn summaries_of_all_test_binaries_add_up() {
        let counts = counted(
            "
running 3 tests
test result: a test may print anything ... ok
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s

test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s
   Doc-tests nanotier
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s; merged doctests compilation took 0.5s
",
        );
        assert_eq!(tests(&counts), (12, 2, 1));
        assert!(counts.others().is_empty());
    }

    #[test]
    fn nextest_is_understood_with_all_its_kinds_of_failure() {
        let counts = counted(
            "     Summary [   0.010s] 3 tests run: 3 passed, 1 skipped
     Summary [  12.500s] 9/10 tests run: 5 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 1 exec failed, 4 skipped\n",
        );
        assert_eq!(tests(&counts), (8, 4, 5));
    }

    #[test]
    fn runs_of_the_fuzzer_count_once_though_stated_twice() {
        let both = counted("Done 446000 runs in 15 second(s)\nstat::number_of_executed_units: 446000\n");
        assert_eq!(other(&both, EXECUTIONS), Some(446_000));
        let one = counted("stat::number_of_executed_units: 7\n");
        assert_eq!(other(&one, EXECUTIONS), Some(7));
        assert_eq!(other(&counted("Done with it\n"), EXECUTIONS), None);
    }

    #[test]
    fn own_counts_add_up_by_name() {
        let counts = counted(
            "COUNT schedules 100
test flights::one_load_per_key ... COUNT schedules 23
  COUNT kills 120\r
test flights::one_load_per_key ... ok
",
        );
        assert_eq!(other(&counts, "schedules"), Some(123));
        assert_eq!(other(&counts, "kills"), Some(120));
    }

    #[test]
    fn what_only_looks_like_a_count_is_not_one() {
        let counts = counted(
            "COUNT\nCOUNT kills\nCOUNT kills many\nCOUNT kills 1 2\nthe COUNT kills 5\nCOUNTER x 1\n",
        );
        assert!(counts.others().is_empty());
        assert_eq!(tests(&counted("note: test result: ok. 3 passed; 0 failed\n")), (0, 0, 0));
    }

    #[test]
    fn colours_do_not_hide_anything() {
        let counts = counted(
            "test result: \u{1b}[32mok\u{1b}[0m. 3 passed; 0 failed; 1 ignored\n\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] 2 tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped",
        );
        assert_eq!(tests(&counts), (5, 0, 1));
        assert_eq!(without_colours("cut \u{1b}[3"), "cut ");
    }
}
