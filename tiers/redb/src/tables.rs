//! How a store lies in its file: three tables and what their rows mean. `docs/FORMATS.md` describes the records.
//!
//! | table | key | value |
//! |---|---|---|
//! | records | a path's bytes: length of the namespace, namespace, key | a framed record or tombstone |
//! | floors | a namespace | the version of its last clearing, and its bytes inverted |
//! | meta | a word | a number: `layout`, the version of all this; `closed`, 1 if it was closed properly; `believed since`; `bytes` of all rows |

use redb::TableDefinition;

pub(crate) type Bytewise = &'static [u8];

pub(crate) const RECORDS: TableDefinition<'_, Bytewise, Bytewise> = TableDefinition::new("nanotier.records");
pub(crate) const FLOORS: TableDefinition<'_, Bytewise, Bytewise> = TableDefinition::new("nanotier.floors");
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("nanotier.meta");

/// Under this word: the version of the layout.
pub(crate) const LAYOUT: &str = "layout";
/// The layout that is written and read.
pub(crate) const LAYOUT_VERSION: u64 = 1;
/// Under this word, from the first unclean opening on: since when the store is believed, in milliseconds. Closing properly
/// afterwards does not make up for what was missed before.
pub(crate) const BELIEVED_SINCE: &str = "believed since";
/// Under this word: how many bytes all records take, with their keys. Kept by every transaction that changes it.
pub(crate) const BYTES: &str = "bytes";
/// Under this word: 1 if the store was closed properly, 0 while it is open.
pub(crate) const CLOSED: &str = "closed";
/// Under this word: the number of the last opening, random and never 0. What was kept beside the store when that opening ended
/// belongs to what it holds.
pub(crate) const OPENING: &str = "opening";
