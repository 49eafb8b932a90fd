//! Work on a tokio runtime.

use nanotier_tier::{Spawn, Task};
use tokio::runtime::Handle;

/// Runs work on one tokio runtime, given by its handle.
#[derive(Clone, Debug)]
pub struct TokioSpawner(pub Handle);

impl Spawn for TokioSpawner {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        // A runtime that is shut down drops the task, and what is dropped unfinished comes back to the
        // cache's spawner; from outside any runtime that is the worker thread.
        drop(self.0.spawn(task));
        Ok(())
    }
}

/// Runs work on the runtime that the caller is in; elsewhere hands it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wherever;

impl Spawn for Wherever {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        match Handle::try_current() {
            Ok(handle) => TokioSpawner(handle).spawn(task),
            Err(_) => Err(task),
        }
    }
}
