//! A value that is refreshed in the background: those who change its source and ask for a refresh, those who wait for versions,
//! those who close it, and the work itself. The clock stands still, so that a wakeup that is lost is never made good: a deadlock.

use std::sync::{Arc, Weak};
use std::time::Duration;

use nanotier::{Clock, ErrorKind, Keep, Loading, Snapshot};
use nanotier_schedule_tests::explore::{holds, promise};
use nanotier_schedule_tests::wire::{linger, pause};
use nanotier_schedule_tests::world::{Behind as Spawner, Source, coin};
use shuttle::future::spawn;

/// The source, the value that is kept of it, and what shows whether anything of its loader is still there.
struct Stage {
    source: Source,
    spawner: Spawner,
    loader: Weak<()>,
}

impl Stage {
    /// Loads that fail now and then before they have read, as a coin has it.
    fn new(fails: bool) -> (Self, Loading<u64>) {
        let (clock, _hands) = Clock::manual();
        let (source, spawner, token) = (Source::of(1), Spawner::default(), Arc::new(()));
        let loader = Arc::downgrade(&token);
        let load = {
            let source = source.clone();
            move || {
                let (source, token) = (source.clone(), token.clone());
                async move {
                    let _token = token;
                    if fails && coin() {
                        pause().await;
                        return Err("as the coin has it");
                    }
                    Ok(source.read_slowly().await)
                }
            }
        };
        let options = Keep::new(Duration::from_secs(60)).clock(clock).spawner(spawner.clone()).seed(1);
        let loading = options.loader(load).unwrap();
        (Self { source, spawner, loader }, loading)
    }

    /// Nothing of the work is there, and no task.
    async fn is_over(&self) {
        promise(self.loader.strong_count() == 0, || "the loader outlives its closing".to_owned());
        self.spawner.finished().await;
    }
}

/// Sees versions rise until it is told that no more will come.
async fn watch(value: Snapshot<u64>) {
    let (mut seen, mut number) = (value.version(), 0);
    loop {
        match value.changed(seen).await {
            Ok(version) => {
                promise(version > seen, || format!("version {version} after {seen}"));
                seen = version;
            }
            Err(error) => {
                promise(error.kind() == ErrorKind::Closed, || format!("{error}"));
                return;
            }
        }
        let now = value.get();
        promise(now >= number, || format!("{now} after {number}"));
        number = now;
    }
}

/// What the source is changed to before a refresh is asked for is seen after it.
async fn change(stage: &Stage, value: &Snapshot<u64>, number: u64) {
    stage.source.set(number);
    value.refresh();
    let mut seen = value.version();
    while value.get() < number {
        seen = value.changed(seen).await.unwrap();
    }
}

async fn refreshes() {
    let (stage, loading) = Stage::new(false);
    let value = loading.snapshot().await.unwrap();
    let watchers = [value.clone(), value.clone()].map(|value| spawn(watch(value)));
    for number in 2..4 {
        change(&stage, &value, number).await;
    }
    value.close().await.unwrap();
    for watcher in watchers {
        watcher.await.unwrap();
    }
    stage.is_over().await;
}

#[test]
fn a_refresh_that_is_asked_for_brings_what_was_there_and_nobody_waits_for_ever() {
    holds(refreshes);
}

async fn closings() {
    let (stage, loading) = Stage::new(true);
    let waits = spawn({
        let loading = loading.clone();
        async move {
            if let Ok(value) = loading.snapshot().await {
                // It may be told of it once it is closed already.
                value.refresh();
                watch(value).await;
            }
        }
    });
    let closers = [loading.clone(), loading.clone()].map(|loading| {
        spawn(async move {
            linger().await;
            loading.close().await.unwrap();
        })
    });
    for closer in closers {
        closer.await.unwrap();
        stage.is_over().await;
    }
    waits.await.unwrap();
    promise(!loading.healthy(), || "closed, and healthy".to_owned());
}

#[test]
fn whoever_closes_it_finds_nothing_left_and_who_waits_is_told() {
    holds(closings);
}

async fn drops() {
    let (stage, loading) = Stage::new(true);
    let handles = [loading.clone(), loading].map(|loading| {
        spawn(async move {
            linger().await;
            // With or without a look at it, and a lookup that is left.
            if coin() {
                drop(loading.value().try_now());
            }
            if coin() {
                drop(loading.snapshot());
            }
        })
    });
    for handle in handles {
        handle.await.unwrap();
    }
    // Whoever polls the work when the last handle goes drops it next.
    stage.spawner.finished().await;
    stage.is_over().await;
}

#[test]
fn the_last_handle_that_goes_takes_everything_with_it() {
    holds(drops);
}
