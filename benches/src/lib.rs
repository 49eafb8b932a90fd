//! Nothing: the benchmarks are in `benches/`, one file for each question.
#![forbid(unsafe_code)]
