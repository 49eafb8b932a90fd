//! The policies of a link: what the near tier gets, for how long, and what is answered when the far one fails.

mod common;

use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Deadlines, Entry, ErrorKind, Guard, Inline, Intent, Link, MemoryStore, Promote, ReadPolicy, Record,
    Scope, Tier, Timestamp, Version, Write, WritePolicy, Wrote,
};

fn pair(world: &World, link: Link) -> (Faulty, Faulty, impl Tier) {
    let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Process));
    let chain = world.attached(near.tier().over_with(far.tier(), link));
    (near, far, chain)
}

fn deadlines(world: &World, tier: &impl Tier, key: &str) -> Option<Deadlines> {
    world.read(tier, key).unwrap().entry.record().map(|record| record.deadlines)
}

#[test]
fn a_plain_chain_writes_through_and_promotes_always() {
    let world = World::new();
    for link in [Link::new(), Link::default()] {
        let (near, far, chain) = pair(&world, link);
        world.put(&chain, "written", "value");
        world.put(&far.tier(), "found", "value");
        world.read_and_promote(&chain, "found");
        for key in ["written", "found"] {
            assert_eq!(world.value(&near.tier(), key).as_deref(), Some("value"));
        }
    }
}

#[test]
fn a_write_around_leaves_nothing_older_and_nothing_newer_nearby() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Link::new().write(WritePolicy::Around));
    world.put(&near.tier(), "k", "older");
    world.put(&chain, "k", "new");
    assert_eq!(world.value(&far.tier(), "k").as_deref(), Some("new"));
    assert_eq!(world.value(&near.tier(), "k"), None);
    far.fail(true);
    assert!(world.read(&chain, "k").is_err(), "not even when the truth is away");
    far.fail(false);
    // Filled by a later read.
    world.read_and_promote(&chain, "k");
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("new"));
    // And a remove buries it.
    let version = world.draw();
    world.write(&chain, &Write::remove(world.path("k"), version, world.now()));
    assert_eq!(world.read(&near.tier(), "k").unwrap().entry, Entry::Removed(version));
}

#[test]
fn a_copy_older_than_a_write_around_is_refused() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Link::new().write(WritePolicy::Around));
    world.put(&far.tier(), "k", "old");
    let found = world.read(&chain, "k").unwrap();
    world.put(&chain, "k", "new");
    block_on(chain.promote(&world.path("k"), &found)).unwrap();
    assert_eq!(world.value(&near.tier(), "k"), None);
    assert_eq!(world.value(&chain, "k").as_deref(), Some("new"));
}

#[test]
fn a_near_tier_that_missed_a_write_around_is_not_believed() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Link::new().write(WritePolicy::Around));
    world.put(&near.tier(), "k", "older");
    near.fail(true);
    world.put(&chain, "k", "new");
    near.fail(false);
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("older"), "it missed the blank");
    far.fail(true);
    assert!(world.read(&chain, "k").is_err());
    far.fail(false);
    assert_eq!(world.value(&chain, "k").as_deref(), Some("new"));
}

#[test]
fn on_second_hit_copies_what_was_found_before_and_no_walk_through_all_keys() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Link::new().promote(Promote::OnSecondHit));
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| world.put(&far.tier(), key, "value"));
    keys.iter().for_each(|key| drop(world.read_and_promote(&chain, key)));
    assert!(keys.iter().all(|key| world.value(&near.tier(), key).is_none()), "a walk leaves nothing");
    world.read_and_promote(&chain, "k7");
    assert_eq!(world.value(&near.tier(), "k7").as_deref(), Some("value"));
    far.paths_read();
    assert_eq!(world.value(&chain, "k7").as_deref(), Some("value"));
    assert_eq!(far.paths_read(), 0);
}

#[test]
fn never_copies_nothing_but_renews_what_was_written_through() {
    let world = World::new();
    let link = Link::new().promote(Promote::Never);
    let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Fleet));
    let chain = world.attached(near.tier().over_with(far.tier(), link));
    world.put(&far.tier(), "found", "value");
    for _ in 0..3 {
        world.read_and_promote(&chain, "found");
    }
    assert_eq!(world.value(&near.tier(), "found"), None);
    world.put(&chain, "written", "value");
    assert_eq!(world.value(&near.tier(), "written").as_deref(), Some("value"));
    // It is overdue for a look at the truth: the truth is asked once, and not again.
    world.hands.advance(Duration::from_secs(61));
    far.paths_read();
    world.read_and_promote(&chain, "written");
    assert_eq!(far.paths_read(), 1);
    assert_eq!(world.look(&chain, "written"), Some(("value".to_string(), true)));
    assert_eq!(far.paths_read(), 0);
    // A blank is no copy to be renewed.
    let around = Link::new().promote(Promote::Never).write(WritePolicy::Around);
    let (near, _far, chain) = pair(&world, around);
    world.put(&chain, "around", "value");
    world.read_and_promote(&chain, "around");
    assert_eq!(world.value(&near.tier(), "around"), None);
}

#[test]
fn a_copy_that_is_outdated_does_not_outlive_a_promotion_that_stayed_away() {
    for promote in [Promote::Never, Promote::OnSecondHit] {
        let world = World::new();
        let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Fleet));
        let chain = world.attached(near.tier().over_with(far.tier(), Link::new().promote(promote)));
        world.put(&chain, "k", "old");
        world.put(&far.tier(), "k", "new");
        world.hands.advance(Duration::from_secs(61));
        assert_eq!(world.read_and_promote(&chain, "k").entry.record().unwrap().value.bytes, "new");
        far.fail(true);
        assert!(world.read(&chain, "k").is_err(), "{promote:?}: what was seen outdated does not come back");
        assert_eq!(world.value(&near.tier(), "k"), None);
    }
}

#[test]
fn copies_end_by_the_links_limit_and_never_later_than_the_record() {
    let world = World::new();
    let hour = Duration::from_secs(3600);
    let link = Link::new().copies_at_most(Duration::from_secs(10));
    let (near, far, chain) = pair(&world, link);
    let begun = world.now();
    let limit = begun.plus(Duration::from_secs(10));
    let long = Record { deadlines: Deadlines::after(begun, hour, hour), ..world.record("value") };
    let for_ever = world.record("value");
    let short_deadlines = Deadlines::after(begun, Duration::from_secs(2), Duration::from_secs(3));
    let short = Record { deadlines: short_deadlines, ..world.record("value") };
    let mixed_deadlines = Deadlines::after(begun, Duration::from_secs(2), hour);
    let mixed = Record { deadlines: mixed_deadlines, ..world.record("value") };
    let cases = [
        ("long", &long, Deadlines { fresh_until: limit, usable_until: limit }),
        ("for ever", &for_ever, Deadlines { fresh_until: limit, usable_until: limit }),
        ("short", &short, short_deadlines),
        ("mixed", &mixed, Deadlines { fresh_until: mixed_deadlines.fresh_until, usable_until: limit }),
    ];
    for (key, record, expected) in &cases {
        world.write(&chain, &Write::put(world.path(key), record));
        let found = format!("found {key}");
        world.write(&far.tier(), &Write::put(world.path(&found), record));
        world.read_and_promote(&chain, &found);
        for key in [*key, &found] {
            assert_eq!(
                deadlines(&world, &far.tier(), key),
                Some(record.deadlines),
                "{key}: the truth keeps its own"
            );
            assert_eq!(deadlines(&world, &near.tier(), key), Some(*expected), "{key}");
        }
    }
    // When it has ended, the truth is asked, and it is copied for as long again; but not beyond its own end.
    world.pass(10_000);
    far.paths_read();
    world.read_and_promote(&chain, "long");
    assert_eq!(far.paths_read(), 1);
    let again = world.now().plus(Duration::from_secs(10));
    assert_eq!(
        deadlines(&world, &near.tier(), "long"),
        Some(Deadlines { fresh_until: again, usable_until: again })
    );
    assert_eq!(deadlines(&world, &far.tier(), "long"), Some(long.deadlines));
}

#[test]
fn a_strict_link_does_not_serve_what_the_truth_could_not_confirm() {
    for read in [ReadPolicy::Degrade, ReadPolicy::Strict] {
        let world = World::new();
        let (_near, far, chain) = pair(&world, Link::new().read(read));
        let ttl = Duration::from_secs(1);
        let stale = Record {
            deadlines: Deadlines::after(world.now(), ttl, Duration::from_secs(100)),
            ..world.record("stale")
        };
        world.write(&chain, &Write::put(world.path("stale"), &stale));
        world.put(&chain, "fresh", "fresh");
        world.pass(1000);
        far.fail(true);
        assert_eq!(
            world.value(&chain, "fresh").as_deref(),
            Some("fresh"),
            "{read:?}: what is fresh needs nobody"
        );
        let answer = world.read(&chain, "stale");
        match read {
            ReadPolicy::Degrade => {
                let found = answer.unwrap();
                assert!(!found.trusted, "and said to be doubtful");
                assert_eq!(found.entry.record().unwrap().value.bytes, "stale");
            }
            ReadPolicy::Strict => assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable),
        }
        far.fail(false);
        assert_eq!(
            world.value(&chain, "stale").as_deref(),
            Some("stale"),
            "{read:?}: the truth stands for it"
        );
    }
}

#[test]
fn a_near_tier_that_is_down_hides_nothing_from_a_strict_reader() {
    let world = World::new();
    let (near, _far, chain) = pair(&world, Link::new().read(ReadPolicy::Strict));
    world.put(&chain, "k", "value");
    near.fail(true);
    assert_eq!(world.value(&chain, "k").as_deref(), Some("value"));
}

#[test]
fn a_fill_around_is_taken_by_the_truth_and_leaves_a_blank() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Link::new().write(WritePolicy::Around));
    let found = block_on(chain.read_one(&world.path("k"), Intent::Load)).unwrap();
    let record = world.record("filled");
    let fill = Write::fill(world.path("k"), &record, found.seen.unwrap(), found.read_at);
    assert!(matches!(fill.guard, Guard::Unchanged(_)));
    assert_eq!(block_on(chain.write_one(&fill)).unwrap(), Wrote::Done);
    assert_eq!(world.value(&far.tier(), "k").as_deref(), Some("filled"));
    assert!(world.read(&near.tier(), "k").unwrap().entry.record().is_some_and(Record::is_blank));
    assert!(Record::blank(Version::ZERO, Timestamp::ZERO).is_blank() && !record.is_blank());
}

#[test]
fn copies_that_live_for_no_time_are_refused_by_build() {
    let tier = || Inline(MemoryStore::new());
    let chain = tier().over_with(tier(), Link::new().copies_at_most(Duration::ZERO));
    assert_eq!(chain.verify().unwrap_err().kind(), ErrorKind::Config);
}
