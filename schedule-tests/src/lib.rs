//! Explores the order in which tasks of caches take turns, and holds every order to the promises of `docs/CONSISTENCY.md`.
//!
//! A test is a scenario: a few caches, what they do at once, and what must be true afterwards. It stands twice:
//!
//! - [`holds`](explore::holds): no schedule out of many breaks the promise;
//! - [`is_caught_without`](explore::is_caught_without): with one rule of order switched off, some schedule does. This is how
//!   we know that the test can see what the rule is there for, and that the rule is there for something.
//!
//! | part | what it is |
//! |---|---|
//! | [`explore`] | runs a scenario under many schedules |
//! | [`world`] | caches with private copies over one simulated truth, each on its own clock |
//! | [`wire`] | between a cache and a tier: goes down, holds back, pauses, remembers |
//! | [`history`] | who wrote what when, and which reads that forbids |
//!
//! Everything runs on clocks moved by hand and on the explorer's own tasks: a schedule that failed can be replayed. Built
//! with `--cfg nanotier_schedules`; without it this crate is empty.
#![cfg(nanotier_schedules)]
#![forbid(unsafe_code)]

pub mod explore;
pub mod history;
pub mod wire;
pub mod world;
