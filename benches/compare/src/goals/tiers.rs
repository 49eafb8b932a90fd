//! What durable tiers must reach, each against the engine beneath it, used well, in the same run.

use super::Limit::{AtMost, CyclesMore};
use super::{Question, ask, goal, ratio};

const SLOW: &str = "1 ms flush";
const TOGETHER: &str = "nanotier, 16 writers";
const COMMITS: &str = "nanotier, commits";
const BATCHED: &str = "nanotier, batches";
const ONE_BY_ONE: &str = "nanotier, one by one";

#[rustfmt::skip]
pub(crate) const QUESTIONS: &[Question] = &[
    ask("redb-get", "read of one record, decoded; redb: a transaction and a table opened per get, the value copied", &[
        ratio("redb", 1.15),
        ratio("redb", 0.55).stretch(),
    ]),
    ask("redb-put-sync", "one put on disk when it returns, nobody else writes", &[
        ratio("redb", 1.10),
        ratio("redb", 1.10).of(SLOW),
        ratio("redb", 1.03).stretch(),
    ]),
    ask("redb-put-sync-16", "puts by sixteen threads, each on disk when it returns, against one thread of redb", &[
        ratio("redb", 1.0 / 3.0).by(TOGETHER),
        ratio("redb", 1.0 / 11.0).by(TOGETHER).of(SLOW),
        ratio("redb", 1.0 / 14.0).by(TOGETHER).of(SLOW).stretch(),
        goal("", AtMost(1.0 / 0.9)).by(COMMITS),
    ]),
    ask("redb-batch-100", "puts a hundred at a time, in one commit; per put", &[
        ratio("redb", 1.10),
        ratio("redb", 1.10).of(SLOW),
        ratio(ONE_BY_ONE, 1.0 / 5.0).by(BATCHED),
        ratio(ONE_BY_ONE, 1.0 / 40.0).by(BATCHED).of(SLOW),
    ]),
    ask("sqlite-get", "read of one record, decoded; SQLite: one connection, the statement kept, the value copied", &[
        ratio("SQLite", 1.10),
        ratio("SQLite", 0.90).stretch(),
    ]),
    ask("sqlite-put-sync", "one put on disk when it returns, nobody else writes", &[
        ratio("SQLite", 1.10),
        ratio("SQLite", 1.10).of(SLOW),
        ratio("SQLite", 1.03).stretch(),
    ]),
    ask("sqlite-put-sync-16", "puts by sixteen threads, each on disk when it returns, against one thread of SQLite", &[
        ratio("SQLite", 1.0 / 2.2).by(TOGETHER),
        ratio("SQLite", 1.0 / 11.0).by(TOGETHER).of(SLOW),
        ratio("SQLite", 1.0 / 14.0).by(TOGETHER).of(SLOW).stretch(),
        goal("", AtMost(1.0 / 0.9)).by(COMMITS),
    ]),
    ask("sqlite-batch-100", "puts a hundred at a time, in one commit; per put", &[
        ratio("SQLite", 1.10),
        ratio("SQLite", 1.10).of(SLOW),
        ratio(ONE_BY_ONE, 1.0 / 4.0).by(BATCHED),
        ratio(ONE_BY_ONE, 1.0 / 50.0).by(BATCHED).of(SLOW),
    ]),
    ask("file-get", "read of one record, decoded; a file per entry: opened, read and closed", &[
        ratio("file per entry", 1.15),
    ]),
    ask("file-put-sync", "one put on disk when it returns, against key and value appended to a file and flushed", &[
        ratio("append", 1.10),
        ratio("append", 1.10).of(SLOW),
    ]),
    ask("file-put-async", "one put on disk a little later, against key and value appended to a file", &[
        ratio("append", 1.10),
    ]),
    ask("chain-memory-hit", "get of resident keys through a cache over redb, String to a shared struct, one thread", &[
        ratio("foyer hybrid await", 0.10).by("nanotier await"),
        ratio("foyer hybrid try_unwrap", 0.08).by("nanotier read"),
        goal("nanotier await, no tier", CyclesMore(2.0)).by("nanotier await"),
        goal("nanotier read, no tier", CyclesMore(2.0)).by("nanotier read"),
    ]),
    ask("chain-l2-hit", "get of what is not in memory but in redb, copied into memory", &[
        ratio("foyer hybrid", 0.30),
        ratio("foyer hybrid", 0.15).stretch(),
    ]),
    ask("shape-lz4", "1 KiB of JSON compressed, and back, against lz4 alone", &[
        ratio("parts", 1.10).of("in"),
        ratio("parts", 1.10).of("out"),
    ]),
    ask("shape-aead", "the same compressed and encrypted, against lz4 and AES-256-GCM one after the other", &[
        ratio("parts", 1.10).of("in"),
        ratio("parts", 1.10).of("out"),
    ]),
    ask("warm-restart", "100,000 entries brought into memory when a cache is built", &[
        ratio("read and decode", 2.0),
    ]),
];
