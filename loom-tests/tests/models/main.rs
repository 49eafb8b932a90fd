//! What readers and writers promise each other. Names are promises; the comment above each says what meets what.
//!
//! | model | what meets | where |
//! |---|---|---|
//! | L1 | a look; an eviction or a removal, and the reuse of the node, by a flush and without one | `reads` |
//! | L2 | two puts of one key | `writes` |
//! | L3 | a put and a removal of one key, and looks | `writes`, `reads` |
//! | L4 | an insert that makes the index grow, and another | `growth` |
//! | L5 | looks, growth and a removal | `growth` |
//! | L6 | the hand of CLOCK, a use and a removal | `policy` |
//! | L8 | a look at a single value, and its replacement | `single` |
//! | L9 | publications of a mirror, and looks and waits | `single` |
//! | L12 | ticks of the coarse clock, reads, and who puts it right; clocks that come while the last goes | `ticks` |
//! | L13 | length and weight, and writes | `sizes` |
//! | L14 | clearing, an insert and a visit; growth and a visit | `sizes` |
//! | L15 | two graces and one barrier | `grace` |
//! | L16 | threads that end, threads that take over their records, and a look at all of them | `grace` |
#![cfg(nanotier_loom)]
// The threads of a model take turns on one thread of the system's.
#![allow(clippy::arc_with_non_send_sync)]

mod grace;
mod growth;
mod policy;
mod reads;
mod single;
mod sizes;
mod ticks;
mod writes;
