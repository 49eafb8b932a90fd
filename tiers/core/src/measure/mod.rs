//! Counting and timing, without a line that all threads write to.
//!
//! | part | what it is |
//! |---|---|
//! | [`Striped`] | one set of counters for each of a few groups of threads |
//! | [`Histogram`] | how long things took, in fixed memory; read as [`Latencies`] |
//! | [`Meters`] | what each tier of one cache was asked and answered; read as [`TierMetrics`] |
//! | [`Metered`] | the tier that is counted, around each tier of a chain |

mod histogram;
mod metered;
mod meters;
mod striped;

pub use histogram::{Histogram, Latencies};
pub use metered::Metered;
pub use meters::{Meters, ReadMetrics, TierMetrics, WriteMetrics};
pub use striped::Striped;
