//! The rows of `bench tiers`: a durable tier against the engine beneath it, used well, in the same run and on the same disk.

mod chain;
mod file;
mod redb;
mod shape;
mod shelf;
pub(crate) mod slow;
mod sqlite;
mod warm;

use super::Run;

pub(crate) const ROWS: &[(&str, Run)] = &[
    ("redb-get", redb::get),
    ("redb-put-sync", redb::put_sync),
    ("redb-put-sync-16", redb::put_sync_16),
    ("redb-batch-100", redb::batch_100),
    ("sqlite-get", sqlite::get),
    ("sqlite-put-sync", sqlite::put_sync),
    ("sqlite-put-sync-16", sqlite::put_sync_16),
    ("sqlite-batch-100", sqlite::batch_100),
    ("file-get", file::get),
    ("file-put-sync", file::put_sync),
    ("file-put-async", file::put_async),
    ("chain-memory-hit", chain::memory_hit),
    ("chain-l2-hit", chain::l2_hit),
    ("shape-lz4", shape::lz4),
    ("shape-aead", shape::aead),
    ("warm-restart", warm::restart),
];
