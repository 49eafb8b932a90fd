//! How many loads run at once. Whoever comes too many waits for a turn, in order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Permits(Mutex<Desk>);

#[derive(Debug)]
struct Desk {
    free: usize,
    waiting: VecDeque<(u64, Waker)>,
    tickets_ever: u64,
}

impl Permits {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Desk { free: count, waiting: VecDeque::new(), tickets_ever: 0 })))
    }

    /// Waits for a turn. Dropped before it has come, it leaves the queue.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        let turn = {
            let mut desk = self.0.lock();
            if desk.free > 0 {
                desk.free -= 1;
                return Permit(self.clone());
            }
            desk.tickets_ever += 1;
            let ticket = desk.tickets_ever;
            desk.waiting.push_back((ticket, Waker::noop().clone()));
            Turn { permits: self, ticket }
        };
        poll_fn(|context| {
            let mut desk = self.0.lock();
            match desk.waiting.iter_mut().find(|(ticket, _)| *ticket == turn.ticket) {
                Some((_, waker)) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
        // What the turn has, the permit has from here on.
        std::mem::forget(turn);
        Permit(self.clone())
    }

    fn give_back(&self) {
        let mut desk = self.0.lock();
        let Some((_, waker)) = desk.waiting.pop_front() else {
            desk.free += 1;
            return;
        };
        drop(desk);
        waker.wake();
    }
}

/// A place in the queue.
struct Turn<'p> {
    permits: &'p Permits,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let was_waiting = {
            let mut desk = self.permits.0.lock();
            let before = desk.waiting.len();
            desk.waiting.retain(|(ticket, _)| *ticket != self.ticket);
            desk.waiting.len() < before
        };
        // Called while it went: the turn is the next one's.
        if !was_waiting {
            self.permits.give_back();
        }
    }
}

/// The right to load, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn turns_come_in_order_and_one_who_leaves_passes_his_on() {
        let permits = Permits::new(1);
        let mut context = Context::from_waker(Waker::noop());
        let ask = || {
            Box::pin({
                let permits = permits.clone();
                async move { permits.acquire().await }
            })
        };
        let (mut first, mut second, mut third, mut fourth) = (ask(), ask(), ask(), ask());
        let Poll::Ready(held) = first.as_mut().poll(&mut context) else { panic!("one is free") };
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert!(fourth.as_mut().poll(&mut context).is_pending());
        drop(third);
        drop(held);
        // Called, and gone before he heard it.
        drop(second);
        let Poll::Ready(held) = fourth.as_mut().poll(&mut context) else { panic!("his turn") };
        drop(held);
        assert_eq!(permits.0.lock().free, 1);
        let mut again = pin!(permits.acquire());
        assert!(again.as_mut().poll(&mut context).is_ready());
    }
}
