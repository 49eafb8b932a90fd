//! Nodes that have left, on their way to be used again.
//!
//! *Retired* ones are gathered until there are enough; *closed* ones wait for their grace; *ready* ones may be used
//! again, but for those that the look after the grace saw in use, which begin anew. The entries of ready ones are
//! dropped one by one, each when its node is used again, so that no single write pays for all.

use super::node::Node;
use crate::reclaim::{Grace, Held};

#[derive(Debug)]
pub(super) struct Garbage {
    /// Without entries.
    vacant: Vec<u32>,
    retired: Vec<u32>,
    closed: Vec<u32>,
    /// Of the closed ones.
    grace: Option<Grace>,
    ready: Vec<u32>,
    /// The first of the ready that is still there.
    next: usize,
    /// As of the last look, for the ready ones.
    held: Held,
    /// How many retired ones are closed at once.
    limit: usize,
}

impl Garbage {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            vacant: Vec::new(),
            retired: Vec::new(),
            closed: Vec::new(),
            grace: None,
            ready: Vec::new(),
            next: 0,
            held: Held::none(),
            limit,
        }
    }

    #[inline]
    pub(super) fn retire(&mut self, id: u32) {
        self.retired.push(id);
    }

    /// A node without an entry.
    pub(super) fn vacate(&mut self, id: u32) {
        self.vacant.push(id);
    }

    #[inline]
    pub(super) fn vacant(&mut self) -> Option<u32> {
        self.vacant.pop()
    }

    /// A node whose entry nobody can be looking at, in the order in which they were retired.
    #[inline]
    pub(super) fn ready<K, V>(&mut self, node: impl Fn(u32) -> *mut Node<K, V>) -> Option<u32> {
        loop {
            while let Some(&id) = self.ready.get(self.next) {
                self.next += 1;
                if !self.held.holds(node(id)) {
                    return Some(id);
                }
                self.retired.push(id);
            }
            if !self.look() {
                return None;
            }
        }
    }

    /// Makes the closed ones ready if their grace is over.
    fn look(&mut self) -> bool {
        if self.closed.is_empty() || !self.grace.as_ref().is_some_and(Grace::is_over) {
            return false;
        }
        self.grace = None;
        if self.next == self.ready.len() {
            self.ready.clear();
            std::mem::swap(&mut self.ready, &mut self.closed);
        } else {
            self.ready.drain(..self.next);
            self.ready.append(&mut self.closed);
        }
        self.next = 0;
        // Those that were ready before are looked for again, which is as good.
        self.held.look();
        true
    }

    /// Closes what is retired if it is much. Answers the grace that somebody should hasten, if there is much again
    /// before it is over: by then a barrier made for somebody else has often ended it.
    #[inline]
    pub(super) fn overdue(&mut self) -> Option<Grace> {
        if self.retired.len() < self.limit {
            return None;
        }
        self.overdue_slowly()
    }

    #[cold]
    fn overdue_slowly(&mut self) -> Option<Grace> {
        // What is held comes back each time: it alone must not close a batch.
        if self.retired.len() < self.limit + self.held.count() {
            return None;
        }
        if self.closed.is_empty() || self.look() {
            self.close();
            return None;
        }
        self.grace.clone()
    }

    fn close(&mut self) {
        std::mem::swap(&mut self.closed, &mut self.retired);
        self.grace = Some(Grace::begin());
    }

    /// Closes all. Answers its grace; `None` if there is nothing to wait for or to drop.
    pub(super) fn close_all(&mut self) -> Option<Grace> {
        self.closed.append(&mut self.retired);
        if !self.closed.is_empty() {
            // A later one than some have had: it covers all.
            self.grace = Some(Grace::begin());
        } else if self.next < self.ready.len() {
            return Some(Grace::begin());
        }
        self.grace.clone()
    }

    /// Forgets all. There must be nothing but vacant ones.
    pub(super) fn clear(&mut self) {
        debug_assert!(self.is_empty());
        *self = Self::new(self.limit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.retired.is_empty() && self.closed.is_empty() && self.next == self.ready.len()
    }

    /// Those that have an entry.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.retired.len() + self.closed.len() + self.ready.len() - self.next
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = [&self.vacant, &self.retired, &self.closed, &self.ready];
        numbers.iter().map(|numbers| numbers.capacity() * size_of::<u32>()).sum::<usize>() + self.held.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        let ready = self.ready[self.next..].iter();
        self.retired.iter().chain(&self.closed).chain(ready).copied()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn all_vacant(&self) -> &[u32] {
        &self.vacant
    }
}
