//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Value, ValueExt as _};
use nanotier_tier::Clock;

use crate::kind::Kind;
use crate::{Error, Result};

pub(crate) enum Command {
    Test(Wanted),
    Child(Child),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Kill,
    Power,
    Faults,
    Planted,
}

/// What is to be tested, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) what: Vec<What>,
    pub(crate) kind: Option<Kind>,
    pub(crate) seed: u64,
    pub(crate) cycles: u64,
    /// Power cuts; a tenth of the cycles unless told otherwise.
    pub(crate) cuts: Option<u64>,
    /// Bits flipped in files; five times the cycles unless told otherwise.
    pub(crate) flips: Option<u64>,
    pub(crate) block: Option<u64>,
    pub(crate) jobs: usize,
}

impl Wanted {
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.kind.map_or_else(Kind::all, |kind| vec![kind])
    }
}

/// What a process is that another one of this program has started.
pub(crate) enum Child {
    Write { kind: Kind, folder: PathBuf, seed: u64, first_version: u64 },
    Open { kind: Kind, folder: PathBuf },
    Look { kind: Kind, folder: PathBuf },
    Serve { kind: Kind, folder: PathBuf },
    Share { kind: Kind, folder: PathBuf, who: u64 },
    Damage { kind: Kind, folder: PathBuf, seed: u64, flips: u64, from: u64 },
    Limited { kind: Kind, folder: PathBuf },
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    let command: String = match parser.next()? {
        Some(Value(command)) => command.string()?,
        _ => return Err(usage()),
    };
    if command == "child" {
        return parse_child(&mut parser).map(Command::Child);
    }
    let what = named(&command)?;
    let seed = u64::from(std::process::id()) ^ Clock::coarse().wall().as_millis();
    let mut wanted =
        Wanted { what, kind: None, seed, cycles: 200, cuts: None, flips: None, block: None, jobs: 3 };
    while let Some(argument) = parser.next()? {
        match argument {
            Value(another) => wanted.what.extend(named(&another.string()?)?),
            Long("kind") => wanted.kind = Some(parser.value()?.string()?.parse()?),
            Long("seed") => wanted.seed = parser.value()?.parse()?,
            Long("cycles") => wanted.cycles = parser.value()?.parse()?,
            Long("cuts") => wanted.cuts = Some(parser.value()?.parse()?),
            Long("flips") => wanted.flips = Some(parser.value()?.parse()?),
            Long("block") => wanted.block = Some(parser.value()?.parse()?),
            Long("jobs") => wanted.jobs = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Test(wanted))
}

fn named(command: &str) -> Result<Vec<What>> {
    Ok(match command {
        "all" => vec![What::Kill, What::Power, What::Faults, What::Planted],
        "kill" => vec![What::Kill],
        "power" => vec![What::Power],
        "faults" => vec![What::Faults],
        "planted" => vec![What::Planted],
        _ => return Err(usage()),
    })
}

fn parse_child(parser: &mut lexopt::Parser) -> Result<Child> {
    let role = parser.value()?.string()?;
    let kind = parser.value()?.string()?.parse()?;
    let folder = PathBuf::from(parser.value()?);
    Ok(match role.as_str() {
        "write" => {
            let (seed, first_version) = (parser.value()?.parse()?, parser.value()?.parse()?);
            Child::Write { kind, folder, seed, first_version }
        }
        "open" => Child::Open { kind, folder },
        "serve" => Child::Serve { kind, folder },
        "share" => Child::Share { kind, folder, who: parser.value()?.parse()? },
        "damage" => {
            let (seed, flips) = (parser.value()?.parse()?, parser.value()?.parse()?);
            let from = parser.value()?.parse()?;
            Child::Damage { kind, folder, seed, flips, from }
        }
        "limited" => Child::Limited { kind, folder },
        "look" => Child::Look { kind, folder },
        other => return Err(format!("a child knows no {other}").into()),
    })
}

fn usage() -> Error {
    "crash all, or some of kill, power, faults, planted [--kind redb|redb-async|..] [--seed N] [--cycles N] [--cuts N] [--flips N] [--block N] [--jobs N]".into()
}
