//! What the models of `loom-tests` drive: the ticker as it ships, but one for each execution.

use crate::ticker::Beat;

/// A ticker that nobody has a share in yet.
#[derive(Debug, Clone, Copy)]
pub struct Ticker(&'static Beat);

/// A share in it.
#[derive(Debug)]
pub struct Ticking(&'static Beat);

impl Ticker {
    /// Never freed: its thread may outlast the execution's first one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        Self(Box::leak(Box::new(Beat::new())))
    }

    /// Joins it, which starts its thread if there is none.
    #[must_use]
    pub fn join(self) -> Ticking {
        self.0.join();
        Ticking(self.0)
    }

    /// Whether there is a thread.
    #[must_use]
    pub fn is_ticking(self) -> bool {
        self.0.is_ticking()
    }
}

impl Ticking {
    /// What a hit reads.
    #[must_use]
    pub fn steady_ms(&self) -> u64 {
        self.0.steady_ms()
    }

    /// Puts the hands right, as a slow path does.
    pub fn put_right(&self) {
        self.0.put_right();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.leave();
    }
}
