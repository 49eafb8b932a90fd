//! What left and must still be announced: outside the lock, per key in the order it left.

use crate::lifecycle::{Cause, Lifecycle};
use crate::sync::{Condvar, Mutex, local_static};
use crate::table::{Departed, Table};
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What one operation made leave. Most operations make at most one entry leave, and then nothing is allocated.
#[derive(Debug)]
pub(crate) struct Leaving<K, V> {
    first: Option<Left<K, V>>,
    rest: Vec<Left<K, V>>,
}

#[derive(Debug)]
struct Left<K, V> {
    departed: Departed<K, V>,
    cause: Cause,
}

impl<K, V> Leaving<K, V> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { first: None, rest: Vec::new() }
    }

    pub(crate) fn push(&mut self, departed: Departed<K, V>, cause: Cause) {
        let left = Left { departed, cause };
        match self.first {
            None => self.first = Some(left),
            Some(_) => self.rest.push(left),
        }
    }
}

/// A shard's departures that await their listener. Filled under the shard's lock, which makes the order;
/// emptied outside it, by one thread at a time, which keeps it.
#[derive(Debug)]
pub(crate) struct Outbox<K, V> {
    queue: Mutex<Queue<K, V>>,
    /// Signalled whenever the queue has become shorter than its limit, or delivery has ended.
    shorter: Condvar,
}

#[derive(Debug)]
struct Queue<K, V> {
    left: VecDeque<Left<K, V>>,
    /// Announced, and to be given back to the table.
    heard: Vec<Departed<K, V>>,
    /// A thread is delivering: what is queued now, it will deliver.
    delivering: bool,
}

impl<K, V> Outbox<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { left: VecDeque::new(), heard: Vec::new(), delivering: false }),
            shorter: Condvar::new(),
        }
    }

    /// Called under the shard's lock.
    pub(crate) fn enqueue(&self, leaving: &mut Leaving<K, V>) {
        if leaving.first.is_none() {
            return;
        }
        let mut queue = self.queue.lock();
        queue.left.extend(leaving.first.take());
        queue.left.append(&mut std::mem::take(&mut leaving.rest).into());
    }

    /// What was announced and must be given back to the table.
    pub(crate) fn take_heard(&self) -> Vec<Departed<K, V>> {
        std::mem::take(&mut self.queue.lock().heard)
    }

    /// Called outside all locks. Returns when the queue is empty or another thread is at it.
    pub(crate) fn deliver<X, L: Lifecycle<K, V>>(&self, table: &Table<K, V, X>, lifecycle: &L) {
        let mut queue = self.queue.lock();
        if queue.delivering {
            // A listener must not wait: it may be the one that delivers here, or be waited for by it.
            while queue.delivering && queue.left.len() > WAITING_MAX && !is_listening() {
                self.shorter.wait(&mut queue);
            }
            return;
        }
        queue.delivering = true;
        let mut panicked = None;
        while let Some(left) = queue.left.pop_front() {
            drop(queue);
            // The departures behind a panicking listener must not wait for the next writer.
            panicked = announce(table, lifecycle, &left).err().or(panicked);
            queue = self.queue.lock();
            queue.heard.push(left.departed);
            if queue.left.len() == WAITING_MAX {
                self.shorter.notify_all();
            }
        }
        queue.delivering = false;
        self.shorter.notify_all();
        drop(queue);
        if let Some(panic) = panicked {
            if !std::thread::panicking() {
                resume_unwind(panic);
            }
        }
    }
}

fn announce<K, V, X, L: Lifecycle<K, V>>(
    table: &Table<K, V, X>,
    lifecycle: &L,
    left: &Left<K, V>,
) -> Result<(), Box<dyn Any + Send>> {
    LISTENING.with(|depth| depth.set(depth.get() + 1));
    let (key, value) = table.departed(&left.departed);
    let heard = catch_unwind(AssertUnwindSafe(|| lifecycle.on_leave(key, value, left.cause)));
    LISTENING.with(|depth| depth.set(depth.get() - 1));
    heard
}

fn is_listening() -> bool {
    LISTENING.with(Cell::get) > 0
}

local_static! {
    /// How many listeners, of any engine, are on this thread's stack.
    static LISTENING: Cell<usize> = Cell::new(0);
}

/// Departures in one shard that may await a slow listener before writers wait for it.
const WAITING_MAX: usize = 1024;
