//! A race: all contenders of a row in one loop of rounds, one batch each per round, so that whatever the
//! machine does at the time meets all of them.

use std::sync::Arc;

use crate::bench::Bench;
use crate::contender::{Key, Reads, Role, Value};
use crate::crew::{Crew, Lap, Prepare, Turn};
use crate::goals::{self, BEST_LENDER, Question};
use crate::judge;
use crate::meter::Sample;

/// A contender with the loop that it runs.
pub(crate) struct Racer {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) note: &'static str,
    /// Runs alone, also in a race of two threads.
    is_alone: bool,
    lap: Lap,
    prepare: Option<Prepare>,
    residents: Box<dyn Fn() -> Option<usize>>,
    /// How many operations each thread has done.
    position: u64,
}

impl Racer {
    /// The loop is compiled for this contender; the one call through a pointer is per batch.
    pub(crate) fn new<K: Key, V: Value, C: Reads<K, V>>(
        cache: &Arc<C>,
        lap: impl Fn(Turn) -> u64 + Send + Sync + 'static,
    ) -> Self {
        let cache = cache.clone();
        let residents = Box::new(move || cache.residents());
        Self { residents, role: C::ROLE, note: C::NOTE, ..Self::bare(C::NAME, lap) }
    }

    /// One of ours that is no cache, or whose residents are of no interest.
    pub(crate) fn bare(name: &'static str, lap: impl Fn(Turn) -> u64 + Send + Sync + 'static) -> Self {
        Self {
            name,
            role: Role::Ours,
            note: "",
            is_alone: false,
            lap: Arc::new(lap),
            prepare: None,
            residents: Box::new(|| None),
            position: 0,
        }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn rival(self) -> Self {
        Self { role: Role::Rival, ..self }
    }

    pub(crate) fn bound(self) -> Self {
        Self { role: Role::Bound, ..self }
    }

    pub(crate) fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    pub(crate) fn prepared(self, prepare: impl Fn(Turn) + Send + Sync + 'static) -> Self {
        Self { prepare: Some(Arc::new(prepare)), ..self }
    }

    /// Tries again if other work on the machine took a processor away meanwhile.
    fn calm_batch(&mut self, bench: &mut Bench, threads: usize, ops: u64) -> Sample {
        let start = self.position;
        let mut best = self.batch(bench, threads, ops);
        // The next batch begins where it does for all others, however often this one was tried.
        let next_start = start + (self.position - start) * TRIES as u64;
        for _ in 1..TRIES {
            if best.is_calm() {
                break;
            }
            let next = self.batch(bench, threads, ops);
            if next.waited < best.waited {
                best = next;
            }
        }
        self.position = next_start;
        best
    }

    /// What has to be prepared is done piece by piece, so that it is as fresh as what a caller has just made,
    /// and not a pile that no cache of the processor holds.
    fn batch(&mut self, bench: &mut Bench, threads: usize, ops: u64) -> Sample {
        if self.prepare.is_none() {
            return self.piece(bench, threads, ops);
        }
        let pieces: Vec<Sample> =
            (0..ops.div_ceil(PIECE)).map(|_| self.piece(bench, threads, PIECE)).collect();
        Sample::mean(&pieces)
    }

    fn piece(&mut self, bench: &mut Bench, threads: usize, ops: u64) -> Sample {
        let start = self.position;
        self.position += ops;
        if threads > 1 && !self.is_alone {
            let together = bench.crew.run(&self.lap, self.prepare.as_ref(), start, ops);
            let (ns, hits, waited) = (together.ns_per_op, together.hits, together.waited);
            return Sample { ns, hits, waited, ..Sample::default() };
        }
        let turn = Turn { thread: 0, start, ops };
        if let Some(prepare) = &self.prepare {
            prepare(turn);
        }
        bench.meter.measure(ops, || (self.lap)(turn))
    }
}

/// What a batch is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Wall time where there are no counters.
    Cycles,
    Nanoseconds,
}

/// What has to be so for a ratio to mean anything, besides equal numbers of residents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hits {
    All,
    /// Their share is part of the answer.
    Some,
    None,
}

pub(crate) struct Race<'b> {
    bench: &'b mut Bench,
    pub(crate) id: &'static str,
    variant: &'static str,
    threads: usize,
    ops: u64,
    unit: Unit,
    hits: Hits,
    note: &'static str,
    racers: Vec<Racer>,
}

impl<'b> Race<'b> {
    /// One thread, `ops` operations per batch, judged by cycles, every look-up a hit.
    pub(crate) fn new(bench: &'b mut Bench, id: &'static str, ops: u64) -> Self {
        let unit = Unit::Cycles;
        Self { bench, id, variant: "", threads: 1, ops, unit, hits: Hits::All, note: "", racers: Vec::new() }
    }

    pub(crate) fn variant(self, variant: &'static str) -> Self {
        Self { variant, ..self }
    }

    pub(crate) fn two_threads(self) -> Self {
        Self { threads: Crew::THREADS, unit: Unit::Nanoseconds, ..self }
    }

    pub(crate) fn by_wall(self) -> Self {
        Self { unit: Unit::Nanoseconds, ..self }
    }

    pub(crate) fn hits(self, hits: Hits) -> Self {
        Self { hits, ..self }
    }

    pub(crate) fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// A quick run leaves out those against whom nothing is judged.
    pub(crate) fn wants(&self, name: &str, role: Role) -> bool {
        let mut goals = self.bench.question(self.id).goals.iter().filter(|goal| goal.variant == self.variant);
        let is_judged =
            |goal: &goals::Goal| goal.rival == name || (goal.rival == BEST_LENDER && role == Role::Rival);
        !self.bench.is_quick || role == Role::Ours || goals.any(is_judged)
    }

    pub(crate) fn enter(&mut self, racer: Racer) {
        self.racers.push(racer);
    }

    pub(crate) fn run(self) {
        let Self { bench, id, variant, threads, ops, unit, hits, note, mut racers } = self;
        let mut samples: Vec<Vec<Sample>> = racers.iter().map(|_| Vec::new()).collect();
        let mut gigahertz = Vec::new();
        for round in 0..bench.rounds {
            bench.progress.say(id, variant, round + 1, bench.rounds);
            gigahertz.push(bench.meter.gigahertz());
            for place in 0..racers.len() {
                let nth = (place + round) % racers.len();
                let racer = &mut racers[nth];
                // The others have used the processor's caches meanwhile.
                racer.batch(bench, threads, (ops / WARM_UP_PART).max(1));
                samples[nth].push(racer.calm_batch(bench, threads, ops));
            }
        }
        let ran = racers.iter().zip(samples).map(|(racer, samples)| Ran {
            name: racer.name,
            role: racer.role,
            note: racer.note,
            residents: (racer.residents)(),
            samples,
        });
        let question = bench.question(id);
        let result = Result { question, variant, threads, unit, hits, note, ran: ran.collect(), gigahertz };
        bench.rows.extend(judge::race(&result, bench.meter.has_counters()));
    }
}

const WARM_UP_PART: u64 = 8;
const TRIES: usize = 3;
/// Operations whose keys and values are made at once.
const PIECE: u64 = 1024;

/// What a race has shown.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) question: &'static Question,
    pub(crate) variant: &'static str,
    pub(crate) threads: usize,
    pub(crate) unit: Unit,
    pub(crate) hits: Hits,
    pub(crate) note: &'static str,
    pub(crate) ran: Vec<Ran>,
    /// Of each round.
    pub(crate) gigahertz: Vec<f64>,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) note: &'static str,
    pub(crate) residents: Option<usize>,
    /// One per round.
    pub(crate) samples: Vec<Sample>,
}

/// Enters each named contender that is wanted, with the racer that a function makes for its type.
macro_rules! enter {
    ($race:ident <- $make:ident $arguments:tt for <$key:ty, $value:ty> $($who:ident)*) => {
        $(
            {
                use $crate::contender::Reads as Of;
                type Contender = $crate::contender::$who<$key, $value>;
                let name = <Contender as Of<$key, $value>>::NAME;
                if $race.wants(name, <Contender as Of<$key, $value>>::ROLE) {
                    let racer = $make::<Contender> $arguments;
                    $race.enter(racer);
                }
            }
        )*
    };
}
pub(crate) use enter;
