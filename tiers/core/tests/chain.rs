//! Chains whose tiers fail: what is believed afterwards, and who is asked.

mod common;

use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    AnyTier, Bytes, COUNTER, Change, Cleared, Encoded, Entry, ErrorKind, Inline, Intent, MemoryStore, Record,
    Scope, Tier, TierIndex, Update, Updated, Version, Write, Wrote, chain,
};

/// A private copy over a truth of `scope`.
fn pair(world: &World, scope: Scope) -> (Faulty, Faulty, impl Tier) {
    let (near, far) = (Faulty::new(Scope::Process), Faulty::new(scope));
    let chain = world.attached(near.tier().over(far.tier()));
    (near, far, chain)
}

#[test]
fn copies_get_a_blank_when_the_truths_answer_is_unknown() {
    for happens in [true, false] {
        for removes in [true, false] {
            let world = World::new();
            let (near, far, chain) = pair(&world, Scope::Process);
            world.put(&chain, "k", "old");
            assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"));
            if happens {
                far.lose_next_answer();
            } else {
                far.fail_writes(true);
            }
            let answer =
                if removes { world.try_remove(&chain, "k") } else { world.try_put(&chain, "k", "new") };
            assert!(answer.is_err());
            far.fail_writes(false);

            assert_eq!(world.value(&near.tier(), "k"), None, "nothing older is left in the copy");
            far.fail(true);
            assert!(world.read(&chain, "k").is_err(), "and nothing is made up while the truth is away");
            far.fail(false);
            let expected = match (happens, removes) {
                (true, true) => None,
                (true, false) => Some("new"),
                (false, _) => Some("old"),
            };
            assert_eq!(
                world.value(&chain, "k").as_deref(),
                expected,
                "happens: {happens}, removes: {removes}"
            );
        }
    }
}

#[test]
fn a_near_tier_that_was_down_during_a_write_is_not_believed_about_that_path() {
    for removes in [true, false] {
        let world = World::new();
        let (near, far, chain) = pair(&world, Scope::Process);
        world.put(&chain, "k", "old");
        world.put(&chain, "bystander", "value");
        world.pass(1);
        near.fail(true);
        if removes {
            world.remove(&chain, "k");
        } else {
            world.put(&chain, "k", "new");
        }
        near.fail(false);
        assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"), "it missed the write");

        far.fail(true);
        assert!(world.read(&chain, "k").is_err(), "dead: not even better than nothing");
        let bystander = world.look(&chain, "bystander");
        assert_eq!(bystander, Some(("value".to_string(), false)), "in doubt: served for want of better");
        far.fail(false);
        world.pass(1);
        assert_eq!(world.value(&chain, "k").as_deref(), if removes { None } else { Some("new") });

        // What the truth vouches for is believed again.
        world.read_and_promote(&chain, "bystander");
        far.paths_read();
        assert_eq!(world.look(&chain, "bystander"), Some(("value".to_string(), true)));
        assert_eq!(far.paths_read(), 0);
        world.put(&chain, "k", "newest");
        assert_eq!(world.value(&chain, "k").as_deref(), Some("newest"));
        assert_eq!(far.paths_read(), 0, "the next write settled it");
    }
}

#[test]
fn after_more_missed_paths_than_are_remembered_no_older_copy_counts() {
    const REMEMBERED: usize = 4096;
    for missed in [REMEMBERED, REMEMBERED + 1] {
        let world = World::new();
        let (near, far, chain) = pair(&world, Scope::Process);
        world.put(&chain, "bystander", "value");
        let keys: Vec<String> = (0..missed).map(|n| format!("k{n}")).collect();
        keys.iter().for_each(|key| world.put(&chain, key, "old"));
        world.pass(1);
        near.fail(true);
        keys.iter().for_each(|key| world.remove(&chain, key));
        near.fail(false);
        far.fail(true);
        for key in [&keys[0], &keys[missed - 1]] {
            assert!(world.read(&chain, key).is_err(), "{key} of {missed} is dead");
        }
        assert_eq!(world.read(&chain, "bystander").is_ok(), missed == REMEMBERED, "{missed} missed");
        far.fail(false);
        assert_eq!(world.value(&chain, "bystander").as_deref(), Some("value"));
        assert!(keys.iter().all(|key| world.value(&chain, key).is_none()));
        // What is confirmed from now on counts again.
        world.pass(1);
        world.read_and_promote(&chain, "bystander");
        far.paths_read();
        assert_eq!(world.look(&chain, "bystander"), Some(("value".to_string(), true)));
        assert_eq!(far.paths_read(), 0);
    }
}

#[test]
fn after_distrust_copies_are_at_most_stale_until_confirmed() {
    let world = World::new();
    let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Process));
    let chain = world.attached(near.tier().over(far.tier()));
    world.put(&chain, "k", "value");
    assert_eq!(world.look(&chain, "k"), Some(("value".to_string(), true)));
    assert_eq!(far.paths_read(), 0);

    chain.distrust();
    world.pass(1);
    far.fail(true);
    assert_eq!(world.look(&chain, "k"), Some(("value".to_string(), false)));
    far.fail(false);
    far.paths_read();
    assert_eq!(world.look(&chain, "k"), Some(("value".to_string(), true)));
    assert_eq!(far.paths_read(), 1);
    world.read_and_promote(&chain, "k");
    far.paths_read();
    world.read(&chain, "k").unwrap();
    assert_eq!(far.paths_read(), 0, "confirmed");
}

#[test]
fn a_near_tier_that_was_not_closed_properly_is_in_doubt() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Process);
    world.put(&chain, "k", "value");
    *near.0.believed_since.lock() = world.now();
    world.pass(1);
    world.read_and_promote(&chain, "k");
    assert_eq!(far.paths_read(), 1);
    world.read(&chain, "k").unwrap();
    assert_eq!(far.paths_read(), 0);
}

#[test]
fn a_private_copy_is_rechecked_and_one_as_widely_shared_as_the_truth_is_not() {
    let recheck = 60_000;
    let cases = [
        (Scope::Process, Scope::Process, true),
        (Scope::Process, Scope::Host, true),
        (Scope::Host, Scope::Fleet, true),
        (Scope::Host, Scope::Host, false),
        (Scope::Fleet, Scope::Fleet, false),
    ];
    for (near, far, is_rechecked) in cases {
        let world = World::new();
        let scope = (near, far);
        let (near, far) = (Faulty::new(near), Faulty::new(far));
        let chain = world.attached(near.tier().over(far.tier()));
        world.put(&chain, "k", "value");
        for _ in 0..3 {
            world.pass(recheck - 1);
            world.read(&chain, "k").unwrap();
            assert_eq!(far.paths_read(), 0, "{scope:?}: believed until then");
            world.pass(1);
            world.read_and_promote(&chain, "k");
            assert_eq!(far.paths_read(), usize::from(is_rechecked), "{scope:?}: asked again");
        }
    }
}

#[test]
fn another_processs_delete_is_seen_after_recheck_even_when_its_tombstone_is_gone() {
    let world = World::new();
    let truth = MemoryStore::new().with_horizon(Duration::from_secs(5));
    let (near, far) = (Faulty::new(Scope::Process), Faulty::over(Scope::Fleet, truth));
    let chain = world.attached(near.tier().over(far.tier()));
    world.put(&chain, "k", "value");
    world.remove(&far.tier(), "k");
    world.pass(60_000);
    assert_eq!(far.0.store.sweep(), 1, "the tombstone has served its time");
    assert_eq!(world.read(&far.tier(), "k").unwrap().entry, Entry::Absent);
    let found = world.read(&chain, "k").unwrap();
    assert_eq!(found.entry, Entry::Absent, "the truth does not confirm it");
    assert!(found.seen.is_some(), "a loader may fill");
}

#[test]
fn what_was_confirmed_in_the_future_is_in_doubt() {
    let world = World::new();
    let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Process));
    let chain = world.attached(near.tier().over(far.tier()));
    world.put(&chain, "k", "value");
    // By less than what makes the record itself doubtful.
    world.hands.set_wall(world.now().minus(Duration::from_secs(60)));
    // A gap, noted at a moment before the copy seems to have been confirmed.
    chain.distrust();
    world.pass(1);
    far.paths_read();
    world.read(&chain, "k").unwrap();
    assert_eq!(far.paths_read(), 1);
}

#[test]
fn copies_are_promoted_far_to_near() {
    let world = World::new();
    let tiers = [0, 1, 2].map(|_| Faulty::new(Scope::Process));
    let [near, middle, far] = &tiers;
    let chain = world.attached(near.tier().over(middle.tier().over(far.tier())));
    world.put(&far.tier(), "k", "value");
    let found = world.read(&chain, "k").unwrap();
    assert_eq!(found.from, TierIndex(2));
    assert_eq!(world.value(&middle.tier(), "k"), None, "nothing is copied before it was decoded");

    middle.fail_writes(true);
    assert!(block_on(chain.promote(&world.path("k"), &found)).is_err());
    assert_eq!(world.value(&near.tier(), "k"), None, "the middle one comes first");
    middle.fail_writes(false);
    block_on(chain.promote(&world.path("k"), &found)).unwrap();
    assert_eq!(world.value(&middle.tier(), "k").as_deref(), Some("value"));
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("value"));
    assert_eq!(world.read(&chain, "k").unwrap().from, TierIndex(0));

    // Found in the middle: copied to the near one alone, without asking the truth.
    let found = Inline(MemoryStore::new());
    let chain = world.attached(found.over(middle.tier().over(far.tier())));
    far.paths_read();
    assert_eq!(world.read_and_promote(&chain, "k").from, TierIndex(1));
    assert_eq!(world.read(&chain, "k").unwrap().from, TierIndex(0));
    assert_eq!(far.paths_read(), 0);
}

#[test]
fn a_late_promotion_does_not_bring_back_what_was_removed_meanwhile() {
    for near_is_down in [false, true] {
        let world = World::new();
        let (near, far, chain) = pair(&world, Scope::Process);
        world.put(&far.tier(), "k", "old");
        let found = world.read(&chain, "k").unwrap();
        near.fail(near_is_down);
        world.remove(&chain, "k");
        near.fail(false);
        block_on(chain.promote(&world.path("k"), &found)).unwrap();
        assert_eq!(world.value(&chain, "k"), None);
        far.fail(true);
        assert_ne!(
            world.read(&chain, "k").ok().and_then(|found| found.entry.record().cloned()),
            found.entry.record().cloned()
        );
    }
}

#[test]
fn a_record_in_doubt_is_not_passed_on_to_a_nearer_tier() {
    let world = World::new();
    let tiers = [0, 1, 2].map(|_| Faulty::new(Scope::Process));
    let [near, middle, far] = &tiers;
    let inner = world.attached(middle.tier().over(far.tier()));
    world.put(&middle.tier(), "k", "doubtful");
    inner.distrust();
    world.pass(1);
    let chain = world.attached(near.tier().over(inner));
    far.fail(true);
    let found = world.read_and_promote(&chain, "k");
    assert_eq!((found.from, found.trusted), (TierIndex(1), false), "served, for want of better");
    assert_eq!(world.read(&near.tier(), "k").unwrap().entry, Entry::Absent);
    far.fail(false);
    assert_eq!(world.value(&chain, "k"), None, "the truth never heard of it");
}

#[test]
fn a_copy_ahead_of_the_truth_makes_the_writer_go_again() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Process);
    let ahead = Record {
        version: Version::from_parts(world.draw().parts().0 + (5000 << 16), 9),
        ..world.record("ahead")
    };
    world.write(&near.tier(), &Write::put(world.path("k"), &ahead));
    assert_eq!(world.try_put(&chain, "k", "first try").unwrap(), Wrote::Older(ahead.version));
    world.context.versions.saw(ahead.version);
    world.put(&chain, "k", "second try");
    for tier in [near.tier(), far.tier()] {
        assert_eq!(world.value(&tier, "k").as_deref(), Some("second try"));
    }
    let cleared = Cleared { namespace: &world.namespace, version: ahead.version, as_of: world.now() };
    assert!(matches!(block_on(chain.clear(&cleared)).unwrap(), Wrote::Older(_)));
}

#[test]
fn a_batch_asks_the_far_tier_only_for_what_the_near_one_lacks() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Process);
    let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| world.put(&far.tier(), key, key));
    keys.iter().take(7).for_each(|key| drop(world.read_and_promote(&chain, key)));
    near.paths_read();
    far.paths_read();
    let paths: Vec<_> = keys.iter().map(|key| world.path(key)).collect();
    for (lacking, promote) in [(3, true), (0, false)] {
        let found = block_on(chain.read(&paths, Intent::Look)).unwrap();
        for ((key, path), found) in keys.iter().zip(&paths).zip(found) {
            let found = found.unwrap();
            assert_eq!(found.entry.record().map(|record| &record.value.bytes[..]), Some(key.as_bytes()));
            if promote {
                block_on(chain.promote(path, &found)).unwrap();
            }
        }
        assert_eq!((near.paths_read(), far.paths_read()), (10, lacking));
    }
}

#[test]
fn confirm_passes_over_copies_and_buries_what_the_truth_has_buried() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Fleet);
    world.put(&chain, "k", "old");
    world.put(&far.tier(), "k", "new");
    let confirm = || block_on(chain.read_one(&world.path("k"), Intent::Confirm)).unwrap();
    assert_eq!(
        confirm().entry.record().map(|record| record.value.bytes.clone()),
        Some(Bytes::from_static(b"new"))
    );
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"), "left to the promotion");

    world.remove(&far.tier(), "k");
    assert!(matches!(confirm().entry, Entry::Removed(_)));
    assert_eq!(world.value(&near.tier(), "k"), None);
    assert_eq!(world.value(&chain, "k"), None, "what was seen removed does not come back");
}

#[test]
fn an_update_whose_answer_was_lost_leaves_no_copy_of_what_it_took() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Process);
    // Written by a process whose clock is ahead: the truth lifts the update above it, and nobody hears how far.
    let ahead = Record {
        version: Version::from_parts(world.draw().parts().0 + (5000 << 16), 9),
        ..world.record("token")
    };
    world.write(&chain, &Write::put(world.path("k"), &ahead));
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("token"));
    far.lose_next_answer();
    let take =
        Update { path: world.path("k"), change: Change::Take, version: world.draw(), as_of: world.now() };
    assert!(block_on(chain.update(&take)).is_err());
    assert_eq!(world.value(&near.tier(), "k"), None);
    far.fail(true);
    assert!(world.read(&chain, "k").is_err(), "not served from a copy either");
    far.fail(false);
    assert!(matches!(world.read(&chain, "k").unwrap().entry, Entry::Removed(_)));
    assert_eq!(block_on(chain.update(&take)).unwrap(), Updated::Taken(None));
}

#[test]
fn a_counter_that_was_put_is_not_copied() {
    let world = World::new();
    let (near, _far, chain) = pair(&world, Scope::Process);
    let five = Encoded::new(Bytes::copy_from_slice(&5_i64.to_le_bytes()), COUNTER);
    let counter = Record { value: five, ..world.record("") };
    world.write(&chain, &Write::put(world.path("k"), &counter));
    world.read_and_promote(&chain, "k");
    assert_eq!(world.value(&near.tier(), "k"), None);
}

#[test]
fn a_clearing_that_did_not_reach_the_copies_leaves_none_that_counts() {
    let world = World::new();
    let (near, far, chain) = pair(&world, Scope::Process);
    world.put(&chain, "k", "old");
    near.fail_writes(true);
    assert_eq!(world.clear(&chain).unwrap(), Wrote::Done);
    near.fail_writes(false);
    far.fail(true);
    assert!(world.read(&chain, "k").is_err());
    far.fail(false);
    assert_eq!(world.value(&chain, "k"), None);
}

#[test]
fn a_clearing_too_late_for_the_copies_leaves_none_that_counts() {
    let world = World::new();
    let short = MemoryStore::new().with_horizon(Duration::from_secs(1));
    let (near, far) = (Faulty::over(Scope::Process, short), Faulty::new(Scope::Process));
    let chain = world.attached(near.tier().over(far.tier()));
    world.put(&chain, "k", "old");
    let cleared = Cleared { namespace: &world.namespace, version: world.draw(), as_of: world.now() };
    world.pass(5000);
    assert_eq!(block_on(chain.clear(&cleared)).unwrap(), Wrote::Done, "the truth did it");
    assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"), "the copy refused");
    assert_eq!(world.value(&chain, "k"), None);
}

#[test]
fn a_chain_has_one_to_sixteen_tiers_and_is_never_shared_more_widely_than_its_truth() {
    let tier = |scope| Faulty::new(scope).tier().erase();
    let build = |scopes: &[Scope]| chain(scopes.iter().map(|scope| tier(*scope)));
    let config =
        |tiers: nanotier_tier::Result<AnyTier>| tiers.map(|tier| tier.depth()).map_err(|error| error.kind());
    use Scope::{Fleet, Host, Process};

    assert_eq!(config(build(&[])), Err(ErrorKind::Config));
    assert_eq!(config(build(&[Process; 17])), Err(ErrorKind::Config));
    assert_eq!(config(build(&[Process; 16])), Ok(16));
    assert_eq!(config(build(&[Fleet])), Ok(1));
    for fine in [[Process, Host, Fleet], [Process, Process, Fleet], [Host, Host, Host]] {
        assert_eq!(config(build(&fine)), Ok(3), "{fine:?}");
    }
    for wrong in [[Host, Process, Fleet], [Process, Fleet, Host], [Fleet, Fleet, Process]] {
        assert_eq!(config(build(&wrong)), Err(ErrorKind::Config), "{wrong:?}");
    }
}
