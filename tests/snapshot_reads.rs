//! What reading a refreshed value costs: what reading a mirror costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nanotier::{Clock, Keep, Snapshot};
use nanotier_counting::{CountingAllocator, count_allocations};
use nanotier_engine::Mirror;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn snapshot<V: Clone + Send + Sync + 'static>(value: V) -> Snapshot<V> {
    let (clock, _hands) = Clock::manual();
    let load = move || std::future::ready(Ok::<_, std::convert::Infallible>(value.clone()));
    Keep::new(Duration::from_secs(60)).clock(clock).keep(load).wait().unwrap()
}

#[test]
fn a_read_allocates_nothing() {
    let names = snapshot(vec![1_u64, 2, 3]);
    // A thread's first look makes the thread known: once.
    names.read(Vec::len);
    let (read, allocations) = count_allocations(|| (names.read(Vec::len), names.version()));
    assert_eq!((read, allocations), ((3, 0), 0));
    let (_, allocations) = count_allocations(|| (names.age(), names.healthy(), names.last_error()));
    assert_eq!(allocations, 0);
}

/// `cargo test --release --test snapshot_reads -- --ignored --nocapture`
#[test]
#[ignore = "measures time"]
fn a_read_costs_what_a_mirrors_read_costs() {
    const READS: u32 = 200_000;
    const ROUNDS: usize = 201;
    let (snapshot, mirror) = (snapshot(5_u64), Arc::new(Mirror::new(5_u64)));
    let time = |read: &dyn Fn() -> u64| {
        let begun = Instant::now();
        black_box(read());
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
    };
    let ours = || (0..READS).fold(0, |sum, _| sum ^ black_box(&snapshot).read(|value| *value));
    let theirs = || (0..READS).fold(0, |sum, _| sum ^ black_box(&mirror).read(|value| *value));
    // Turn by turn, so that whatever else the machine does concerns both alike.
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(&ours), time(&theirs))).collect();
    rounds.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let ratio = rounds[ROUNDS / 2].0 / rounds[ROUNDS / 2].1;
    rounds.sort_by(|one, other| one.1.total_cmp(&other.1));
    println!("a mirror's read {:.2} ns, a snapshot's {ratio:.3} times that", rounds[ROUNDS / 2].1);
    assert!(ratio < 1.1, "{ratio}");
}
