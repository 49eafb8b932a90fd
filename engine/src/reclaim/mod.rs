//! When memory that readers may still be looking at can be used again.
//!
//! Asymmetric hazard pointers, after Maged Michael's hazard pointers (2004) and folly's use of the operating
//! system's barrier for them: who reads says which node he is about to look at by a plain store, and looks again
//! whether the node is still where he found it. No lock, no read-modify-write, no fence. Who frees pays: one
//! barrier on all processors that run this process (`membarrier`), then a look at what all threads have said. One
//! barrier serves hundreds of retired nodes, whichever engine they are of.
//!
//! A reader that is stopped, for a minute or for ever, keeps the few nodes that it has named, and nothing else.
//!
//! Invariants:
//! - R1: a thread looks into a node only while a slot of its own names the node, and only after it has seen, by a
//!   load that comes after the naming, that the node is still linked.
//! - R2: a node is unlinked for good before its [`Grace`] begins.
//! - R3: a grace is over only when a heavy barrier has begun after it did, and ended.
//! - R4: memory of a node is written or freed only when its grace is over and a look at all slots, made after that,
//!   has not found it.
//! - R5: records of threads are never freed, and a slot belongs to one thread at a time.
//!
//! Why that is enough: take a reader and the barrier of R3. Either the reader's second look (R1) came before the
//! barrier on its processor; then its naming did too, and the look of R4 sees the name. Or it comes after; then it
//! sees that the node has been unlinked, for that happened before the barrier (R2), and the reader looks no
//! further. The name is cleared with release after the last use, and R4 looks with acquire: what the reader read
//! comes before what is written next.
//!
//! Where the system has no `membarrier`, and until it was asked, each reader makes a full fence of its own between
//! naming and looking again: found out at run time, once. Under `--cfg nanotier_epoch` crossbeam-epoch does the same
//! work behind the same interface: the oracle that the tests are run against, too. It holds up *all* reclamation
//! while one reader is stopped, which is why it is not the strategy.
//!
//! Checked by: the models in `loom-tests` (naming against unlinking, reuse, exit of threads), `engine/tests/stress`
//! and `engine/tests/stopped` under the address and thread sanitizers, and the sharp stress in `tests/`.

mod barrier;
#[cfg(not(nanotier_epoch))]
mod grace;
#[cfg(not(nanotier_epoch))]
mod guard;
#[cfg(not(nanotier_epoch))]
mod leak;
#[cfg(not(nanotier_epoch))]
mod record;
mod shared;

#[cfg(nanotier_epoch)]
mod epoch;

#[cfg(nanotier_epoch)]
pub(crate) use epoch::{Glance, Grace, Guard, Held, prepare, stripe};
#[cfg(not(nanotier_epoch))]
pub(crate) use grace::{Grace, Held};
#[cfg(not(nanotier_epoch))]
pub(crate) use guard::{Glance, Guard};
#[cfg(nanotier_loom)]
pub(crate) use leak::free_leaked;
#[cfg(not(nanotier_epoch))]
pub(crate) use record::stripe;
pub(crate) use shared::Shared;

#[cfg(not(nanotier_epoch))]
pub(crate) use barrier::prepare;
