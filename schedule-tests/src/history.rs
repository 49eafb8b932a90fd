//! Who wrote what when, by the order in which calls began and returned; and the reads that this forbids.
//!
//! **A read must not answer a number that was outdated before the read began**: one whose write or load had ended before another
//! write began that had returned, successfully, before the read began. A write that failed has ended when it
//! told so: a dead write never wins (rule O1). A loaded number is as old as the moment at which the loader began.

use std::sync::{Arc, Mutex, PoisonError};

use crate::explore::promise;

/// A moment in the order of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(u64);

/// Everything that was written.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    now: u64,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    /// `None` for a removal.
    number: Option<u64>,
    began: At,
    /// When nothing of it was in flight any more.
    ended: Option<At>,
    succeeded: bool,
}

/// A change that has begun.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    index: usize,
    /// Its number: the first was 1.
    pub number: u64,
}

impl History {
    fn with<R>(&self, act: impl FnOnce(&mut Log) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> At {
        self.with(Log::tick)
    }

    /// A write of a number that was never used begins, or a removal.
    pub fn begin(&self, removes: bool) -> Begun {
        self.with(|log| {
            let began = log.tick();
            let index = log.changes.len();
            let number = index as u64 + 1;
            log.changes.push(Change {
                number: (!removes).then_some(number),
                began,
                ended: None,
                succeeded: false,
            });
            Begun { index, number }
        })
    }

    /// It has returned.
    pub fn end(&self, begun: &Begun, succeeded: bool) {
        self.with(|log| {
            let ended = log.tick();
            let change = &mut log.changes[begun.index];
            (change.ended, change.succeeded) = (Some(ended), succeeded);
        });
    }

    /// A loader reads its source: what it brings is as old as this moment.
    #[must_use]
    pub fn load(&self) -> u64 {
        let begun = self.begin(false);
        self.end(&begun, false);
        begun.number
    }

    /// A read that began at `began` answered `number`.
    pub fn answered(&self, began: At, number: Option<u64>) {
        let Some(number) = number else { return };
        self.with(|log| {
            let source = log.changes.iter().find(|change| change.number == Some(number));
            promise(source.is_some(), || format!("{number} was answered and never written"));
            let Some(ended) = source.and_then(|source| source.ended) else { return };
            let outdates = |change: &&Change| {
                change.succeeded && change.began > ended && change.ended.is_some_and(|ended| ended < began)
            };
            let by = log.changes.iter().find(outdates);
            promise(by.is_none(), || {
                format!("{number} was answered though outdated by {by:?}; {:?}", log.changes)
            });
        });
    }
}

impl Log {
    fn tick(&mut self) -> At {
        self.now += 1;
        At(self.now)
    }
}
