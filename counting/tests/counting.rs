//! What the counting allocator promises. Tests share one process, so bytes are compared with room for what the
//! test harness allocates meanwhile; allocations are per thread and compared exactly.
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nanotier_counting::{
    CountingAllocator, allocations_of_this_thread, bytes_in_use, bytes_peak, count_allocations, forget_peak,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const LARGE: usize = 64 << 20;
/// Far more than a test harness needs, far less than `LARGE`.
const SLACK: i64 = 8 << 20;

#[test]
fn every_way_to_allocate_is_counted_once() {
    assert_eq!(count_allocations(|| ()).1, 0);
    assert_eq!(count_allocations(|| drop(black_box(Box::new(7)))).1, 1);
    assert_eq!(count_allocations(|| drop(black_box(vec![0_u8; 100]))).1, 1, "zeroed");
    let mut grows = Vec::<u8>::with_capacity(10);
    assert_eq!(count_allocations(|| grows.reserve_exact(1000)).1, 1, "moved or grown in place");
    assert_eq!(count_allocations(|| drop(black_box(grows))).1, 0, "freeing is not allocating");
}

#[test]
fn the_result_is_handed_through() {
    let (text, allocations) = count_allocations(|| String::from("kept"));
    assert_eq!((text.as_str(), allocations), ("kept", 1));
}

#[test]
fn counting_within_counting_counts_for_both() {
    let ((_inner_box, inner), outer) = count_allocations(|| {
        let _own = black_box(Box::new(1));
        count_allocations(|| black_box(Box::new(2)))
    });
    assert_eq!(inner, 1);
    // Own box, inner box, and the probe by which the inner call checks that the allocator is in place.
    assert_eq!(outer, 3);
}

#[test]
fn threads_do_not_hear_of_each_other() {
    let before = allocations_of_this_thread();
    let (inside, spawning) = {
        let handle = thread::spawn(|| {
            let at_start = allocations_of_this_thread();
            for _ in 0..1000 {
                drop(black_box(Box::new(3)));
            }
            allocations_of_this_thread() - at_start
        });
        (handle.join().expect("the thread does not panic"), allocations_of_this_thread() - before)
    };
    assert_eq!(inside, 1000);
    assert!(spawning < 100, "{spawning} allocations here, of which none are the other thread's thousand");
}

#[test]
fn a_thread_may_allocate_while_it_ends() {
    struct AllocatesWhenDropped;
    impl Drop for AllocatesWhenDropped {
        fn drop(&mut self) {
            let (_, allocations) = count_allocations(|| drop(black_box(Box::new(4))));
            SEEN_AT_THE_END.store(allocations, Ordering::Relaxed);
        }
    }
    static SEEN_AT_THE_END: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static LAST_WISH: RefCell<Option<AllocatesWhenDropped>> = const { RefCell::new(None) };
    }

    thread::spawn(|| LAST_WISH.set(Some(AllocatesWhenDropped))).join().expect("the thread does not panic");
    assert_eq!(SEEN_AT_THE_END.load(Ordering::Relaxed), 1);
}

/// One test for all that concerns bytes: they are shared by the process, and `forget_peak` acts on everyone.
#[test]
fn bytes_rise_fall_and_leave_their_peak() {
    let large = i64::try_from(LARGE).expect("64 MiB fits");
    let before = bytes_in_use();
    let block = black_box(Vec::<u8>::with_capacity(LARGE));
    assert!((bytes_in_use() - before - large).abs() < SLACK);

    // Freed by another thread than the one that allocated it.
    thread::spawn(move || drop(block)).join().expect("the thread does not panic");
    assert!((bytes_in_use() - before).abs() < SLACK);
    assert!(bytes_peak() >= before + large - SLACK);

    forget_peak();
    assert!(bytes_peak() < before + SLACK);

    let mut grown = black_box(Vec::<u8>::with_capacity(1));
    grown.reserve_exact(LARGE);
    assert!((bytes_in_use() - before - large).abs() < SLACK);
    grown.shrink_to(1);
    assert!((bytes_in_use() - before).abs() < SLACK);
}
