//! What a cache's tiers hold, as somebody sees it who looks.

use nanotier::{Cache, ErrorKind, Inline, Json, MemoryStore, PageRequest, Tier as _, TierIndex};

fn request(tier: Option<u8>) -> PageRequest {
    PageRequest { tier: tier.map(TierIndex), ..PageRequest::default() }
}

fn keys(cache: &Cache<String, u32>, tier: Option<u8>) -> Vec<String> {
    let page = cache.list(request(tier)).wait().unwrap();
    page.entries.into_iter().map(|listed| String::from_utf8(listed.key).unwrap()).collect()
}

#[test]
fn each_tier_of_a_chain_is_listed_when_it_is_named_and_the_truth_when_none_is() {
    let (near, middle, far) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
    let tiers = [near, middle, far].map(std::sync::Arc::new);
    let [near, middle, far] = tiers.clone().map(Inline);
    let cache: Cache<String, u32> = Cache::builder()
        .namespace("listed")
        .codec(Json::default())
        .tiers(near.over(middle.over(far)))
        .build()
        .unwrap();
    cache.insert("everywhere".to_owned(), 1).wait().unwrap();
    // Behind the chain's back, so that each tier holds something of its own.
    for (tier, key) in tiers.iter().zip(["near", "middle", "far"]) {
        let own: Cache<String, u32> = Cache::builder()
            .namespace("listed")
            .codec(Json::default())
            .tiers(Inline(tier.clone()))
            .build()
            .unwrap();
        own.insert(key.to_owned(), 2).wait().unwrap();
        let other: Cache<String, u32> = Cache::builder()
            .namespace("other")
            .codec(Json::default())
            .tiers(Inline(tier.clone()))
            .build()
            .unwrap();
        other.insert("foreign".to_owned(), 2).wait().unwrap();
    }
    assert_eq!(keys(&cache, Some(0)), ["everywhere", "near"]);
    assert_eq!(keys(&cache, Some(1)), ["everywhere", "middle"]);
    assert_eq!(keys(&cache, Some(2)), ["everywhere", "far"]);
    assert_eq!(keys(&cache, None), ["everywhere", "far"]);
    let refused = cache.list(request(Some(3))).wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("count from 0"), "{refused}");
}

#[test]
fn a_cache_without_tiers_and_a_tier_that_is_not_there_are_said() {
    let memory: Cache<String, u32> = Cache::builder().build().unwrap();
    assert_eq!(memory.list(request(None)).wait().unwrap_err().kind(), ErrorKind::Unsupported);
    let one: Cache<String, u32> = Cache::builder()
        .namespace("listed")
        .codec(Json::default())
        .tiers(Inline(MemoryStore::new()))
        .build()
        .unwrap();
    assert!(one.list(request(Some(0))).wait().is_ok());
    assert_eq!(one.list(request(Some(1))).wait().unwrap_err().kind(), ErrorKind::Config);
}
