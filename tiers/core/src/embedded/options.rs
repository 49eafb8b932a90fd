//! What a store works by, and what of it cannot work.

use std::time::Duration;

use crate::capabilities::{Durability, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Framing;

/// What a store works by. Once [judged](Options::judged) nothing in it can be wrong but the size bound, whose least is each store's own.
#[derive(Clone, Debug)]
pub struct Options {
    /// How widely the rows are shared.
    pub scope: Scope,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// How long tombstones are kept, and how old a write may be when it arrives.
    pub horizon: Duration,
    /// How often expired records and old tombstones are looked for.
    pub sweep_interval: Duration,
    /// How many bytes all rows together may take, keys and framed records; `None` for any number.
    ///
    /// A write that would make them more lets others leave in its own transaction: what has expired, then what was taken long ago.
    /// Versions that have to be known stay, as blanks. See "When a store is full" in `docs/TIERS.md`.
    pub bytes_max: Option<u64>,
    /// The largest value, in bytes.
    pub value_len_max: usize,
    /// How records become rows.
    pub framing: Framing,
}

impl Options {
    /// How long tombstones are kept unless told otherwise.
    pub const HORIZON_DEFAULT: Duration = Duration::from_secs(600);
    /// How often expired records are looked for unless told otherwise.
    pub const SWEEP_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
    /// The shortest interval of sweeps.
    pub const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(10);
    /// The shortest loss window.
    pub const LOSS_WINDOW_MIN: Duration = Duration::from_millis(2);

    /// What a store works by unless told otherwise: synchronous, unbounded, and with values of at most `value_len_max` bytes.
    #[must_use]
    pub fn new(scope: Scope, value_len_max: usize) -> Self {
        Self {
            scope,
            durability: Durability::Sync,
            horizon: Self::HORIZON_DEFAULT,
            sweep_interval: Self::SWEEP_INTERVAL_DEFAULT,
            bytes_max: None,
            value_len_max,
            framing: Framing::default(),
        }
    }

    /// The same with digests of paths that are keyed by `secret`.
    #[must_use]
    pub fn with_secret(self, secret: [u8; 16]) -> Self {
        Self { framing: self.framing.with_secret(secret), ..self }
    }

    /// The same if a store can work by them, in whose rows values may have up to `value_len_limit` bytes; and framed so that no value is longer
    /// than `value_len_max`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] of this tier, with a sentence.
    pub fn judged(self, tier: &'static str, value_len_limit: usize) -> Result<Self> {
        let refused = |why: String| Err(Error::new(ErrorKind::Config, tier, "open").with_detail(why));
        match self.durability {
            Durability::Sync => {}
            Durability::Async { loss_window } if loss_window >= Self::LOSS_WINDOW_MIN => {}
            Durability::Async { .. } => {
                return refused(format!(
                    "a loss window of less than {:?} cannot be kept: use Durability::Sync",
                    Self::LOSS_WINDOW_MIN
                ));
            }
            Durability::Volatile => {
                return refused("a file is not volatile: use Durability::Sync or Durability::Async".into());
            }
        }
        if self.horizon.is_zero() {
            return refused(
                "without a horizon no delete would be safe from a late write: 10 minutes are usual".into(),
            );
        }
        if self.sweep_interval < Self::SWEEP_INTERVAL_MIN {
            return refused(format!("the interval of sweeps is at least {:?}", Self::SWEEP_INTERVAL_MIN));
        }
        if self.value_len_max == 0 || self.value_len_max > value_len_limit {
            return refused(format!("the largest value has 1 to {value_len_limit} bytes"));
        }
        Ok(Self { framing: self.framing.with_value_len_max(self.value_len_max), ..self })
    }
}
