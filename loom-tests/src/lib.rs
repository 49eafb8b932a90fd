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
//! Where all orders are too many, those with few preemptions are looked at, and the test says so;
//! `NANOTIER_LOOM_PREEMPTIONS` asks for others. The checker finds the orders by the loads and stores that it sees race,
//! and would overlook some; `engine/src/sync/modelled.rs` says which, and shows them to it.
//!
//! The engine's constants are small here (two ways in a bucket, two nodes in a chunk, one entry that may wait for its
//! barrier), so that a few operations reach everything. The system's memory barrier is told in words that the checker
//! knows (`engine/src/reclaim/barrier.rs`); with `--cfg nanotier_fences` as well, readers make fences instead.
//!
//! Built with `--cfg nanotier_loom`; without it this crate is empty.
#![cfg(nanotier_loom)]
// The threads of a model take turns on one thread of the system's.
#![allow(clippy::arc_with_non_send_sync)]
#![forbid(unsafe_code)]

pub mod explore;
pub mod subject;
