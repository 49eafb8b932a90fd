//! Kills writers with SIGKILL again and again and checks what is left.
//!
//! Cycles come in blocks of [`BLOCK`]: each begins with a store that is killed while it is created, and ends with kills of
//! those who recover it. A block is repeated by its number and the seed; blocks run next to each other.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nanotier_tier::Timestamp;

use crate::kind::{Kind, Mode};
use crate::look::look;
use crate::model::{Faults, Model};
use crate::note::{Note, micros};
use crate::planted::Bug;
use crate::random::Random;
use crate::{Error, Result, inject, this_program};

/// Cycles on one store.
pub(crate) const BLOCK: u64 = 10;
/// How far behind the clocks of two processes may be.
const CLOCK_SLACK: Duration = Duration::from_millis(100);
/// How often recovery is killed before the last look of a block.
const RECOVERY_KILLS: u64 = 3;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cycles: u64,
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    /// Only this one.
    pub(crate) block: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cycles: u64,
    pub(crate) kills: u64,
    pub(crate) kills_inside: u64,
    pub(crate) kills_of_recovery: u64,
    pub(crate) acknowledged: u64,
    pub(crate) slowest_open: Duration,
    pub(crate) loss_max: Duration,
    pub(crate) faults: Faults,
    /// What was found, where it is kept, and how to have it again.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.kills += other.kills;
        self.kills_inside += other.kills_inside;
        self.kills_of_recovery += other.kills_of_recovery;
        self.acknowledged += other.acknowledged;
        self.slowest_open = self.slowest_open.max(other.slowest_open);
        self.loss_max = self.loss_max.max(other.loss_max);
        self.faults.absorb(other.faults);
        self.failures.extend(other.failures);
    }
}

pub(crate) fn run(kind: Kind, plan: &Plan) -> Counts {
    let (first, end) = match plan.block {
        Some(block) => (block, block + 1),
        None => (0, plan.cycles.div_ceil(BLOCK)),
    };
    let (next, counts) = (AtomicU64::new(first), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let block = next.fetch_add(1, Relaxed);
                    if block >= end {
                        break;
                    }
                    let counted = run_block(kind, plan.seed, block);
                    let mut counts = counts.lock().expect("nobody panics with it");
                    counts.absorb(counted);
                    if !counts.failures.is_empty() {
                        // What was found is looked at first.
                        next.store(end, Relaxed);
                    }
                }
            });
        }
    });
    counts.into_inner().expect("nobody panics with it")
}

fn run_block(kind: Kind, seed: u64, number: u64) -> Counts {
    let mut counts = Counts::default();
    let folder = match tempfile::Builder::new().prefix("nanotier-crash-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            counts.failures.push(format!("no folder for temporary files: {error}"));
            return counts;
        }
    };
    let mut block = Block {
        kind,
        store: folder.path().join("store"),
        crashed: folder.path().join("crashed"),
        random: Random(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d)),
        model: Model::new(kind.mode),
        counts,
    };
    for cycle in 0..BLOCK {
        let before = block.counts.faults.sum();
        let error = block.cycle(cycle).err();
        if error.is_none() && block.counts.faults.sum() == before {
            continue;
        }
        let what = error.map_or_else(|| block.counts.faults.words.join("\n    "), |error| error.to_string());
        let kept = folder.keep();
        block.counts.failures.push(format!(
            "{kind}, block {number}, cycle {cycle}: {what}\n    \
             the store as the crash left it, and the journal: {}\n    \
             again: crash kill --kind {kind} --seed {seed} --block {number}",
            kept.display()
        ));
        return block.end();
    }
    block.end()
}

struct Block {
    kind: Kind,
    store: PathBuf,
    /// A copy of the store as the last crash left it, before anyone opened it.
    crashed: PathBuf,
    random: Random,
    model: Model,
    counts: Counts,
}

impl Block {
    fn end(self) -> Counts {
        Counts {
            acknowledged: self.model.acknowledged,
            loss_max: Duration::from_micros(self.model.loss_max),
            ..self.counts
        }
    }

    fn cycle(&mut self, cycle: u64) -> Result<()> {
        std::fs::create_dir_all(&self.store)?;
        let mut child = spawn_writer(
            self.kind,
            &self.store,
            self.random.next(),
            self.model.next_version,
            Stdio::inherit(),
        )?;
        let crashed_at =
            if cycle == 0 { self.kill_early(&mut child)? } else { self.kill_in_full_swing(&mut child)? };
        self.counts.cycles += 1;
        copy_folder(&self.store, &self.crashed)?;
        std::fs::write(self.crashed.with_extension("journal"), self.model.journal())?;
        if cycle + 1 == BLOCK {
            for _ in 0..RECOVERY_KILLS {
                self.kill_recovery()?;
            }
        }
        let seen = look(self.kind, &self.store)?;
        self.counts.slowest_open = self.counts.slowest_open.max(seen.opened_in);
        // Whoever told of a write had opened the store, and did not close it.
        if let Some(crashed_at) = crashed_at {
            let latest = Timestamp::from_millis(crashed_at / 1000).minus(CLOCK_SLACK);
            self.counts.faults.unnoticed += u64::from(seen.believed_since < latest);
        }
        let faults = self.model.compare(&seen, crashed_at.unwrap_or_else(micros), u64::MAX);
        self.counts.faults.absorb(faults);
        Ok(())
    }

    /// Lets the child do something from a handful to some hundreds of operations (thousands, if it does not wait for the disk), then kills it right after it was about to do
    /// another one: within the time that a commit takes. When that was, if it told of anything.
    fn kill_in_full_swing(&mut self, child: &mut Child) -> Result<Option<u64>> {
        let mut notes_left = 1 + self.random.below(notes_max(self.kind));
        let delay = Duration::from_micros(self.random.below(150) as u64);
        let mut pipe = child.stdout.take().ok_or("the pipe")?;
        let mut killed_at = None;
        while let Some(note) = Note::hear(&mut pipe)? {
            self.model.note(note)?;
            notes_left = notes_left.saturating_sub(1);
            if notes_left == 0 && !note.is_done && killed_at.is_none() {
                spin(delay);
                killed_at = Some(micros());
                child.kill()?;
            }
        }
        self.settle(child, killed_at.is_some())?;
        Ok(killed_at)
    }

    /// Kills the child at some moment of its first milliseconds, in which it creates the store.
    fn kill_early(&mut self, child: &mut Child) -> Result<Option<u64>> {
        std::thread::sleep(Duration::from_micros(self.random.below(6_000) as u64));
        let killed_at = micros();
        child.kill()?;
        let mut pipe = child.stdout.take().ok_or("the pipe")?;
        let mut told = false;
        while let Some(note) = Note::hear(&mut pipe)? {
            self.model.note(note)?;
            told = true;
        }
        self.settle(child, true)?;
        Ok(told.then_some(killed_at))
    }

    fn settle(&mut self, child: &mut Child, is_killed: bool) -> Result<()> {
        let status = child.wait()?;
        if !is_killed || status.code().is_some() {
            return Err(format!("the writer ended by itself: {status}").into());
        }
        self.counts.kills += 1;
        self.counts.kills_inside += u64::from(self.model.is_doing());
        Ok(())
    }

    fn kill_recovery(&mut self) -> Result<()> {
        let mut child = spawn_opener(self.kind, &self.store, Stdio::inherit())?;
        std::thread::sleep(Duration::from_micros(self.random.below(8_000) as u64));
        child.kill()?;
        let status = child.wait()?;
        self.counts.kills += 1;
        self.counts.kills_of_recovery += 1;
        if status.code().is_some() {
            Err(Error::from(format!("opening ended by itself: {status}")))
        } else {
            Ok(())
        }
    }
}

/// Notes that are waited for before a crash, at most. In an asynchronous store there must be time for some flushes.
pub(crate) fn notes_max(kind: Kind) -> usize {
    match kind.mode {
        Mode::Sync => 500,
        Mode::Async => 6_000,
    }
}

/// `errors` is where it complains.
pub(crate) fn spawn_writer(
    kind: Kind,
    store: &Path,
    seed: u64,
    first_version: u64,
    errors: Stdio,
) -> Result<Child> {
    let mut command = match kind.bug {
        Some(Bug::NeverSyncs) => inject::without_syncs(),
        _ => this_program(),
    };
    command.args(["child", "write", &kind.to_string()]).arg(store);
    command.args([seed.to_string(), first_version.to_string()]);
    Ok(command.stdout(Stdio::piped()).stderr(errors).spawn()?)
}

pub(crate) fn spawn_opener(kind: Kind, store: &Path, errors: Stdio) -> Result<Child> {
    Ok(this_program().args(["child", "open", &kind.to_string()]).arg(store).stderr(errors).spawn()?)
}

/// What is in a folder, folders in it included, to another one that is emptied first.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    match std::fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Sleeping would take longer than what is waited for.
fn spin(delay: Duration) {
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}
