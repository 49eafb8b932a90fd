//! One thread for all ticking clocks of a process, gone with the last. Alone in its process, so that it can count.
#![cfg(target_os = "linux")]

use nanotier_clock::Clock;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

fn tickers() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "nanotier-ticker").count()
}

/// A thread is listed under its name some moments after it was started, and unlisted some moments after it ended.
fn assert_there_are(count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while tickers() != count {
        assert!(Instant::now() < deadline, "{} tickers, not {count}", tickers());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn one_thread_for_the_process_started_by_the_first_clock_and_gone_with_the_last() {
    let (_manual, _hands) = Clock::manual();
    let _coarse = Clock::coarse();
    assert_there_are(0);
    for _ in 0..3 {
        let first = Clock::ticking();
        let second = Clock::default();
        let third = first.clone();
        assert_there_are(1);
        drop((first, second));
        thread::sleep(Duration::from_millis(20));
        assert_there_are(1);
        let before = third.now();
        thread::sleep(Duration::from_millis(20));
        assert!(third.now() > before, "it stands still for the clock that is left");
        drop(third);
        assert_there_are(0);
    }
}
