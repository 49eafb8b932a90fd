//! The coarse clock's hands, which one thread moves and all read, and how that thread comes and goes.

use loom::thread;
use nanotier_clock::models::Ticker;
use nanotier_loom_tests::explore::{Bound, explore};

/// Reads, while the thread ticks and a slow path puts the hands right.
#[test]
fn the_time_that_is_read_never_goes_back() {
    explore(Bound::Preemptions(2), || {
        let ticker = Ticker::new();
        let ticking = ticker.join();
        let first = ticking.steady_ms();
        assert!(first > 0, "who joins sees a time");
        let other = thread::spawn(move || {
            let ticking = ticker.join();
            let seen = ticking.steady_ms();
            ticking.put_right();
            assert!(ticking.steady_ms() > seen, "what was put right is");
        });
        let second = ticking.steady_ms();
        let third = ticking.steady_ms();
        assert!(first <= second && second <= third);
        other.join().unwrap();
        assert!(ticking.steady_ms() > first, "what another thread has put right is, once that is known");
    });
}

/// A clock that comes while the last one goes, and the thread with it.
#[test]
fn who_comes_while_the_last_one_goes_has_a_thread() {
    explore(Bound::Preemptions(3), || {
        let ticker = Ticker::new();
        let last = ticker.join();
        let other = thread::spawn(move || drop(last));
        let ticking = ticker.join();
        other.join().unwrap();
        // Nobody but the thread moves the hands.
        let seen = ticking.steady_ms();
        while ticking.steady_ms() == seen {
            thread::yield_now();
        }
        assert!(ticker.is_ticking());
    });
}
