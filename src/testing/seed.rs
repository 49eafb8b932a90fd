//! Randomness that a failed test can have again.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Numbers that look random and can be had again: who has the seed has the same numbers in the same order.
///
/// [`from_env`](Self::from_env) makes a new one each run. If the test fails, the seed is printed on the way out, and the
/// next run takes it from the environment:
///
/// ```text
/// NANOTIER_SEED=11400714819323198485 repeats this run
/// ```
///
/// Not for secrets. Belongs to one thread: what several threads draw in turns could not be had again.
///
/// ```
/// use nanotier::testing::Seed;
///
/// let (one, other) = (Seed::new(7), Seed::new(7));
/// assert_eq!(one.number(), other.number());
/// assert!(one.below(10) < 10);
/// ```
#[derive(Debug)]
pub struct Seed {
    value: u64,
    state: Cell<u64>,
}

impl Seed {
    /// The environment variable that [`from_env`](Self::from_env) reads.
    pub const VARIABLE: &'static str = "NANOTIER_SEED";

    /// This seed.
    ///
    /// ```
    /// use nanotier::testing::Seed;
    ///
    /// assert_ne!(Seed::new(1).number(), Seed::new(2).number());
    /// ```
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self { value, state: Cell::new(value) }
    }

    /// The seed that the environment variable [`VARIABLE`](Self::VARIABLE) names, in decimal; a new one without it.
    ///
    /// ```
    /// let seed = nanotier::testing::Seed::from_env();
    /// let again = nanotier::testing::Seed::new(seed.value());
    /// assert_eq!(seed.number(), again.number());
    /// ```
    ///
    /// # Panics
    ///
    /// If the variable holds something else than a number below 2^64: a run that seems to repeat another and does not
    /// would prove the wrong thing.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var(Self::VARIABLE) {
            Ok(text) => Self::new(
                text.trim()
                    .parse()
                    .unwrap_or_else(|_| panic!("{}={text:?} is no number below 2^64", Self::VARIABLE)),
            ),
            Err(_) => Self::new(RandomState::new().build_hasher().finish()),
        }
    }

    /// The seed itself: [`Seed::new`] of it begins again.
    ///
    /// ```
    /// assert_eq!(nanotier::testing::Seed::new(7).value(), 7);
    /// ```
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The next number, of all that there are.
    ///
    /// ```
    /// let seed = nanotier::testing::Seed::new(7);
    /// assert_ne!(seed.number(), seed.number());
    /// ```
    pub fn number(&self) -> u64 {
        let state = self.state.get().wrapping_add(GOLDEN);
        self.state.set(state);
        mix(state)
    }

    /// The next number below `bound`, all about equally likely; 0 below 0 or 1.
    ///
    /// ```
    /// let die = nanotier::testing::Seed::new(7);
    /// assert!((0..100).all(|_| die.below(6) < 6));
    /// ```
    pub fn below(&self, bound: u64) -> u64 {
        // The upper half of the product: 0 for a bound of 0, too.
        u64::try_from((u128::from(self.number()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// True with this probability: never at 0 and below, always at 1 and above.
    ///
    /// ```
    /// let seed = nanotier::testing::Seed::new(1);
    /// assert!(seed.chance(1.0) && !seed.chance(0.0));
    /// ```
    pub fn chance(&self, share: f64) -> bool {
        falls(self.number(), share)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}={} repeats this run", Self::VARIABLE, self.value);
        }
    }
}

/// What the `n`-th number of a seed is: for who counts by himself.
pub(super) fn nth_falls(seed: u64, n: u64, share: f64) -> bool {
    falls(mix(seed.wrapping_add(n.wrapping_mul(GOLDEN))), share)
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are exact, and a share has no more")]
fn falls(number: u64, share: f64) -> bool {
    // Below 1, whatever the number is; a share that is not a number is none.
    ((number >> 11) as f64) / ((1_u64 << 53) as f64) < share
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
