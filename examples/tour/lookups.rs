//! Look-ups as a service has them: many, and most of them for the same few.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nanotier_counting::count_allocations;

use crate::facts::examine;
use crate::screen::{say, title};
use crate::storage::Storage;
use crate::tally::{Origin, Tally};
use crate::tree::SourceFile;
use crate::words::{count, duration, plural};
use crate::zipf::Zipf;

/// What the look-ups showed.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The number of the file that was asked for most.
    pub(crate) favourite: usize,
    /// What one hit in memory takes, by `get`. Zero if none could be measured.
    pub(crate) hit: Duration,
}

/// Makes `lookups` of them.
pub(crate) fn run(storage: &Storage, files: &[SourceFile], lookups: usize) -> Looked {
    title(2, &format!("{} from {THREADS} threads, Zipf-distributed", plural(lookups, "look-up")));
    // Drawn before the clock starts: how long that takes is not the cache's doing.
    let draws = |thread: usize| {
        let mut zipf = Zipf::new(files.len(), 1 + thread as u64);
        let share = lookups / THREADS + usize::from(thread < lookups % THREADS);
        (0..share).map(|_| zipf.draw()).collect::<Vec<_>>()
    };
    let draws: Vec<Vec<usize>> = (0..THREADS).map(draws).collect();
    let begun = Instant::now();
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            draws.iter().map(|draws| scope.spawn(|| look_up_all(storage, files, draws))).collect();
        // Whoever panicked has said why; what the other found is good.
        threads.into_iter().filter_map(|thread| thread.join().ok()).for_each(|part| tally.merge(part));
    });
    let took = begun.elapsed();
    tally.say();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown in round numbers"
    )]
    let per_second = (tally.len() as f64 / took.as_secs_f64()) as usize;
    say(&format!(
        "   in all {}, {} a second; examining the file each time would have taken {}",
        duration(took),
        count(per_second),
        duration(tally.worth())
    ));
    say(&format!("   each time includes some {} of taking it", duration(stopwatch())));
    let hit = measure_hit(storage, files, lookups);
    Looked { favourite: Zipf::new(files.len(), 0).favourite(), hit }
}

fn look_up_all(storage: &Storage, files: &[SourceFile], draws: &[usize]) -> Tally {
    let mut tally = Tally::with_room(draws.len());
    for index in draws {
        look_up(storage, &files[*index], &mut tally);
    }
    tally
}

#[inline]
fn look_up(storage: &Storage, file: &SourceFile, tally: &mut Tally) {
    let begun = Instant::now();
    // What memory holds is here at once; no future is polled and nothing is allocated.
    let answer = match storage.cache.get(&file.key).try_now() {
        Ok(Some(facts)) => return tally.count(Origin::Memory, begun.elapsed(), facts.took),
        Ok(None) => None,
        // What it does not hold lies on disk: wait for it, on this very thread.
        Err(lookup) => lookup.wait().unwrap_or_default(),
    };
    match answer {
        Some(facts) => tally.count(Origin::Redb, begun.elapsed(), facts.took),
        None => compute(storage, file, tally, begun),
    }
}

/// Nobody has it: evicted where there is no disk, or unreadable there.
#[cold]
fn compute(storage: &Storage, file: &SourceFile, tally: &mut Tally, begun: Instant) {
    let (path, key) = (file.path.clone(), file.key.clone());
    let lookup = storage.cache.try_get_with_blocking(&file.key, move || examine(&path, &key).map(Arc::new));
    // A file that cannot be read any more was removed meanwhile: there is nothing to count.
    if let Ok(answer) = lookup.detailed().wait() {
        tally.count(answer.source.into(), begun.elapsed(), answer.value.took);
    }
}

/// What one hit costs, measured in bulk: a stopwatch for each would cost more than the hit.
fn measure_hit(storage: &Storage, files: &[SourceFile], hits: usize) -> Duration {
    let cache = &storage.cache;
    let hot: Vec<&SourceFile> =
        files.iter().filter(|file| cache.resident(&file.key).is_some()).take(HOT_MAX).collect();
    if hot.is_empty() {
        return Duration::ZERO;
    }
    let rounds = hits.div_ceil(hot.len()).max(1);
    let hits = rounds * hot.len();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let measured = |look: &dyn Fn(&SourceFile)| {
        let begun = Instant::now();
        let ((), allocations) =
            count_allocations(|| (0..rounds).for_each(|_| hot.iter().for_each(|file| look(file))));
        (begun.elapsed().div_f64(hits as f64), allocations)
    };
    let (get, get_allocations) = measured(&|file| {
        let _ = black_box(cache.get(&file.key).try_now().ok());
    });
    let (read, read_allocations) = measured(&|file| {
        black_box(cache.read(&file.key, |facts| facts.lines));
    });
    say(&format!(
        "   one hit in memory: get {}, read (which clones nothing) {}; {} in {} hits",
        duration(get),
        duration(read),
        plural(usize::try_from(get_allocations + read_allocations).unwrap_or(usize::MAX), "allocation"),
        count(2 * hits)
    ));
    get
}

/// What it takes to take a time.
fn stopwatch() -> Duration {
    let begun = Instant::now();
    for _ in 0..STOPWATCH_ROUNDS {
        black_box(black_box(Instant::now()).elapsed());
    }
    // As with `count`: the time is taken twice, and about once within what it shows.
    begun.elapsed() / (2 * STOPWATCH_ROUNDS)
}

const THREADS: usize = 2;
/// How many keys the hits are spread over: they fit the processor's cache, as the hot ones of a service do.
const HOT_MAX: usize = 256;
const STOPWATCH_ROUNDS: u32 = 10_000;
