//! The rules of order, by the interleavings that each of them exists for. Rules (O1 to O10) and interleavings (1 to 12) have their
//! numbers from `docs/CONSISTENCY.md`.
#![cfg(nanotier_schedules)]

mod behind;
mod copies;
mod flights;
mod late;
mod loads;
mod processes;
mod random;
mod snapshot;
mod writes;
