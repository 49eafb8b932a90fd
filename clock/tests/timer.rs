//! The thread that wakes sleepers: started by the first, gone some time after the last. Alone in its process, so that it can
//! count.
#![cfg(target_os = "linux")]

use nanotier_clock::Clock;
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

fn timers() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "nanotier-timer").count()
}

fn assert_there_are(count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while timers() != count {
        assert!(Instant::now() < deadline, "{} timers, not {count}", timers());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_thread_wakes_all_sleepers_and_is_gone_when_nobody_sleeps() {
    let (manual, hands) = Clock::manual();
    let mut by_hand = Box::pin(manual.sleep(Duration::from_millis(1)));
    assert!(by_hand.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    hands.advance(Duration::from_millis(1));
    block_on(by_hand);
    let clock = Clock::coarse();
    drop(clock.sleep(Duration::from_secs(1)));
    assert_there_are(0);
    for _ in 0..2 {
        for _ in 0..5 {
            // Longer than the coarse clock may be behind: a shorter one needs no thread.
            block_on(clock.sleep(Duration::from_millis(50)));
            assert_there_are(1);
        }
        assert_there_are(0);
    }
}
