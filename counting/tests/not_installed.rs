//! A binary that forgot to install the allocator must not be told that nothing was allocated.

#[test]
#[should_panic(expected = "global_allocator")]
fn counting_without_the_allocator_is_refused() {
    nanotier_counting::count_allocations(|| ());
}
