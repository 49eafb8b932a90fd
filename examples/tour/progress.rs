//! How far a long piece of work has come.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::say;
use crate::words::{count, plural};

/// A bar on a terminal; elsewhere a line now and then.
pub(crate) struct Progress {
    total: usize,
    done: AtomicUsize,
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stdout());
            let style =
                ProgressStyle::with_template("   {bar:40} {human_pos} of {human_len} files, {eta} to go");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { total, done: AtomicUsize::new(0), bar, last_line: Mutex::new(Instant::now()) }
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Relaxed) + 1;
        if let Some(bar) = &self.bar {
            return bar.inc(1);
        }
        // Whoever finds it taken leaves it to the other.
        let Ok(mut last_line) = self.last_line.try_lock() else { return };
        if last_line.elapsed() >= LINE_INTERVAL {
            *last_line = Instant::now();
            say(&format!("   {} of {} so far", count(done), plural(self.total, "file")));
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const LINE_INTERVAL: Duration = Duration::from_secs(5);
