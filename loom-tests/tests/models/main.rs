//! What readers and writers promise each other. Names are promises; the comment above each says what meets what.
#![cfg(nanotier_loom)]

mod grace;
mod growth;
mod policy;
mod reads;
mod single;
mod sizes;
mod writes;
