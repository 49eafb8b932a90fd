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
            // Dropped outside the lock, as it was cloned: it may own anything, a place in this queue too.
            let mut waker = context.waker().clone();
            let mut desk = self.0.lock();
            match desk.waiting.iter_mut().find(|(ticket, _)| *ticket == turn.ticket) {
                Some((_, held)) => {
                    std::mem::swap(held, &mut waker);
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
        let left = {
            let mut desk = self.permits.0.lock();
            let at = desk.waiting.iter().position(|(ticket, _)| *ticket == self.ticket);
            at.and_then(|at| desk.waiting.remove(at))
        };
        // Called while it went: the turn is the next one's.
        if left.is_none() {
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

    /// What a waker may own: somebody else's place in the same queue.
    struct Owner(
        #[expect(dead_code, reason = "owned, and dropped")]
        Mutex<Option<nanotier_tier::BoxFuture<'static, Permit>>>,
    );

    impl std::task::Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_waker_that_owns_a_place_in_the_queue_may_be_replaced_and_dropped() {
        let permits = Permits::new(1);
        let wait = || -> nanotier_tier::BoxFuture<'static, Permit> {
            let permits = permits.clone();
            Box::pin(async move { permits.acquire().await })
        };
        let owner = || {
            let mut place = wait();
            assert!(place.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            Waker::from(Arc::new(Owner(Mutex::new(Some(place)))))
        };
        let Poll::Ready(held) = wait().as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("one is free")
        };
        let mut waiting = wait();
        for _ in 0..2 {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
        }
        drop(waiting);
        drop(held);
        let desk = permits.0.lock();
        assert_eq!((desk.free, desk.waiting.len()), (1, 0));
    }
}
