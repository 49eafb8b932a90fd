//! The churn of `engine/tests/churn.rs`, with a walk over the whole structure after each round.

#[path = "../../tests/churn/traffic.rs"]
mod traffic;

use traffic::{POLICIES, Traffic, alive};

#[test]
fn the_structure_is_whole_after_each_round_of_churn() {
    for policy in POLICIES {
        churn(&Traffic::<true>::new(policy));
        churn(&Traffic::<false>::new(policy));
    }
    assert_eq!(alive(), 0, "what an engine had is dropped with it");
}

fn churn<const LISTENS: bool>(traffic: &Traffic<LISTENS>) {
    for round in 0..if cfg!(miri) { 2 } else { 8 } {
        traffic.round(round);
        traffic.engine.validate();
        traffic.check_at_rest(round);
        traffic.check_nothing_is_lost(round);
    }
}
