//! What stores over a local engine share: a database, a file, anything that keeps rows in order and commits them together.
//!
//! Such a store brings a [`Backend`]: how to read rows and how to change some of them in one step. Everything that is the
//! contract's business is here, once:
//!
//! | part | what it does |
//! |---|---|
//! | [`Core`] | the contract's methods over a backend; [`Embedded`] makes a [`Store`](crate::Store) of whatever has one |
//! | [`Options`] | what every such store works by, its defaults, and which of them are refused |
//! | `group` | group commit: those who write at the same time share one transaction and one flush |
//! | `desk` | what a transaction does: every write is judged with what is held, where nobody can come between |
//! | `room` | what leaves when a store that is bounded has no room, and what stays in its place |
//! | `row` | what lies under a path: a framed record, the floor of its namespace, and when it may go |
//! | `background` | the store's one thread: flushes what was acknowledged before it was on disk, sweeps what has expired |
//! | [`files`] | new files and folders for their owner alone, that survive a power cut |
//! | [`Belief`] | since when the store is believed |

mod backend;
mod background;
mod belief;
mod core;
mod desk;
pub mod files;
mod group;
mod options;
mod room;
mod row;

pub use self::core::{Core, Embedded, Stats};
pub use backend::{Backend, Range, Rows, RowsMut, Visit, Wanted};
pub use belief::Belief;
pub use desk::{after_all_with, bounds};
pub use options::Options;
pub use row::Floor;
