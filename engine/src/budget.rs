//! The capacity, which is one for all shards: each draws what it needs, and gives back what it has too much of.
//!
//! What shards have drawn and what is free are the capacity together; but while a value comes that is heavy for its shard,
//! and while the capacity is made smaller, more has been drawn than there is: that is *owed*, nobody draws, and whoever
//! caused it has shards release what they have until all is paid. [`Engine::validate`](crate::Engine) checks the sum.

use crate::sync::{AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};

#[derive(Debug)]
pub(crate) struct Budget {
    capacity: AtomicU64,
    shards: u64,
    /// Whether there is anything to look for in the account: read without its lock.
    signals: AtomicU8,
    account: Mutex<Account>,
    /// Which shard pays first.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Account {
    /// Zero while anything is owed.
    free: u64,
    /// Several that are as heavy as the capacity may come at once.
    owed: u128,
    /// A shard that has less than its share found nothing.
    is_wanted: bool,
}

impl Budget {
    pub(crate) fn new(capacity: u64, shards: usize) -> Self {
        let account = Account { free: capacity, ..Account::default() };
        Self {
            capacity: AtomicU64::new(capacity),
            shards: shards as u64,
            signals: AtomicU8::new(account.signals()),
            account: Mutex::new(account),
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// What a shard would have if all had as much.
    pub(crate) fn share(&self) -> u64 {
        self.capacity() / self.shards
    }

    /// How much a shard will have, if chance does not give it very much more than others.
    pub(crate) fn expected(&self) -> u64 {
        let share = self.capacity().div_ceil(self.shards);
        // Three times what chance makes of it where each entry weighs the same.
        if self.shards == 1 { share } else { share.saturating_add(3 * share.isqrt()) }
    }

    /// How much a shard may keep that it does not need. With one shard, all.
    pub(crate) fn spare(&self) -> u64 {
        if self.shards == 1 { u64::MAX } else { (self.share() / SPARE_SHARE).max(1) }
    }

    /// A shard that has drawn less than this is given some of what others have.
    pub(crate) fn poor(&self) -> u64 {
        if self.shards == 1 { 0 } else { self.share() - self.share() / SPARE_SHARE }
    }

    /// Whether there is anything to [`draw`](Self::draw), or anything [`wanted`](Self::wanted); perhaps as of a moment ago.
    #[inline]
    pub(crate) fn concerns(&self, drawn: u64, poor: u64) -> bool {
        let signals = self.signals.load(Ordering::Relaxed);
        if signals & (FREE | OWED) != 0 {
            return true;
        }
        // What others want concerns who has more than they; who has less says so once.
        if signals & WANTED != 0 { drawn > self.share() } else { drawn < poor }
    }

    /// For a shard that has `drawn` so much: as much as is `missing`, if there is, and some more while there is plenty.
    /// With little left it is little more, so that none is out of reach when there is none left.
    pub(crate) fn draw(&self, drawn: u64, missing: u64) -> u64 {
        let mut account = self.account();
        let ahead = if self.shards == 1 {
            account.free
        } else {
            (account.free / (4 * self.shards)).min(self.spare() / 2)
        };
        let amount = missing.max(ahead).min(account.free);
        account.free -= amount;
        if amount < missing && drawn < self.poor() {
            account.is_wanted = true;
        }
        self.signal(&account);
        amount
    }

    /// How much a shard that has `drawn` so much should release, for one that has less than its share or because it is
    /// owed: a little at a time.
    pub(crate) fn wanted(&self, drawn: u64) -> u64 {
        let little = (self.spare() / 4).max(1);
        let mut account = self.account();
        if account.owed > 0 {
            return little.min(drawn);
        }
        let little = little.min(drawn.saturating_sub(self.share()));
        if !account.is_wanted || little == 0 {
            return 0;
        }
        account.is_wanted = false;
        self.signal(&account);
        little
    }

    /// What was drawn is given back.
    pub(crate) fn give_back(&self, amount: u64) {
        let mut account = self.account();
        account.receive(amount);
        self.signal(&account);
    }

    /// As much is drawn as there is not.
    pub(crate) fn overdraw(&self, amount: u64) {
        let mut account = self.account();
        account.owe(amount);
        self.signal(&account);
    }

    pub(crate) fn owed(&self) -> u128 {
        self.account().owed
    }

    /// Which shard is to pay first: another each time.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// What a shard that has `drawn` so much should release of what was `owed`: as large a part as of all that is drawn,
    /// but by the one that is `spared`; and no more than is still owed.
    pub(crate) fn due(&self, owed: u128, drawn: u64, spared: u64) -> u64 {
        let all = (owed + u128::from(self.capacity())).saturating_sub(spared.into());
        let still = u64::try_from(self.owed()).unwrap_or(u64::MAX);
        let due = u128::from(drawn).saturating_mul(owed).div_ceil(all.max(1));
        u64::try_from(due).unwrap_or(u64::MAX).min(drawn).min(still)
    }

    /// Changes the capacity; what is then drawn too much is owed.
    pub(crate) fn resize(&self, capacity: u64) {
        let mut account = self.account();
        let old = self.capacity.load(Ordering::Relaxed);
        self.capacity.store(capacity, Ordering::Relaxed);
        if capacity >= old {
            account.receive(capacity - old);
        } else {
            account.owe(old - capacity);
        }
        self.signal(&account);
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate(&self, drawn: u64) {
        let account = self.account();
        assert!(account.free == 0 || account.owed == 0, "nothing is free while anything is owed");
        assert_eq!(account.owed, 0, "at rest nothing is owed");
        assert_eq!(account.free + drawn, self.capacity(), "what is drawn and what is free are the capacity");
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock()
    }

    fn signal(&self, account: &Account) {
        let signals = account.signals();
        if self.signals.load(Ordering::Relaxed) != signals {
            self.signals.store(signals, Ordering::Relaxed);
        }
    }
}

impl Account {
    fn signals(&self) -> u8 {
        let signal = |is_so, signal| if is_so { signal } else { 0 };
        signal(self.free > 0, FREE) | signal(self.is_wanted, WANTED) | signal(self.owed > 0, OWED)
    }

    fn receive(&mut self, amount: u64) {
        let paid = u64::try_from(self.owed).unwrap_or(u64::MAX).min(amount);
        self.owed -= u128::from(paid);
        // Never more than the capacity, which is a number.
        self.free += amount - paid;
    }

    fn owe(&mut self, amount: u64) {
        let paid = amount.min(self.free);
        self.free -= paid;
        self.owed += u128::from(amount - paid);
    }
}

/// What there may be to look for in the account.
const FREE: u8 = 1;
const WANTED: u8 = 2;
const OWED: u8 = 4;

/// A shard keeps up to this part of its share that it does not need.
const SPARE_SHARE: u64 = 16;
