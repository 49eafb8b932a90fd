//! What left and must still be announced: outside the lock, per key in the order it left.

use crate::lifecycle::{Cause, Lifecycle};
use crate::sync::{Condvar, Mutex, local_static};
use crate::table::{Departed, Table};
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// Somebody wanted what leaves to be dropped at once, and left it to the one who delivers.
    hurry: bool,
    /// A thread is delivering: what is queued now, it will deliver.
    delivering: bool,
}

/// What one delivery has announced.
#[derive(Debug)]
pub(crate) struct Delivered<K, V> {
    /// To be given back to the table.
    pub(crate) heard: Vec<Departed<K, V>>,
    /// There is more, and this thread should go on.
    pub(crate) more: bool,
    /// Somebody wants it dropped at once.
    pub(crate) hurry: bool,
    pub(crate) panicked: Option<Box<dyn Any + Send>>,
}

impl<K, V> Outbox<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { left: VecDeque::new(), hurry: false, delivering: false }),
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

    /// Called outside all locks. Returns when the queue is empty or much was announced, with what must be given back to
    /// the table; or with nothing when another thread is at it. If that one is to have dropped at once what it announces,
    /// `hurry` says so. A panic of a listener's is among what it returns, since those behind it must be heard, too.
    pub(crate) fn deliver<X, L: Lifecycle<K, V>>(
        &self,
        table: &Table<K, V, X>,
        lifecycle: &L,
        hurry: bool,
    ) -> Option<Delivered<K, V>> {
        let mut delivered = Delivered { heard: Vec::new(), more: false, hurry: false, panicked: None };
        let mut queue = self.queue.lock();
        if queue.delivering {
            queue.hurry |= hurry;
            while queue.delivering && queue.left.len() > WAITING_MAX && !Unwaiting::is_on() {
                self.shorter.wait(&mut queue);
            }
            return None;
        }
        queue.delivering = true;
        while delivered.heard.len() < HEARD_MAX {
            let Some(left) = queue.left.pop_front() else { break };
            drop(queue);
            delivered.panicked = announce(table, lifecycle, &left).err().or(delivered.panicked);
            delivered.heard.push(left.departed);
            queue = self.queue.lock();
            if queue.left.len() == WAITING_MAX {
                self.shorter.notify_all();
            }
        }
        queue.delivering = false;
        delivered.more = !queue.left.is_empty();
        delivered.hurry = !delivered.more && std::mem::take(&mut queue.hurry);
        self.shorter.notify_all();
        Some(delivered)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().left.capacity().saturating_mul(size_of::<Left<K, V>>())
    }
}

fn announce<K, V, X, L: Lifecycle<K, V>>(
    table: &Table<K, V, X>,
    lifecycle: &L,
    left: &Left<K, V>,
) -> Result<(), Box<dyn Any + Send>> {
    let _listening = Unwaiting::begin();
    let (key, value) = table.departed(&left.departed);
    catch_unwind(AssertUnwindSafe(|| lifecycle.on_leave(key, value, left.cause)))
}

/// While there is one on this thread's stack, this thread waits for no delivery: it runs a listener, which may be the one
/// that delivers; or leads a load, for which a listener may be waiting. Of any engine.
#[derive(Debug)]
pub(crate) struct Unwaiting(std::marker::PhantomData<*const ()>);

impl Unwaiting {
    pub(crate) fn begin() -> Self {
        UNWAITING.with(|depth| depth.set(depth.get() + 1));
        Self(std::marker::PhantomData)
    }

    fn is_on() -> bool {
        UNWAITING.with(Cell::get) > 0
    }
}

impl Drop for Unwaiting {
    fn drop(&mut self) {
        UNWAITING.with(|depth| depth.set(depth.get() - 1));
    }
}

local_static! {
    static UNWAITING: Cell<usize> = Cell::new(0);
}

/// So many are given back at once, so that they can be dropped while the delivery goes on.
const HEARD_MAX: usize = 256;

/// Departures in one shard that may await a slow listener before writers wait for it.
const WAITING_MAX: usize = 1024;
