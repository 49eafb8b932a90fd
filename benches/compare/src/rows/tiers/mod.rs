//! The rows of `bench tiers`: a durable tier against the engine beneath it, used well, in the same run and on the same disk.

mod chain;
mod redb;
mod shelf;
pub(crate) mod slow;

use super::Run;

pub(crate) const ROWS: &[(&str, Run)] = &[
    ("redb-get", redb::get),
    ("redb-put-sync", redb::put_sync),
    ("redb-put-sync-16", redb::put_sync_16),
    ("redb-batch-100", redb::batch_100),
    ("chain-memory-hit", chain::memory_hit),
    ("chain-l2-hit", chain::l2_hit),
];
