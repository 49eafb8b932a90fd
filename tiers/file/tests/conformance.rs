//! The contract that every tier keeps.

mod common;

use std::time::Duration;

use common::*;
use nanotier_file::Durability;
use nanotier_tier::conformance::durable::the_store_keeps_the_contract;

#[test]
fn a_synchronous_store_keeps_the_contract() {
    the_store_keeps_the_contract::<Files>(Durability::Sync);
}

#[test]
fn an_asynchronous_store_keeps_the_contract() {
    the_store_keeps_the_contract::<Files>(Durability::Async { loss_window: Duration::from_millis(50) });
}
