//! What tests of a service need that uses a cache (feature `testing`).
//!
//! | part | for |
//! |---|---|
//! | [`Fake`] | a tier that counts its calls, with assertions; and caches over it, ready to be built |
//! | [`Clock::manual`], [`Hands`] | time that passes when the test says so |
//! | [`Tasks`] | background work that runs when the test says so |
//! | [`Faulty`], [`Faults`], [`Fault`] | a tier that is slow, fails, hangs or loses answers |
//! | [`Seed`] | randomness that a failed test can have again |
//!
//! Everything runs on the thread of the test, without a runtime and without sleeping; under a runtime it works as well. A
//! test with a deadline of a minute takes no time, and comes out the same every time.
//!
//! ```
//! use nanotier::testing::{Fake, Op};
//! use std::time::Duration;
//!
//! let fake = Fake::new();
//! let rates = fake
//!     .cache::<String, f64>()
//!     .ttl(Duration::from_secs(60))
//!     .stale_for(Duration::from_secs(3600))
//!     .build()?;
//! rates.insert("EUR".to_string(), 1.1).wait()?;
//!
//! fake.faults().fail(); // an outage begins,
//! fake.advance(Duration::from_secs(600)); // and lasts
//! assert_eq!(rates.get("EUR").wait()?, Some(1.1), "stale, but served");
//! fake.run(); // the look behind it
//! assert!(fake.faults().met() > 0, "the outage was noticed");
//! fake.assert_not_called(Op::Remove, "EUR");
//! # Ok::<(), nanotier::Error>(())
//! ```
//!
//! The page `docs/TESTING.md` in the repository shows how a service is tested with it. Tiers of one's own are held to their
//! contract by the conformance kit of `nanotier-tier`, feature `conformance`.
//!
//! # The clock
//!
//! A manual clock stands still until its hands move it:
//!
//! ```
//! use nanotier::testing::Clock;
//! use nanotier::Cache;
//! use std::time::Duration;
//!
//! let (clock, hands) = Clock::manual();
//! let tokens: Cache<u32, &str> = Cache::builder().ttl(Duration::from_secs(60)).clock(clock).build()?;
//! tokens.insert(1, "token").wait()?;
//! hands.advance(Duration::from_secs(59));
//! assert_eq!(tokens.get(&1).wait()?, Some("token"));
//! hands.advance(Duration::from_secs(1));
//! assert_eq!(tokens.get(&1).wait()?, None);
//! # Ok::<(), nanotier::Error>(())
//! ```

mod counts;
mod fake;
mod fault;
mod faulty;
mod op;
mod seed;
mod tasks;

pub use fake::Fake;
pub use fault::Fault;
pub use faulty::{Faults, Faulty};
pub use nanotier_tier::{Clock, Hands};
pub use op::Op;
pub use seed::Seed;
pub use tasks::Tasks;
