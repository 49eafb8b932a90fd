//! What all rows share: the meter, the threads, how thorough to be, and the answers so far.

use std::io::{IsTerminal, Write};

use crate::crew::Crew;
use crate::judge::Row;
use crate::meter::Meter;

pub(crate) struct Bench {
    pub(crate) meter: Meter,
    pub(crate) crew: Crew,
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    pub(crate) progress: Progress,
    pub(crate) rows: Vec<Row>,
}

impl Bench {
    pub(crate) fn new(is_quick: bool) -> Self {
        Self {
            meter: Meter::new(),
            crew: Crew::new(),
            rounds: if is_quick { ROUNDS_QUICK } else { ROUNDS },
            is_quick,
            progress: Progress::new(),
            rows: Vec::new(),
        }
    }
}

const ROUNDS: usize = 21;
const ROUNDS_QUICK: usize = 9;

/// Which row runs, on standard error: one line that is drawn again on a terminal, else a line per row.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn say(&self, id: &str, variant: &str, round: usize, rounds: usize) {
        let gap = if variant.is_empty() { "" } else { ", " };
        let mut out = std::io::stderr();
        // Nobody may be looking any more; the report is still wanted.
        let _ = if self.is_terminal {
            write!(out, "\r\x1b[K{id}{gap}{variant}: round {round}/{rounds}").and_then(|()| out.flush())
        } else if round == 1 {
            writeln!(out, "{id}{gap}{variant}: {rounds} rounds")
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
