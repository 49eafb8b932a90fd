//! Where values came from, and how long that took.

use std::time::Duration;

use nanotier::Source;

use crate::table::Table;
use crate::words::{bar, count, duration, percent};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Memory,
    Redb,
    Computed,
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Memory => Self::Memory,
            Source::Tier(_) => Self::Redb,
            _ => Self::Computed,
        }
    }
}

/// The times of all answers, by where they came from.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    times: [Vec<Duration>; 3],
    /// What it would have taken, or took, to compute every answer.
    worth: Duration,
    /// The part of it that was not computed.
    saved: Duration,
}

impl Tally {
    /// A tally with room for `len` answers of each kind: keeping it does not allocate.
    pub(crate) fn with_room(len: usize) -> Self {
        Self { times: [(); 3].map(|()| Vec::with_capacity(len)), ..Self::default() }
    }

    /// Counts an answer that took `took` and that it takes `worth` to compute.
    #[inline]
    pub(crate) fn count(&mut self, origin: Origin, took: Duration, worth: Duration) {
        self.times[origin as usize].push(took);
        self.worth += worth;
        if origin != Origin::Computed {
            self.saved += worth;
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (ours, theirs) in self.times.iter_mut().zip(other.times) {
            ours.extend(theirs);
        }
        self.worth += other.worth;
        self.saved += other.saved;
    }

    pub(crate) fn times(&self, origin: Origin) -> &[Duration] {
        &self.times[origin as usize]
    }

    pub(crate) fn median(&self, origin: Origin) -> Option<Duration> {
        let mut times = self.times(origin).to_vec();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    pub(crate) fn worth(&self) -> Duration {
        self.worth
    }

    pub(crate) fn saved(&self) -> Duration {
        self.saved
    }

    pub(crate) fn len(&self) -> usize {
        self.times.iter().map(Vec::len).sum()
    }

    pub(crate) fn say(&self) {
        let mut table = Table::new(["from", "answers", "share", "", "median", "99 % within"], &[0, 3]);
        for (name, origin) in
            [("memory", Origin::Memory), ("redb", Origin::Redb), ("computed", Origin::Computed)]
        {
            let mut times = self.times(origin).to_vec();
            times.sort_unstable();
            let at = |percent: usize| match times
                .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
            {
                Some(time) => duration(*time),
                None => "–".to_string(),
            };
            let (len, all) = (times.len(), self.len());
            // Room for a whole bar, so that the columns after it stand where they stand in every table.
            let bar = format!("{:width$}", bar(len, all), width = crate::words::BAR_LEN);
            table.row([name.to_string(), count(len), percent(len, all), bar, at(50), at(99)]);
        }
        table.say();
    }
}
