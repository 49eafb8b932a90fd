//! A chain that fails well: a small disk before a service that may be slow or down, and a queue of writes with a log between
//! them.
//!
//! `cargo run --example resilient`

use std::time::Duration;

use nanotier::redb::RedbStore;
use nanotier::tier::behind::FileLog;
use nanotier::{
    Cache, Json, Limits, Link, MemoryStore, Promote, Result, Store, Tier, WriteBehind, WritePolicy,
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");

    // In place of a service on the network. No call takes longer than 20 ms, and while it is down it is not asked.
    let service = MemoryStore::new().inline().guarded(Limits::new().deadline(Duration::from_millis(20)));
    let health = service.health();
    // A write is acknowledged when the log has it, and reaches the service some milliseconds later.
    let log = FileLog::open(folder.path().join("queue"))?;
    let far = service.behind_logged(WriteBehind::new(), log)?;
    let queue = far.queue();
    // Only what is wanted twice is copied to the disk, for an hour at most.
    let link = Link::new()
        .write(WritePolicy::Around)
        .promote(Promote::OnSecondHit)
        .copies_at_most(Duration::from_secs(3600));
    let near = RedbStore::open(folder.path().join("near.redb"))?.inline();

    let users: Cache<String, String> = Cache::builder()
        .ttl(Duration::from_secs(60))
        .stale_for(Duration::from_secs(600))
        .namespace("users")
        .codec(Json::default())
        .tiers(near.over_with(far, link))
        .build()?;

    users.insert("ada".to_owned(), "Ada Lovelace".to_owned()).wait()?;
    println!("queued:  {:?}", queue.state());
    println!("read:    {:?}", users.get("ada").wait()?);
    nanotier::tier::waiting::block_on(queue.flush())?;
    println!("written: {:?}", queue.state());
    println!("service: {:?}", health.state());
    users.remove("ada").wait()?;
    assert_eq!(users.get("ada").wait()?, None);
    users.close().wait()?;
    Ok(())
}
