//! The rows, in the order of the report. Each function makes its contenders, runs them, leaves its answers.

mod cost;
mod counts;
mod facade;
#[cfg(feature = "freshness")]
pub(crate) mod freshness;
mod hit;
mod insert;
mod load;
pub(crate) mod memory;
mod read_through;
mod slots;
mod text;
#[cfg(feature = "tiers")]
pub(crate) mod tiers;
mod zipf;

use crate::bench::Bench;

pub(crate) type Run = fn(&mut Bench);

pub(crate) const ROWS: &[(&str, Run)] = &[
    ("hot-hit-1t", hit::one_thread),
    ("hot-hit-2t", hit::two_threads),
    ("hot-hit-latency", hit::latency),
    ("miss-1t", hit::miss),
    ("locked-per-hit", counts::locked_per_hit),
    ("allocs-per-hit", counts::allocs_per_hit),
    ("string-borrow-1t", text::borrow_one_thread),
    ("string-borrow-2t", text::borrow_two_threads),
    ("string-clone-1t", text::clone_one_thread),
    ("zipf-100k", zipf::hundred_thousand),
    ("zipf-1m", zipf::million),
    ("read-through-1t", read_through::one_thread),
    ("read-through-2t", read_through::two_threads),
    ("insert-evict-1t", insert::one_thread),
    ("insert-evict-2t", insert::two_threads),
    ("allocs-per-evict", counts::allocs_per_evict),
    ("bytes-per-entry", memory::bytes_per_entry),
    ("get-or-load-hit", load::hit),
    ("get-or-load-miss", load::miss),
    ("loads-per-key", load::loads_per_key),
    ("ttl-cost", cost::ttl),
    ("lru-hit", cost::lru),
    ("lru-hit-again", cost::lru_again),
    ("slot-read", slots::slot_read),
    ("mirror-read", slots::mirror_read),
    ("stats-cost", cost::stats),
    ("facade-hot-hit-1t", facade::hot_hit_one_thread),
    ("facade-hot-hit-2t", facade::hot_hit_two_threads),
    ("facade-zipf-100k", facade::zipf_hundred_thousand),
    ("facade-read-through-1t", facade::read_through),
    ("facade-insert-evict-1t", facade::insert_evict),
    ("facade-bytes-per-entry", memory::facade_bytes_per_entry),
    ("facade-await", facade::awaited),
];

/// For rows about one hot key: more than a handful, and few enough to stay in the processor's cache.
const RESIDENTS_HOT: u64 = 500;
const CAPACITY_HOT: usize = 1024;
/// For rows that evict.
const CAPACITY_FULL: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::QUESTIONS;

    #[test]
    fn every_row_has_its_question_and_the_other_way_round() {
        let rows: Vec<_> = ROWS.iter().map(|(id, _)| *id).collect();
        let questions: Vec<_> = QUESTIONS.iter().map(|question| question.id).collect();
        assert_eq!(rows, questions);
    }

    #[cfg(feature = "tiers")]
    #[test]
    fn every_row_of_tiers_has_its_question_and_the_other_way_round() {
        let rows: Vec<_> = tiers::ROWS.iter().map(|(id, _)| *id).collect();
        let questions: Vec<_> = crate::goals::tiers::QUESTIONS.iter().map(|question| question.id).collect();
        assert_eq!(rows, questions);
    }
}
