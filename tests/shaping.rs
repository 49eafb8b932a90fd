//! A cache over tiers whose values are compressed and encrypted.
#![cfg(all(feature = "lz4", feature = "encrypt"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::Watched;
use nanotier::shaping::{Compression, KeyId, KeyRing, Refused, Secret, Shaping};
use nanotier::tier::{Entry, Intent, Path, Store};
use nanotier::{AnyTier, Cache, Event, Namespace, Observer, Raw, Tier};

#[derive(Default)]
struct Refusals(AtomicUsize);

impl Observer for Refusals {
    fn event(&self, event: &Event) {
        if let Event::RecordRefused { why: Refused::UnknownKey(_) | Refused::Forged, .. } = event {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

fn cache(tier: AnyTier, refusals: &Arc<Refusals>) -> Cache<String, String> {
    Cache::builder().namespace("test").tiers(tier).codec(Raw).observer(refusals.clone()).build().unwrap()
}

fn stored(tier: &Watched, key: &str) -> Entry {
    let namespace = Namespace::new("test").unwrap();
    let path = Path::new(&namespace, key.as_bytes());
    tier.store().read(&[path], Intent::Look).unwrap().remove(0).unwrap().entry
}

fn value() -> String {
    "a value that nobody else is to read; ".repeat(20)
}

#[test]
fn a_cache_reads_back_what_only_it_can_read_and_loads_again_what_it_cannot() {
    let ring = KeyRing::new(KeyId(1), &Secret::new([1; 32])).unwrap();
    let shaping = Shaping::builder().compress(Compression::Lz4).encrypt(ring.clone()).build().unwrap();
    let (near, far) = (Watched::new(), Watched::new());
    let refusals = Arc::new(Refusals::default());
    let loads = Arc::new(AtomicUsize::new(0));
    let tier = || near.clone().over(far.clone().shaped(shaping.clone())).erase();
    let get = |cache: &Cache<String, String>| {
        let loads = loads.clone();
        let load = move || {
            loads.fetch_add(1, Relaxed);
            value()
        };
        cache.get_with_blocking("k", load).wait().unwrap()
    };

    assert_eq!(get(&cache(tier(), &refusals)), value());
    let Entry::Present(record) = stored(&far, "k") else { panic!("nothing is stored") };
    assert!(record.value.shape.encrypted && record.value.bytes.len() < value().len() / 2);
    assert_eq!(get(&cache(tier(), &refusals)), value());
    assert_eq!(loads.load(Relaxed), 1, "it was read back");

    // A cache that knows nothing of keys has a miss, and leaves it alone.
    let stranger = cache(far.clone().erase(), &refusals);
    assert_eq!(stranger.get("k").wait().unwrap(), None);
    assert_eq!(stored(&far, "k").version(), Some(record.version));

    // The key is gone, in this process.
    ring.add(KeyId(2), &Secret::new([2; 32])).unwrap();
    ring.write_with(KeyId(2)).unwrap();
    ring.retire(KeyId(1)).unwrap();
    let alone = || cache(far.clone().shaped(shaping.clone()).erase(), &refusals);
    assert_eq!(get(&alone()), value());
    assert_eq!((loads.load(Relaxed), refusals.0.load(Relaxed)), (2, 1));
    assert_eq!(get(&alone()), value());
    assert_eq!((loads.load(Relaxed), refusals.0.load(Relaxed)), (2, 1), "it was written over");
}
