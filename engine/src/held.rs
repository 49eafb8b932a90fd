//! Which engines this thread holds a lock of, so that a call that would wait for itself panics with a sentence.
//!
//! Closures and hooks run under a shard's lock. There, a read within a read is fine (the lock is taken
//! recursively); anything within a write, and a write within a read, would hang for ever, at once or, with another
//! shard, only sometimes. So the rule is per engine, not per shard: what is refused is refused every time.

use std::cell::Cell;

/// One lock held by this thread. Strictly nested: dropped in reverse order of creation, by the same thread.
#[derive(Debug)]
pub(crate) struct Held(std::marker::PhantomData<*const ()>);

impl Held {
    /// Marks a shared lock of `engine`. Panics if this thread holds an exclusive one.
    #[inline]
    pub(crate) fn shared(engine: EngineId) -> Self {
        HELD.with(|held| {
            if held.any(|mark| mark == engine.0 | EXCLUSIVE) {
                refuse_read();
            }
            held.push(engine.0);
        });
        Self(std::marker::PhantomData)
    }

    /// Marks the exclusive lock of `engine`. Panics if this thread holds any lock of it.
    #[inline]
    pub(crate) fn exclusive(engine: EngineId) -> Self {
        engine.assert_not_held();
        HELD.with(|held| held.push(engine.0 | EXCLUSIVE));
        Self(std::marker::PhantomData)
    }

    /// The lock just marked as exclusive has become a shared one. It must be this thread's innermost.
    pub(crate) fn downgrade(&self) {
        HELD.with(|held| {
            let top = &held.marks[held.depth.get() - 1];
            top.set(top.get() & !EXCLUSIVE);
        });
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        HELD.with(|held| held.depth.set(held.depth.get() - 1));
    }
}

/// The address of an engine's shards: an engine cannot move while a call into it is running.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineId(usize);

impl EngineId {
    #[inline]
    pub(crate) fn of<T>(shards: &[T]) -> Self {
        Self(shards.as_ptr() as usize & !EXCLUSIVE)
    }

    #[inline]
    pub(crate) fn is_held(self) -> bool {
        HELD.with(|held| held.any(|mark| mark & !EXCLUSIVE == self.0))
    }

    /// Panics if this thread may not take an exclusive lock of this engine.
    #[inline]
    pub(crate) fn assert_not_held(self) {
        if self.is_held() {
            refuse_write();
        }
        if HELD.with(|held| held.depth.get() >= DEPTH_MAX) {
            refuse_depth();
        }
    }
}

/// How many locks this thread holds.
#[cfg(test)]
pub(crate) fn depth() -> usize {
    HELD.with(|held| held.depth.get())
}

struct Marks {
    depth: Cell<usize>,
    /// The first `depth` count. Reads deeper than this are not recorded, and no write gets deeper.
    marks: [Cell<usize>; DEPTH_MAX],
}

impl Marks {
    #[inline]
    fn any(&self, matches: impl Fn(usize) -> bool) -> bool {
        let known = self.depth.get().min(DEPTH_MAX);
        self.marks[..known].iter().any(|mark| matches(mark.get()))
    }

    #[inline]
    fn push(&self, mark: usize) {
        let depth = self.depth.get();
        if let Some(free) = self.marks.get(depth) {
            free.set(mark);
        }
        self.depth.set(depth + 1);
    }
}

thread_local! {
    static HELD: Marks =
        const { Marks { depth: Cell::new(0), marks: [const { Cell::new(0) }; DEPTH_MAX] } };
}

#[cold]
#[inline(never)]
fn refuse_read() -> ! {
    panic!(
        "nanotier: this engine was read from inside a closure or hook that runs under its exclusive lock \
         (insert_if, compute, retain, remove_if, Eq): it would wait for itself"
    );
}

#[cold]
#[inline(never)]
fn refuse_write() -> ! {
    panic!(
        "nanotier: this engine was written to from inside a closure or hook that runs under its lock \
         (read, for_each, insert_if, compute, retain, remove_if, Clone, Eq): it would wait for itself"
    );
}

#[cold]
#[inline(never)]
fn refuse_depth() -> ! {
    panic!("nanotier: an engine was written to from inside more than {DEPTH_MAX} nested reads");
}

const DEPTH_MAX: usize = 16;
/// Set in a mark for an exclusive lock. Shards are aligned, so an address has this bit free.
const EXCLUSIVE: usize = 1;
