//! Which engines this thread holds a lock of, so that a call that would wait for itself panics with a sentence.
//!
//! Some closures and hooks run under a shard's lock. A write from there would hang for ever, at once or, with another
//! shard, only sometimes. So the rule is per engine, not per shard: what is refused is refused every time. Reads take
//! no lock, and are never refused.

use crate::sync::local_static;
use std::cell::Cell;

/// A lock held by this thread. Strictly nested: dropped in reverse order of creation, by the same thread.
#[derive(Debug)]
pub(crate) struct Held(std::marker::PhantomData<*const ()>);

impl Held {
    /// Marks the lock of `engine`. Panics if this thread holds one of it.
    #[inline]
    pub(crate) fn exclusive(engine: EngineId) -> Self {
        HELD.with(|held| {
            let depth = held.depth.get();
            if depth > 0 {
                held.assert_may_add(engine);
            }
            held.marks[depth].set(engine.0);
            held.depth.set(depth + 1);
        });
        Self(std::marker::PhantomData)
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        HELD.with(|held| held.depth.set(held.depth.get() - 1));
    }
}

/// The address of an engine's part: an engine cannot move while a call into it is running.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineId(usize);

impl EngineId {
    #[inline]
    pub(crate) fn of<T>(part: &T) -> Self {
        Self(std::ptr::from_ref(part).addr())
    }

    /// Panics if this thread may not take a lock of this engine.
    #[inline]
    pub(crate) fn assert_not_held(self) {
        HELD.with(|held| {
            if held.depth.get() > 0 {
                held.assert_may_add(self);
            }
        });
    }
}

/// Whether this thread holds a lock of any engine. Who only reads takes none then: two threads that read in each other's
/// closures would wait for each other.
pub(crate) fn is_any() -> bool {
    HELD.with(|held| held.depth.get() > 0)
}

/// How many locks this thread holds.
#[cfg(test)]
pub(crate) fn depth() -> usize {
    HELD.with(|held| held.depth.get())
}

struct Marks {
    depth: Cell<usize>,
    /// The first `depth` count.
    marks: [Cell<usize>; DEPTH_MAX],
}

impl Marks {
    fn has(&self, engine: EngineId) -> bool {
        self.marks[..self.depth.get()].iter().any(|mark| mark.get() == engine.0)
    }

    #[cold]
    #[inline(never)]
    fn assert_may_add(&self, engine: EngineId) {
        assert!(
            !self.has(engine),
            "nanotier: a call that needs a lock of this engine was made from inside a closure or hook that runs under \
             one (insert_if, compute, retain, remove_if, take_if; Eq, Clone, is_dead and the weigher in them): it would \
             wait for itself"
        );
        assert!(
            self.depth.get() < DEPTH_MAX,
            "nanotier: an engine was written to from inside closures of {DEPTH_MAX} other engines, one in another"
        );
    }
}

local_static! {
    static HELD: Marks = Marks { depth: Cell::new(0), marks: [const { Cell::new(0) }; DEPTH_MAX] };
}

const DEPTH_MAX: usize = 16;
