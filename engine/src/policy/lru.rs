//! Exact LRU: a use moves the entry to the front, and the last one leaves. Readers note their uses in a log, which is
//! applied before the order is asked or changed.

use super::list::List;
use super::log::Log;
use crate::sync::Arc;
#[cfg(any(test, fuzzing))]
use crate::table::Slots;

#[derive(Debug)]
pub(crate) struct Lru {
    list: List,
    log: Arc<Log>,
}

impl Lru {
    pub(super) fn new() -> Self {
        Self { list: List::default(), log: Arc::new(Log::new()) }
    }

    pub(super) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    #[inline(always)]
    fn apply(&mut self) {
        if !self.log.is_surely_applied() {
            self.apply_noted();
        }
    }

    #[inline(never)]
    fn apply_noted(&mut self) {
        let list = &mut self.list;
        self.log.apply(|id| list.renew(id));
    }

    #[inline]
    pub(super) fn used(&mut self, id: u32) {
        self.apply();
        self.list.renew(id);
    }

    /// As `used`, by a thread that could not note it, and that may do so from now on.
    pub(super) fn used_by(&mut self, thread: Option<usize>, id: u32) {
        self.used(id);
        if let Some(thread) = thread {
            self.log.begin(thread);
        }
    }

    pub(super) fn added(&mut self, id: u32) {
        // Not later: what is in the log is of who had this number before.
        self.apply();
        self.list.push_newest(id);
    }

    /// What is in the log may wait: moves of others change nothing here, and its own find it gone.
    pub(super) fn removed(&mut self, id: u32) {
        self.list.unlink(id);
    }

    pub(super) fn victim(&mut self) -> Option<u32> {
        self.apply();
        self.list.oldest()
    }

    /// The least recently used first.
    pub(super) fn ranked(&mut self) -> Vec<(u8, u32)> {
        self.apply();
        self.list.in_order().into_iter().map(|id| (0, id)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.apply();
        self.list = List::default();
    }

    pub(super) fn bytes(&self) -> usize {
        self.list.bytes() + self.log.bytes()
    }

    /// The order as it would be with the log applied, the oldest first.
    #[cfg(test)]
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut list = self.list.clone();
        self.log.pending().into_iter().for_each(|id| list.renew(id));
        list.in_order()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate<K, V>(&self, slots: &Slots<'_, K, V>) {
        self.list.validate(|id| slots.next_from(id) == Some(id), slots.len());
    }
}
