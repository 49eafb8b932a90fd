//! The contract that every tier keeps.

mod common;

use std::time::Duration;

use common::*;
use nanotier_redb::Durability;
use nanotier_tier::conformance::durable::the_store_keeps_the_contract;

#[test]
fn a_synchronous_store_keeps_the_contract() {
    the_store_keeps_the_contract::<Redb>(Durability::Sync);
}

#[test]
fn an_asynchronous_store_keeps_the_contract() {
    the_store_keeps_the_contract::<Redb>(Durability::Async { loss_window: Duration::from_millis(50) });
}
