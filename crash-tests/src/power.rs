//! Cuts the power under writers again and again and checks what is left: see [`Cutter`].
//!
//! Stores live on an ext4 of their own. Everything acknowledged before the power was cut must be there when the
//! file system is mounted again (while it is being cut, the file system may say that it has flushed when it has not: to shut down is not one
//! step for it); for an asynchronous store everything up to some moment within its loss window. In each block the store is
//! once cut off while it is created, and at the end the power fails again while the store is being opened.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Result;
use crate::kill::{BLOCK, Counts, Plan, notes_max, spawn_opener, spawn_writer};
use crate::kind::Kind;
use crate::look::look;
use crate::model::Model;
use crate::mounts::{Cutter, Disk};
use crate::note::{Note, micros};
use crate::random::Random;
use crate::workload::REFUSED;

/// How often the power fails while the store is opened at the end of a block.
const RECOVERY_CUTS: u64 = 2;

/// As many cuts as the plan has cycles.
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
    let disk = match Disk::new("defaults") {
        Ok(disk) => disk,
        Err(error) => {
            counts.failures.push(format!("no disk to cut the power of: {error}"));
            return counts;
        }
    };
    let random = Random(seed ^ number.wrapping_mul(0x9fb2_1c65_1e98_df25));
    let mut block = Block { kind, disk, random, model: Model::new(kind.mode), counts };
    for cycle in 0..BLOCK {
        let before = block.counts.faults.sum();
        let error = block.cycle(cycle).err();
        if error.is_none() && block.counts.faults.sum() == before {
            continue;
        }
        let what = error.map_or_else(|| block.counts.faults.words.join("\n    "), |error| error.to_string());
        let mut counts = block.counts;
        let kept = block.disk.keep();
        counts.failures.push(format!(
            "{kind}, block {number}, cut {cycle}: {what}\n    \
             the disk after it was looked at, and the journal: {}\n    \
             again: crash power --kind {kind} --seed {seed} --block {number}",
            kept.parent().unwrap_or(&kept).display()
        ));
        return counts;
    }
    Counts {
        acknowledged: block.model.acknowledged,
        loss_max: Duration::from_micros(block.model.loss_max),
        ..block.counts
    }
}

struct Block {
    kind: Kind,
    disk: Disk,
    random: Random,
    model: Model,
    counts: Counts,
}

impl Block {
    fn cycle(&mut self, cycle: u64) -> Result<()> {
        let store = self.disk.root().join("store");
        let cutter = Cutter::new(self.disk.root())?;
        let mut child =
            spawn_writer(self.kind, &store, self.random.next(), self.model.next_version, Stdio::null())?;
        let cut_at = if cycle == 0 {
            self.cut_early(&mut child, cutter)?
        } else {
            self.cut_in_full_swing(&mut child, cutter)?
        };
        self.counts.cycles += 1;
        let journal = self.disk.root().with_extension("journal");
        std::fs::write(journal, self.model.journal())?;
        self.power_on()?;
        if cycle + 1 == BLOCK {
            for _ in 0..RECOVERY_CUTS {
                self.cut_recovery()?;
                self.power_on()?;
            }
        }
        let seen = look(self.kind, &store)?;
        self.counts.slowest_open = self.counts.slowest_open.max(seen.opened_in);
        let faults = self.model.compare(&seen, cut_at, cut_at);
        self.counts.faults.absorb(faults);
        Ok(())
    }

    fn power_on(&self) -> Result<()> {
        self.disk.umount()?;
        self.disk.mount()
    }

    /// Cuts the power after some operations, right after another one was begun. Says when.
    fn cut_in_full_swing(&mut self, child: &mut Child, cutter: Cutter) -> Result<u64> {
        let mut notes_left = 1 + self.random.below(notes_max(self.kind));
        let mut cutter = Some(cutter);
        let mut pipe = child.stdout.take().ok_or("the pipe")?;
        let mut cut_at = 0;
        while let Some(note) = Note::hear(&mut pipe)? {
            self.model.note(note)?;
            notes_left = notes_left.saturating_sub(1);
            let is_time = notes_left == 0 && !note.is_done;
            if let Some(cutter) = is_time.then(|| cutter.take()).flatten() {
                cut_at = micros();
                cutter.cut()?;
                // It may be refused first and end by itself.
                child.kill()?;
            }
        }
        self.settle(child, cutter.is_none())?;
        Ok(cut_at)
    }

    /// Cuts the power at some moment of the child's first milliseconds, in which it creates the store.
    fn cut_early(&mut self, child: &mut Child, cutter: Cutter) -> Result<u64> {
        std::thread::sleep(Duration::from_micros(self.random.below(15_000) as u64));
        let cut_at = micros();
        cutter.cut()?;
        child.kill()?;
        let mut pipe = child.stdout.take().ok_or("the pipe")?;
        while let Some(note) = Note::hear(&mut pipe)? {
            self.model.note(note)?;
        }
        let status = child.wait()?;
        self.counts.kills += 1;
        // A store that cannot be created says so; anything but a panic will do.
        if status.code() == Some(PANICKED) {
            return Err("whoever created the store panicked".into());
        }
        Ok(cut_at)
    }

    fn settle(&mut self, child: &mut Child, is_cut: bool) -> Result<()> {
        let status = child.wait()?;
        if !is_cut || status.code().is_some_and(|code| code != REFUSED) {
            return Err(format!("the writer ended by itself: {status}").into());
        }
        self.counts.kills += 1;
        self.counts.kills_inside += u64::from(self.model.is_doing());
        Ok(())
    }

    fn cut_recovery(&mut self) -> Result<()> {
        let cutter = Cutter::new(self.disk.root())?;
        let mut child = spawn_opener(self.kind, &self.disk.root().join("store"), Stdio::null())?;
        std::thread::sleep(Duration::from_micros(self.random.below(20_000) as u64));
        cutter.cut()?;
        child.kill()?;
        let status = child.wait()?;
        self.counts.kills += 1;
        self.counts.kills_of_recovery += 1;
        if status.code() == Some(PANICKED) { Err("whoever opened the store panicked".into()) } else { Ok(()) }
    }
}

/// The exit status of a program that panicked.
pub(crate) const PANICKED: i32 = 101;
