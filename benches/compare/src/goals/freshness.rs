//! What get or compute must reach, and what is built on it.

use super::Limit::{AtMost, CyclesMore, FacadeRatio, RatioPlusCycles};
use super::{Question, ask, goal, ratio};

/// A hit whose loader is not needed costs what a get costs.
const NO_MORE: super::Limit = RatioPlusCycles(1.05, 1.0);

#[rustfmt::skip]
pub(crate) const QUESTIONS: &[Question] = &[
    ask("hit", "get of one hot key through nanotier::Cache, against the engine beneath it", &[
        goal("nanotier", CyclesMore(5.0)).by("Cache::get"),
        goal("quick_cache", FacadeRatio(0.25)).by("Cache::get"),
    ]),
    ask("get-with-hit", "get_with of one hot key, whose loader is not needed", &[
        goal("Cache::get", NO_MORE).by("get_with"),
        goal("Cache::get", NO_MORE).by("get_with_blocking"),
    ]),
    ask("memoize-hit-1", "a remembered answer, of a function of a number, against the engine's get of the same key", &[
        ratio("engine", 1.3).by("#[memoize]"),
        ratio("engine", 1.3).by("memoize()"),
    ]),
    ask("memoize-hit-3", "the same of a function of a number, a text and a number", &[
        ratio("engine", 1.3).by("#[memoize]"),
        ratio("engine", 1.3).by("memoize()"),
    ]),
    ask("stampede-8", "8 threads ask for a key that nobody has, its loader takes 5 ms: loads, and the time until all have it in loaders", &[
        goal("", AtMost(1.0)).by("blocking, loads").strict(),
        goal("", AtMost(1.0)).by("await, loads").strict(),
        goal("", AtMost(1.10)).by("blocking, time"),
        goal("", AtMost(1.10)).by("await, time"),
    ]),
    ask("stale-stampede", "8 threads hammer a key that turns stale and whose loader takes 5 ms", &[
        goal("", AtMost(1.0)).by("refreshes").strict(),
        ratio("a hit", 3.0).by("a caller, median"),
        goal("", AtMost(2.5)).by("slowest caller"),
        goal("", AtMost(5.0)).by("who starts it, median"),
    ]),
    ask("keep-read", "read of a value that is kept", &[
        goal("engine's Mirror", NO_MORE).by("keep"),
    ]),
    ask("mirror-read", "read of a value that is followed in a tier", &[
        goal("engine's Mirror", NO_MORE).by("mirror"),
    ]),
    ask("refresh-overhead", "hits where a refresh may be due and stale values stay, against a cache without both", &[
        ratio("get, plain", 1.05).by("get"),
        ratio("get_with, plain", 1.05).by("get_with"),
    ]),
    ask("events-off", "get from a cache that nobody watches, against the engine with a deadline for each entry", &[
        goal("nanotier with ttl", CyclesMore(5.0)).by("unwatched"),
    ]),
    ask("events-on", "get from a cache that is watched, against one that is not", &[
        goal("unwatched", CyclesMore(5.0)).by("with counters"),
        goal("unwatched", CyclesMore(50.0)).by("with an observer").stretch(),
    ]),
];
