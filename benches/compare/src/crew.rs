//! Two threads, started once, that run the same loop at the same time.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use crate::meter::Waited;

/// A part of a contender's loop: which thread, from which operation on, how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) thread: u64,
    pub(crate) start: u64,
    pub(crate) ops: u64,
}

/// A contender's loop: runs a turn, says how many of its operations were hits.
pub(crate) type Lap = Arc<dyn Fn(Turn) -> u64 + Send + Sync>;
/// Makes what a turn will use up. Not measured.
pub(crate) type Prepare = Arc<dyn Fn(Turn) + Send + Sync>;

#[derive(Clone)]
struct Job {
    lap: Lap,
    prepare: Option<Prepare>,
    turn: Turn,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Done {
    began: Instant,
    ended: Instant,
    hits: u64,
    waited: f64,
}

/// What both threads did, from the first start to the last end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Together {
    pub(crate) ns_per_op: f64,
    pub(crate) hits: f64,
    /// By the thread that waited longest for a processor, as a share of the time.
    pub(crate) waited: f64,
}

#[derive(Debug)]
pub(crate) struct Crew {
    jobs: Vec<Sender<Job>>,
    done: Receiver<Done>,
}

impl Crew {
    pub(crate) const THREADS: usize = 2;

    pub(crate) fn new() -> Self {
        let (report, done) = channel();
        let start = |_| {
            let (sender, jobs) = channel();
            let report = report.clone();
            thread::spawn(move || work(&jobs, &report));
            sender
        };
        Self { jobs: (0..Self::THREADS).map(start).collect(), done }
    }

    /// Each thread does `ops` operations, from `start` on, once all are ready.
    pub(crate) fn run(&self, lap: &Lap, prepare: Option<&Prepare>, start: u64, ops: u64) -> Together {
        let gate = Arc::new(Gate(AtomicUsize::new(0)));
        for (thread, jobs) in (0..).zip(&self.jobs) {
            let turn = Turn { thread, start, ops };
            let job = Job { lap: lap.clone(), prepare: prepare.cloned(), turn, gate: gate.clone() };
            jobs.send(job).expect("a worker ends only when its crew does");
        }
        let receive = |_| self.done.recv().expect("a worker that panicked has said why");
        let all: Vec<Done> = (0..self.jobs.len()).map(receive).collect();
        let began = all.iter().map(|done| done.began).min().expect("there are workers");
        let ended = all.iter().map(|done| done.ended).max().expect("there are workers");
        let hits: u64 = all.iter().map(|done| done.hits).sum();
        Together {
            ns_per_op: ended.duration_since(began).as_nanos() as f64 / ops as f64,
            hits: hits as f64 / (ops * all.len() as u64) as f64,
            waited: all.iter().map(|done| done.waited).fold(0.0, f64::max),
        }
    }
}

fn work(jobs: &Receiver<Job>, report: &Sender<Done>) {
    while let Ok(Job { lap, prepare, turn, gate }) = jobs.recv() {
        if let Some(prepare) = prepare {
            prepare(turn);
        }
        let waited = Waited::now();
        gate.pass();
        let began = Instant::now();
        let hits = lap(turn);
        let ended = Instant::now();
        let done = Done { began, ended, hits, waited: waited.share_of(ended - began) };
        // What the contender leaves behind is dropped before the next batch is given out.
        drop(lap);
        if report.send(done).is_err() {
            return;
        }
    }
}

/// Opens once all have come. Spins: a thread that slept would start late by more than some batches take.
#[derive(Debug)]
struct Gate(AtomicUsize);

impl Gate {
    fn pass(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.0.load(Ordering::Acquire) < Crew::THREADS {
            spins = spins.saturating_add(1);
            // Where there are fewer processors than threads, the others must get their turn.
            if spins > SPINS_MAX {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

const SPINS_MAX: u32 = 100_000;
