//! What a refreshed value leaves behind in a process without a runtime: no thread. A test binary of its own, since it counts
//! all threads of the process.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use nanotier::{Inline, Json, Keep, MemoryStore, keep, loader, mirror};

const SOON: Duration = Duration::from_millis(5);

/// By name, but for the one that runs this test and the one that started it.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between being listed and being asked.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("nanotier")).collect()
}

#[test]
fn no_thread_is_left_by_what_was_closed_or_dropped() {
    let store = Arc::new(MemoryStore::new());
    let tier = || Inline(store.clone());
    let count = |step| {
        let mut count = 0_u32;
        move || {
            count += step;
            Ok::<_, &str>(count)
        }
    };
    let mut counter = count(1);
    let writer = Keep::new(SOON).write_through(tier(), "numbers", "n", Json::default());
    let writer = writer.keep(move || std::future::ready(counter())).wait().unwrap();
    let reader = mirror::<u32>(tier(), "numbers", "n", Json::default(), SOON).wait().unwrap();
    let blocking = Keep::new(SOON).keep_blocking(count(2)).wait().unwrap();
    let late = loader(async || Err::<u32, _>("never"), SOON).unwrap();
    let hung = keep(std::future::pending::<Result<u32, &str>>, SOON).wait_for(SOON);
    assert!(hung.is_err());
    for value in [&writer, &reader, &blocking] {
        let third = (0..3).fold(value.version(), |version, _| value.changed(version).wait().unwrap());
        assert!(third >= 3 && value.healthy(), "{:?}", value.last_error());
    }
    while late.last_error().is_none() {
        std::thread::yield_now();
    }
    assert!(threads().iter().any(|name| name.starts_with("nanotier-worker")));

    writer.close().wait().unwrap();
    drop((writer, reader, late));
    blocking.close().wait().unwrap();
    drop(blocking);
    // It has the clock and the worker of who was first to use it.
    drop(store);
    // The threads that tell the time and wake sleepers stay a second or two longer than the last who needs them; the one of
    // a worker less. Real time, bounded.
    let begun = Instant::now();
    while !threads().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", threads());
        std::thread::yield_now();
    }
}
