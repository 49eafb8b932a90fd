//! Runs the engine as it ships under a model checker (loom): every order in which two or three threads can take turns,
//! and every value that the memory model lets a load answer.
//!
//! A test is a scenario of a few operations, and its name is the promise that no order breaks. Beyond what a scenario
//! asserts, the checker itself fails where a payload is looked at while another thread writes to it, where threads wait
//! for each other for ever, and where something is used after the execution that it belongs to.
//!
//! | part | what it is |
//! |---|---|
//! | [`explore`] | runs a scenario in every order, or in all with few preemptions, and says which |
//! | [`subject`] | engines with chosen hashes, and values that notice when they are read after their time |
//!
//! The engine's constants are small here (two ways in a bucket, two nodes in a chunk, one entry that may wait for its
//! barrier), so that a few operations reach everything. The system's memory barrier is told in words that the checker
//! knows (`engine/src/reclaim/barrier.rs`); with `--cfg nanotier_fences` as well, readers make fences instead.
//!
//! Built with `--cfg nanotier_loom`; without it this crate is empty.
#![cfg(nanotier_loom)]
#![forbid(unsafe_code)]

pub mod explore;
pub mod subject;
