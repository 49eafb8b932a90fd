//! The order of steps of a refresh: load, publish, write through, pause.

use std::sync::{Arc, OnceLock};

use nanotier_engine::Mirror;
use nanotier_tier::waiting::within;
use nanotier_tier::{Context, Error, ErrorKind, Moment, Result};

use super::place::Place;
use super::plan::Plan;
use super::source::{Contained, Source};
use super::supervisor::{Lease, Supervisor, contain};
use super::{Loading, Shown, Snapshot};
use crate::lookup::{Detailed, Lookup};

/// Is told of errors that nobody is given as an answer.
pub(super) type OnError = Box<dyn FnMut(&Error) + Send>;

/// What is shown, once there is something.
pub(super) type FirstShown<V> = Arc<OnceLock<Arc<Mirror<Shown<V>>>>>;

/// One value that is loaded again and again.
pub(super) struct Refresher<V> {
    pub(super) source: Box<dyn Source<V>>,
    pub(super) plan: Plan,
    pub(super) shown: FirstShown<V>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) write_through: Option<Place<V>>,
    pub(super) on_error: Option<OnError>,
    pub(super) context: Context,
    /// When the last load began.
    pub(super) begun: Moment,
}

impl<V: Send + Sync + 'static> Refresher<V> {
    /// The first load by whoever waits for it, then in the background. If the first load fails, or nobody waits for
    /// it any more, there never is a background.
    pub(super) fn keep(mut self) -> Lookup<Snapshot<V>> {
        Lookup::below(async move {
            self.load().await?;
            let Some(shown) = self.shown.get().cloned() else {
                return Err(Error::new(ErrorKind::Absent, "cache", "load"));
            };
            self.write_through().await;
            let lease = Arc::new(Lease(self.supervisor.clone()));
            let next = self.next(0);
            self.go_on(next);
            Ok(Detailed::nowhere(Snapshot { shown, lease }))
        })
    }

    /// All loads in the background.
    pub(super) fn load_behind(self) -> Loading<V> {
        let (shown, lease) = (self.shown.clone(), Arc::new(Lease(self.supervisor.clone())));
        self.go_on(Moment::ZERO);
        Loading { shown, lease }
    }

    fn go_on(self, next: Moment) {
        let (supervisor, context) = (self.supervisor.clone(), self.context.clone());
        supervisor.start(&context, Box::pin(self.run(next)));
    }

    /// For ever: whoever stops it drops it.
    async fn run(mut self, mut next: Moment) {
        let mut failures = 0_u32;
        loop {
            self.supervisor.pause(next).await;
            match self.load().await {
                Ok(()) => {
                    failures = 0;
                    self.write_through().await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.report(&error);
                    self.supervisor.failed(error);
                }
            }
            next = self.next(failures);
        }
    }

    /// One load, published.
    async fn load(&mut self) -> Result<()> {
        let clock = self.supervisor.clock();
        clock.catch_up();
        self.begun = clock.now();
        let load = Contained::new(self.source.load(self.begun));
        let shown = within(clock, self.begun.plus(self.plan.deadline), load).await;
        let timeout = || {
            Error::new(ErrorKind::Timeout, "cache", "load").with_detail("a load did not end by its deadline")
        };
        if let Some(shown) = shown.ok_or_else(timeout)?? {
            self.publish(shown);
        }
        self.supervisor.succeeded(self.begun);
        Ok(())
    }

    fn publish(&self, shown: Shown<V>) {
        match self.shown.get() {
            // Where the drop of the version before panics, the new one is published all the same.
            Some(mirror) => contain(|| _ = mirror.publish(shown)),
            None => _ = self.shown.set(Arc::new(Mirror::new(shown))),
        }
    }

    /// What is shown goes to the tier, too. That it failed is no failure of the load.
    async fn write_through(&mut self) {
        let (Some(place), Some(shown)) = (&self.write_through, self.shown.get()) else { return };
        let clock = self.supervisor.clock();
        let put = Contained::new(Box::pin(place.put(shown, &self.supervisor)));
        let written = within(clock, clock.now().plus(self.plan.deadline), put).await;
        let timeout = || {
            Error::new(ErrorKind::Timeout, "cache", "write").with_detail("the tier did not answer in time")
        };
        let error = written.unwrap_or_else(|| Err(timeout())).err();
        if let Some(error) = &error {
            self.report(error);
        }
        self.supervisor.wrote(error);
    }

    fn report(&mut self, error: &Error) {
        if let Some(on_error) = &mut self.on_error {
            contain(|| on_error(error));
        }
    }

    /// When the next load begins: counted from the beginning of one that succeeded, unless that took longer than the
    /// whole pause, and from the end of one that failed. So there is always a pause.
    fn next(&mut self, failures: u32) -> Moment {
        let clock = self.supervisor.clock();
        clock.catch_up();
        let (now, pause) = (clock.now(), self.plan.pause(failures));
        let planned = self.begun.plus(pause);
        if failures == 0 && planned > now { planned } else { now.plus(pause) }
    }
}
