//! What the hit path allocates: nothing.

use std::sync::Arc;

use nanotier::{Cache, Inline, Json, MemoryStore, Tier};
use nanotier_counting::{CountingAllocator, count_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn over_a_chain() -> Cache<String, Arc<str>> {
    Cache::builder()
        .capacity(1000)
        .ttl(std::time::Duration::from_secs(600))
        .namespace("test")
        .tiers(Inline(MemoryStore::new()).over(Inline(MemoryStore::new())).erase())
        .codec(ArcStr)
        .build()
        .unwrap()
}

/// Strings that are shared rather than copied out of memory.
struct ArcStr;

impl nanotier::Codec<Arc<str>> for ArcStr {
    fn encode(&self, value: &Arc<str>, out: &mut Vec<u8>) -> nanotier::Result<()> {
        Json::default().encode(&value.to_string(), out)
    }
    fn decode(&self, bytes: &nanotier::Bytes) -> nanotier::Result<Arc<str>> {
        let text: String = Json::default().decode(bytes)?;
        Ok(text.into())
    }
    fn fingerprint(&self) -> nanotier::tier::Fingerprint {
        nanotier::tier::Fingerprint(7)
    }
}

#[test]
fn a_memory_hit_over_a_chain_allocates_nothing() {
    let cache = over_a_chain();
    cache.insert("user:42".to_string(), "Ada".into()).wait().unwrap();
    // A thread's first look makes the thread known: once, 256 bytes.
    cache.get("user:42").wait().unwrap();
    let (hit, allocations) = count_allocations(|| cache.get("user:42").try_now().unwrap());
    assert_eq!((hit.as_deref(), allocations), (Some("Ada"), 0));
    let (hit, allocations) = count_allocations(|| cache.get("user:42").wait().unwrap());
    assert_eq!((hit.as_deref(), allocations), (Some("Ada"), 0));
    let (len, allocations) = count_allocations(|| cache.read("user:42", |name| name.len()));
    assert_eq!((len, allocations), (Some(3), 0));
    let load = async || unreachable!("memory has it");
    let (hit, allocations) = count_allocations(|| cache.get_with("user:42", load).try_now().unwrap());
    assert_eq!((&*hit, allocations), ("Ada", 0));
}

#[test]
fn a_miss_in_a_cache_without_tiers_allocates_nothing() {
    let cache: Cache<String, u64> = Cache::new(10);
    cache.get("nobody").wait().unwrap();
    let (miss, allocations) = count_allocations(|| cache.get("nobody").try_now().unwrap());
    assert_eq!((miss, allocations), (None, 0));
}

#[test]
fn a_remembered_answer_allocates_nothing() {
    let one = nanotier::memoize(|a: u64| a).build().unwrap();
    let three = nanotier::memoize(|a: u64, b: u32, c: i8| a + u64::from(b) + u64::from(c.unsigned_abs()));
    let three = three.build().unwrap();
    let mixed =
        nanotier::memoize_async(async |text: String, id: u64| text.len() as u64 + id).build().unwrap();
    for _ in 0..2 {
        assert_eq!((one.call(1), three.call(1, 2, 3), mixed.call("abc", 4).wait()), (1, 6, 7));
    }
    assert_eq!(count_allocations(|| one.call(1)), (1, 0));
    assert_eq!(count_allocations(|| three.call(1, 2, 3)), (6, 0));
    assert_eq!(count_allocations(|| mixed.call("abc", 4).wait()), (7, 0));
    let _ =
        count_allocations(|| one.call(2)).1.checked_sub(1).expect("the first call of all keeps something");
}

#[test]
fn the_counter_counts() {
    let (_boxed, allocations) = count_allocations(|| Box::new(1));
    assert_eq!(allocations, 1);
}
