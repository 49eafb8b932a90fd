//! Bytes per resident entry of a full cache.
//!
//! Each is weighed in a process of its own: caches put off what they free, and what one frees late would be counted for
//! the next.

use std::process::{Command, ExitCode};

use nanotier_counting::{bytes_in_use, switch_off, switch_on};

use crate::bench::Bench;
use crate::contender::{
    Cached, Evicts, Facade, Fibre, Foyer, MiniMoka, Moka, MutexLru, Nanotier, QuickCache, Reads,
    SccHashCache, TinyUfoCache,
};
use crate::judge::Figure;
use crate::workload::key;

/// The word by which the program is told to weigh the one named after it, and to print what came of it.
pub(crate) const COMMAND: &str = "weigh";

/// Bytes in use, and how many it holds, if it tells.
type Weighed = (u64, Option<usize>);

/// Filled twice over, so that it is full whatever its policy thinks of newcomers.
fn weigh<C: Evicts<u64, u64>>() -> Weighed {
    switch_on();
    let before = bytes_in_use();
    let cache = C::empty(CAPACITY);
    for number in 0..2 * CAPACITY as u64 {
        cache.insert(key(number), number);
    }
    let residents = cache.residents();
    let bytes = bytes_in_use() - before;
    drop(cache);
    switch_off();
    (u64::try_from(bytes).unwrap_or_default(), residents)
}

/// In the process that is told to.
pub(crate) fn answer(name: &str) -> Result<ExitCode, String> {
    let weighed = ENTRANTS.iter().find(|entrant| entrant.name == name).map(|entrant| (entrant.weigh)());
    let (bytes, residents) = weighed.ok_or_else(|| format!("nobody is called `{name}`"))?;
    println!("{bytes} {}", residents.map_or_else(|| "?".to_owned(), |count| count.to_string()));
    Ok(ExitCode::SUCCESS)
}

/// By a process of its own.
fn weighed_apart(name: &str) -> Result<Weighed, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).args([COMMAND, name]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (bytes, residents) = text.trim().split_once(' ').ok_or_else(|| format!("no answer: {text:?}"))?;
    let bytes = bytes.parse().map_err(|_| format!("no number of bytes: {text:?}"))?;
    Ok((bytes, residents.parse().ok()))
}

struct Entrant {
    name: &'static str,
    weigh: fn() -> Weighed,
    figure: fn(Weighed) -> Figure,
}

const fn entrant<C: Evicts<u64, u64>>() -> Entrant {
    Entrant { name: C::NAME, weigh: weigh::<C>, figure: figure::<C> }
}

fn figure<C: Reads<u64, u64>>((bytes, residents): Weighed) -> Figure {
    // Where it does not tell how many it holds, it is taken at its word.
    let value = bytes as f64 / residents.unwrap_or(CAPACITY) as f64;
    Figure { name: C::NAME, role: C::ROLE, value: Some(value), residents, note: C::NOTE }
}

const ENTRANTS: &[Entrant] = &[
    entrant::<Facade<u64, u64>>(),
    entrant::<Nanotier<u64, u64>>(),
    entrant::<QuickCache<u64, u64>>(),
    entrant::<SccHashCache<u64, u64>>(),
    entrant::<Moka<u64, u64>>(),
    entrant::<MiniMoka<u64, u64>>(),
    entrant::<Foyer<u64, u64>>(),
    entrant::<TinyUfoCache<u64, u64>>(),
    entrant::<Fibre<u64, u64>>(),
    entrant::<Cached<u64, u64>>(),
    entrant::<MutexLru<u64, u64>>(),
];

const CAPACITY: usize = 1 << 17;

fn row(bench: &mut Bench, id: &'static str, entrants: &[&Entrant]) {
    bench.progress.say(id, "", 1, 1);
    let weighed = entrants.iter().map(|entrant| match weighed_apart(entrant.name) {
        Ok(weighed) => (entrant.figure)(weighed),
        Err(error) => panic!("{} could not be weighed: {error}", entrant.name),
    });
    let figures: Vec<Figure> = weighed.collect();
    bench.figures(id, "bytes", &figures);
}

pub(super) fn bytes_per_entry(bench: &mut Bench) {
    let but_the_facade: Vec<&Entrant> = ENTRANTS.iter().skip(1).collect();
    row(bench, "bytes-per-entry", &but_the_facade);
}

pub(super) fn facade_bytes_per_entry(bench: &mut Bench) {
    let named: Vec<&Entrant> = ENTRANTS.iter().take(3).collect();
    row(bench, "facade-bytes-per-entry", &named);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_weighs_what_it_holds() {
        let (bytes, residents) = weigh::<MutexLru<u64, u64>>();
        assert_eq!(residents, Some(CAPACITY));
        assert!(bytes >= 16 * CAPACITY as u64, "{bytes}");
    }
}
