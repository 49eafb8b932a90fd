//! What the tests do to an engine: values with weight and deadline, a clock to move, operations, and their answers
//! as text, so that an engine and a model can be compared.

use crate::{Cause, Compute, Engine, Inserted, Lifecycle, LoadError, Options};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) type Key = u8;
pub(super) type Departure = (Key, u32, Cause);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) id: u32,
    pub(super) weight: u64,
    pub(super) dies_at: u64,
}

/// A clock to move by hand, and a listener that writes down what it hears.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    pub(super) now: Arc<AtomicU64>,
    pub(super) heard: Arc<Mutex<Vec<Departure>>>,
}

impl Lifecycle<Key, Value> for Watched {
    fn weight(&self, _: &Key, value: &Value) -> u64 {
        value.weight
    }

    fn is_dead(&self, _: &Key, value: &Value) -> bool {
        value.dies_at <= self.now.load(Ordering::Relaxed)
    }

    fn on_leave(&self, &key: &Key, value: &Value, cause: Cause) {
        self.heard.lock().push((key, value.id, cause));
    }
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Get(Key),
    Read(Key),
    Peek(Key),
    Contains(Key),
    Insert(Key, Value),
    InsertIf(Key, Value, bool),
    Load(Key, Value),
    FailToLoad(Key),
    Keep(Key),
    ComputePut(Key, Value),
    ComputeRemove(Key),
    Remove(Key),
    Take(Key),
    RemoveIf(Key, bool),
    RetainEven,
    Keys,
    Clear,
    SetCapacity(u64),
    Advance(u64),
}

/// Operations on keys 0 to 15 with values of up to this weight; the values' ids are made distinct by `number`.
pub(super) fn op(weight_max: u64, capacity_max: u64, mortal: bool) -> impl Strategy<Value = Op> {
    let key = || 0..16_u8;
    let life = if mortal { (1..30_u64).boxed() } else { Just(u64::MAX).boxed() };
    let value = (0..=weight_max, life).prop_map(|(weight, dies_at)| Value { id: 0, weight, dies_at });
    let value = move || value.clone();
    prop_oneof![
        6 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Read),
        1 => key().prop_map(Op::Peek),
        1 => key().prop_map(Op::Contains),
        8 => (key(), value()).prop_map(|(k, v)| Op::Insert(k, v)),
        2 => (key(), value(), any::<bool>()).prop_map(|(k, v, yes)| Op::InsertIf(k, v, yes)),
        3 => (key(), value()).prop_map(|(k, v)| Op::Load(k, v)),
        1 => key().prop_map(Op::FailToLoad),
        1 => key().prop_map(Op::Keep),
        2 => (key(), value()).prop_map(|(k, v)| Op::ComputePut(k, v)),
        1 => key().prop_map(Op::ComputeRemove),
        2 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Take),
        1 => (key(), any::<bool>()).prop_map(|(k, yes)| Op::RemoveIf(k, yes)),
        1 => Just(Op::RetainEven),
        1 => Just(Op::Keys),
        1 => Just(Op::Clear),
        1 => (0..=capacity_max).prop_map(Op::SetCapacity),
        3 => (0..3_u64).prop_map(Op::Advance),
    ]
}

/// Gives each value an id of its own, and a deadline that counts from the moment it is used.
pub(super) fn number(ops: &mut [Op]) {
    let (mut id, mut now) = (0, 0_u64);
    for op in ops {
        match op {
            Op::Advance(by) => now += *by,
            Op::Insert(_, value)
            | Op::InsertIf(_, value, _)
            | Op::Load(_, value)
            | Op::ComputePut(_, value) => {
                id += 1;
                value.id = id;
                value.dies_at = value.dies_at.saturating_add(now);
            }
            _ => {}
        }
    }
}

pub(super) struct Subject {
    pub(super) engine: Engine<Key, Value, Watched>,
    watched: Watched,
}

impl Subject {
    pub(super) fn new(options: Options) -> Self {
        let watched = Watched::default();
        Self { engine: Engine::with(options, watched.clone()).unwrap(), watched }
    }

    /// What left since the last call, sorted: within one operation the order of different keys is free.
    pub(super) fn heard(&self) -> Vec<Departure> {
        let mut heard = std::mem::take(&mut *self.watched.heard.lock());
        heard.sort_by_key(|&(key, id, _)| (key, id));
        heard
    }

    pub(super) fn run(&self, op: Op) -> String {
        let engine = &self.engine;
        match op {
            Op::Get(key) => said(engine.get(&key)),
            Op::Read(key) => said(engine.read(&key, |value| value.id)),
            Op::Peek(key) => said(engine.peek(&key)),
            Op::Contains(key) => said(engine.contains(&key)),
            Op::Insert(key, value) => said(engine.insert(key, value)),
            Op::InsertIf(key, value, yes) => {
                let mut seen = None;
                let inserted = engine.insert_if(key, value, |old| {
                    seen = old.cloned();
                    yes
                });
                said((inserted, seen))
            }
            Op::Load(key, value) => said(engine.get_or_insert_with(&key, || value)),
            Op::FailToLoad(key) => said(engine.try_get_or_insert_with(&key, || Err("no"))),
            Op::Keep(key) => said(engine.compute(key, |_| Compute::Keep)),
            Op::ComputePut(key, value) => said(engine.compute(key, |_| Compute::Put(value))),
            Op::ComputeRemove(key) => said(engine.compute(key, |_| Compute::Remove)),
            Op::Remove(key) => said(engine.remove(&key)),
            Op::Take(key) => said(engine.take(&key)),
            Op::RemoveIf(key, yes) => said(engine.take_if(&key, |_| yes)),
            Op::RetainEven => {
                engine.retain(|key, _| key % 2 == 0);
                said(())
            }
            Op::Keys => {
                let mut keys = engine.keys();
                keys.sort_unstable();
                said(keys)
            }
            Op::Clear => {
                engine.clear();
                said(())
            }
            Op::SetCapacity(capacity) => {
                engine.set_capacity(capacity);
                said(())
            }
            Op::Advance(by) => {
                self.watched.now.fetch_add(by, Ordering::Relaxed);
                said(())
            }
        }
    }
}

fn said(answer: impl std::fmt::Debug) -> String {
    format!("{answer:?}")
}

/// The slow obvious twin: a list, oldest use first.
#[derive(Debug)]
pub(super) struct Naive {
    pub(super) entries: Vec<(Key, Value)>,
    pub(super) capacity: u64,
    now: u64,
    left: Vec<Departure>,
}

impl Naive {
    pub(super) fn new(capacity: u64) -> Self {
        Self { entries: Vec::new(), capacity, now: 0, left: Vec::new() }
    }

    pub(super) fn weight(&self) -> u64 {
        self.entries.iter().map(|(_, value)| value.weight).sum()
    }

    pub(super) fn left(&mut self) -> Vec<Departure> {
        let mut left = std::mem::take(&mut self.left);
        left.sort_by_key(|&(key, id, _)| (key, id));
        left
    }

    pub(super) fn run(&mut self, op: Op) -> String {
        match op {
            Op::Get(key) => said(self.use_live(key)),
            Op::Read(key) => said(self.use_live(key).map(|value| value.id)),
            Op::Peek(key) => said(self.live(key)),
            Op::Contains(key) => said(self.live(key).is_some()),
            Op::Insert(key, value) => said(self.put(key, value)),
            Op::InsertIf(key, value, yes) => {
                let seen = self.find(key).map(|at| self.entries[at].1.clone());
                said((yes.then(|| self.put(key, value)), seen))
            }
            Op::Load(key, value) => {
                let found = self.use_live(key);
                let answer = found.unwrap_or_else(|| {
                    self.put(key, value.clone());
                    value
                });
                said(Ok::<_, LoadError>(answer))
            }
            Op::FailToLoad(key) => said(self.use_live(key).ok_or(LoadError::Failed("no"))),
            Op::Keep(key) => said(self.use_live(key)),
            Op::ComputePut(key, value) => {
                let inserted = self.put(key, value.clone());
                said((inserted != Inserted::Rejected).then_some(value))
            }
            Op::ComputeRemove(key) => {
                self.remove(key);
                said(None::<Value>)
            }
            Op::Remove(key) => said(self.remove(key)),
            Op::Take(key) => said(self.take(key, true)),
            Op::RemoveIf(key, yes) => said(self.take(key, yes)),
            Op::RetainEven => {
                self.leave_where(Cause::Expired, |now, _, value| value.dies_at <= now);
                self.leave_where(Cause::Explicit, |_, key, _| key % 2 == 1);
                said(())
            }
            Op::Keys => {
                let live = self.entries.iter().filter(|(_, value)| value.dies_at > self.now);
                let mut keys: Vec<Key> = live.map(|&(key, _)| key).collect();
                keys.sort_unstable();
                said(keys)
            }
            Op::Clear => {
                self.leave_where(Cause::Explicit, |_, _, _| true);
                said(())
            }
            Op::SetCapacity(capacity) => {
                self.capacity = capacity;
                if self.weight() > capacity || capacity == 0 {
                    self.leave_where(Cause::Expired, |now, _, value| value.dies_at <= now);
                }
                self.evict(0);
                said(())
            }
            Op::Advance(by) => {
                self.now += by;
                said(())
            }
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.entries.iter().position(|&(resident, _)| resident == key)
    }

    fn live(&self, key: Key) -> Option<Value> {
        let value = &self.entries[self.find(key)?].1;
        (value.dies_at > self.now).then(|| value.clone())
    }

    fn use_live(&mut self, key: Key) -> Option<Value> {
        let value = self.live(key)?;
        let at = self.find(key)?;
        let entry = self.entries.remove(at);
        self.entries.push(entry);
        Some(value)
    }

    fn put(&mut self, key: Key, value: Value) -> Inserted {
        let fits = value.weight <= self.capacity && self.capacity > 0;
        if fits {
            self.leave_where(Cause::Expired, |now, other, value| other != key && value.dies_at <= now);
        }
        let had = self.leave(key, Cause::Replaced);
        if !fits {
            return Inserted::Rejected;
        }
        self.evict(value.weight);
        self.entries.push((key, value));
        if had == Some(Cause::Replaced) { Inserted::Replaced } else { Inserted::Done }
    }

    fn remove(&mut self, key: Key) -> bool {
        self.leave(key, Cause::Explicit) == Some(Cause::Explicit)
    }

    fn take(&mut self, key: Key, yes: bool) -> Option<Value> {
        let live = self.live(key);
        if live.is_none() {
            self.leave(key, Cause::Explicit);
        } else if yes {
            let at = self.find(key)?;
            self.entries.remove(at);
        }
        live.filter(|_| yes)
    }

    fn leave(&mut self, key: Key, cause: Cause) -> Option<Cause> {
        let (_, value) = self.entries.remove(self.find(key)?);
        let cause = if value.dies_at <= self.now { Cause::Expired } else { cause };
        self.left.push((key, value.id, cause));
        Some(cause)
    }

    fn leave_where(&mut self, cause: Cause, goes: impl Fn(u64, Key, &Value) -> bool) {
        let (now, left) = (self.now, &mut self.left);
        self.entries.retain(|(key, value)| {
            let goes = goes(now, *key, value);
            if goes {
                left.push((*key, value.id, cause));
            }
            !goes
        });
    }

    fn evict(&mut self, arriving: u64) {
        while self.weight() + arriving > self.capacity || (self.capacity == 0 && !self.entries.is_empty()) {
            let (key, value) = self.entries.remove(0);
            self.left.push((key, value.id, Cause::Capacity));
        }
    }
}
