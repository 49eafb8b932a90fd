//! The contract that every tier keeps.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nanotier_file::{Durability, FileStore};
use nanotier_tier::conformance::{Subject, run_all};
use nanotier_tier::{Clock, Inline};

fn keeps_the_contract(durability: Durability) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hands) = Clock::manual();
    let made = AtomicUsize::new(0);
    let place = folder.path().to_owned();
    let open = move |folder: &std::path::Path| {
        FileStore::builder(folder)
            .durability(durability)
            .sweep_interval(Duration::from_secs(3600))
            .build()
            .unwrap()
    };
    let fresh = move || {
        let file = place.join(format!("{}", made.fetch_add(1, Relaxed)));
        open(&file).inline()
    };
    let reopen = move |Inline(store): Inline<FileStore>| open(store.path()).inline();
    let report = run_all(&Subject::new(clock, fresh).with_hands(hands).with_reopen(reopen));
    assert!(report.kept.len() > 20, "{report:?}");
}

#[test]
fn a_synchronous_store_keeps_the_contract() {
    keeps_the_contract(Durability::Sync);
}

#[test]
fn an_asynchronous_store_keeps_the_contract() {
    keeps_the_contract(Durability::Async { loss_window: Duration::from_millis(50) });
}
