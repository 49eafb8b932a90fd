//! Nodes that have left, on their way to be used again.
//!
//! *Retired* ones are gathered until there are enough; *closed* ones wait for their grace; *ready* ones may be used
//! again, but for those that the look after the grace saw in use, which begin anew. The entries of ready ones are
//! dropped one by one, each when its node is used again, so that no single write pays for all.

use super::node::Node;
use crate::reclaim::{Grace, Held};
use std::collections::VecDeque;

#[derive(Debug)]
// In this order: what every write touches lies together at the end.
#[repr(C)]
pub(super) struct Garbage {
    /// As of the last look, for the ready ones.
    held: Held,
    /// Of the closed ones.
    grace: Option<Grace>,
    /// Without entries.
    vacant: Vec<u32>,
    /// How many retired ones are closed at once.
    limit: usize,
    /// In the order in which they were retired: first the ready ones, then the closed, then the retired.
    queue: VecDeque<u32>,
    ready: usize,
    closed: usize,
    /// How many of the retired have come back because they were being read.
    kept: usize,
}

/// What somebody should do, best outside the lock.
#[derive(Debug)]
pub(crate) enum Due {
    Nothing,
    /// End this grace. Much has been retired again since it began; by then a barrier made for somebody else has often
    /// ended it. One that another thread is about to end is left to it, unless that takes long.
    Grace {
        grace: Grace,
        is_urgent: bool,
    },
    /// Drop what is ready.
    Flush,
}

impl Garbage {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            held: Held::none(),
            grace: None,
            vacant: Vec::new(),
            limit,
            queue: VecDeque::new(),
            ready: 0,
            closed: 0,
            kept: 0,
        }
    }

    #[inline]
    pub(super) fn retire(&mut self, id: u32) {
        self.queue.push_back(id);
    }

    /// Nobody is reading any of them, nor will be.
    pub(super) fn retire_unread(&mut self, id: u32) {
        self.queue.push_back(id);
        self.ready = self.queue.len().saturating_sub(self.limit);
    }

    /// A node without an entry.
    pub(super) fn vacate(&mut self, id: u32) {
        self.vacant.push(id);
    }

    #[inline]
    pub(super) fn vacant(&mut self) -> Option<u32> {
        self.vacant.pop()
    }

    fn retired(&self) -> usize {
        self.queue.len() - self.ready - self.closed
    }

    /// A node whose entry nobody can be looking at, in the order in which they were retired.
    #[inline(always)]
    pub(super) fn ready<K, V>(&mut self, node: impl Fn(u32) -> *mut Node<K, V>) -> Option<u32> {
        if self.ready > 0 && self.held.is_empty() {
            self.ready -= 1;
            return self.queue.pop_front();
        }
        self.ready_slowly(node)
    }

    #[inline(never)]
    fn ready_slowly<K, V>(&mut self, node: impl Fn(u32) -> *mut Node<K, V>) -> Option<u32> {
        loop {
            while self.ready > 0 {
                self.ready -= 1;
                let id = self.queue.pop_front()?;
                if !self.held.holds(node(id)) {
                    return Some(id);
                }
                // It begins anew.
                self.queue.push_back(id);
                self.kept += 1;
            }
            if !self.look() {
                return None;
            }
        }
    }

    /// Makes the closed ones ready if their grace is over.
    fn look(&mut self) -> bool {
        if self.closed == 0 || !self.grace.as_ref().is_some_and(Grace::is_over) {
            return false;
        }
        self.grace = None;
        // Those that were ready before are looked for again, which is as good.
        self.ready += std::mem::take(&mut self.closed);
        self.held.look();
        true
    }

    /// Closes what is retired if it is much, and says what else is due.
    #[inline]
    pub(super) fn due(&mut self) -> Due {
        if self.retired() < self.limit {
            return Due::Nothing;
        }
        self.due_slowly()
    }

    #[cold]
    fn due_slowly(&mut self) -> Due {
        // What is being read comes back each time: it alone must not close a batch.
        if self.retired() < self.limit + self.kept {
            return Due::Nothing;
        }
        if self.closed > 0 && !self.look() {
            let is_urgent = self.retired() >= self.limit + self.limit / 2 + self.kept;
            return self.grace.clone().map_or(Due::Nothing, |grace| Due::Grace { grace, is_urgent });
        }
        self.close();
        // More than writes that come have a use for: what leaves without anything coming in its place.
        if self.ready > UNUSED_BATCHES * self.limit { Due::Flush } else { Due::Nothing }
    }

    fn close(&mut self) {
        self.closed = self.queue.len() - self.ready;
        self.kept = 0;
        // Later than some of them need, if some were closed before: it covers all.
        self.grace = Some(Grace::begin());
    }

    /// Closes all. Answers its grace; `None` if there is nothing to wait for or to drop.
    pub(super) fn close_all(&mut self) -> Option<Grace> {
        if self.is_empty() {
            return None;
        }
        // Also the ready ones: what the last look saw in use may not be any more.
        self.ready = 0;
        self.close();
        self.grace.clone()
    }

    /// Forgets all. There must be nothing but vacant ones.
    pub(super) fn clear(&mut self) {
        debug_assert!(self.is_empty());
        *self = Self::new(self.limit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Those that have an entry.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn bytes(&self) -> usize {
        (self.vacant.capacity() + self.queue.capacity()) * size_of::<u32>() + self.held.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        self.queue.iter().copied()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn all_vacant(&self) -> &[u32] {
        &self.vacant
    }
}

/// So many batches of ready ones are never there while an entry comes for each that leaves: up to three batches are in
/// the queue then, of which one is retired and one may be closed.
const UNUSED_BATCHES: usize = 2;
