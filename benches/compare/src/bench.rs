//! What all rows share: the meter, the threads, how thorough to be, and the answers so far.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use crate::crew::Crew;
use crate::goals::Question;
use crate::judge::{self, Figure, Row};
use crate::meter::Meter;

pub(crate) struct Bench {
    pub(crate) meter: Meter,
    pub(crate) crew: Crew,
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    pub(crate) progress: Progress,
    pub(crate) rows: Vec<Row>,
    /// Those of the command that runs: two commands may have a row of the same name.
    questions: &'static [Question],
}

impl Bench {
    pub(crate) fn new(is_quick: bool, questions: &'static [Question]) -> Self {
        Self {
            meter: Meter::new(),
            crew: Crew::new(),
            rounds: if is_quick { ROUNDS_QUICK } else { ROUNDS },
            is_quick,
            progress: Progress::new(),
            rows: Vec::new(),
            questions,
        }
    }

    pub(crate) fn question(&self, id: &str) -> &'static Question {
        let mut questions = self.questions.iter();
        questions.find(|question| question.id == id).expect("every row that runs is in the table")
    }

    /// Leaves the rows of what was counted rather than raced.
    pub(crate) fn figures(&mut self, id: &'static str, unit: &'static str, figures: &[Figure]) {
        self.rows.extend(judge::figures(self.question(id), unit, figures));
    }
}

const ROUNDS: usize = 21;
const ROUNDS_QUICK: usize = 9;

/// What runs, on standard error: one line that is drawn again on a terminal, else a line per row.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn say(&self, id: &str, variant: &str, round: usize, rounds: usize) {
        let gap = if variant.is_empty() { "" } else { ", " };
        self.step(format_args!("{id}{gap}{variant}"), "round", round, rounds);
    }

    /// The `nth` of `count` steps of `what`, from 1 on.
    pub(crate) fn step(&self, what: impl Display, step: &str, nth: usize, count: usize) {
        let mut out = std::io::stderr();
        // Nobody may be looking any more; the report is still wanted.
        let _ = if self.is_terminal {
            write!(out, "\r\x1b[K{what}: {step} {nth}/{count}").and_then(|()| out.flush())
        } else if nth == 1 {
            writeln!(out, "{what}: {count} {step}s")
        } else {
            Ok(())
        };
    }

    pub(crate) fn end(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
