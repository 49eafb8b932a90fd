//! What the allocator that can be switched promises. One test: the switch is one for the process.
use std::hint::black_box;

use nanotier_counting::{SwitchedAllocator, bytes_in_use, count_allocations, switch_off, switch_on};

#[global_allocator]
static ALLOCATOR: SwitchedAllocator = SwitchedAllocator;

#[test]
fn only_what_happens_while_it_is_on_is_counted() {
    let before = black_box(vec![1_u8; 64 << 20]);
    assert!(bytes_in_use() < 32 << 20, "off at first");

    switch_on();
    let (during, allocations) = count_allocations(|| black_box(vec![2_u8; 64 << 20]));
    assert_eq!(allocations, 1);
    assert!(bytes_in_use() > 32 << 20);
    drop(during);
    assert!(bytes_in_use() < 32 << 20);
    switch_off();

    // A block may outlive the switch in either direction.
    drop(before);
    assert!(
        std::panic::catch_unwind(|| count_allocations(|| ())).is_err(),
        "no count is not a count of zero"
    );
}
