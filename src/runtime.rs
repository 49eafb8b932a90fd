//! The runtime that work began in, so that whoever drives it can enter there.

#[cfg(feature = "tokio")]
mod enabled {
    use tokio::runtime::{EnterGuard, Handle};

    /// The tokio runtime of the thread that began the work, if it was in one.
    #[derive(Clone, Debug)]
    pub(crate) struct Runtime(Option<Handle>);

    impl Runtime {
        pub(crate) fn current() -> Self {
            Self(Handle::try_current().ok())
        }

        /// Until the guard goes, timers and sockets made on this thread belong to that runtime.
        pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
            self.0.as_ref().map(Handle::enter)
        }
    }
}
#[cfg(feature = "tokio")]
pub(crate) use enabled::Runtime;

#[cfg(not(feature = "tokio"))]
mod disabled {
    /// Nothing is known of runtimes.
    #[derive(Clone, Debug)]
    pub(crate) struct Runtime;

    impl Runtime {
        pub(crate) fn current() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "the same interface as with a runtime")]
        pub(crate) fn enter(&self) -> Option<std::convert::Infallible> {
            None
        }
    }
}
#[cfg(not(feature = "tokio"))]
pub(crate) use disabled::Runtime;
