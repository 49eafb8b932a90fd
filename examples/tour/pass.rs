//! A pass over all files: what is known of each, from wherever it can be had.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nanotier::LoadError;

use crate::facts::examine;
use crate::progress::Progress;
use crate::storage::Storage;
use crate::table::Table;
use crate::tally::Tally;
use crate::tree::{SourceFile, say_unreadable};
use crate::words::{bar, count};

/// What a pass came to.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    pub(crate) threads: usize,
    /// The files that could not be read, by their numbers, and why.
    pub(crate) failed: Vec<(usize, (Arc<Path>, String))>,
    /// Files, lines and longest line of each language.
    languages: BTreeMap<String, Language>,
}

#[derive(Clone, Debug, Default)]
struct Language {
    files: usize,
    lines: u64,
    words: u64,
    longest_line: u64,
}

impl Pass {
    pub(crate) fn run(storage: &Storage, files: &[SourceFile]) -> Self {
        let threads = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .clamp(1, THREADS_MAX)
            .min(files.len());
        let (begun, progress, next) = (Instant::now(), Progress::new(files.len()), AtomicUsize::new(0));
        let work = || {
            let mut part = Self::default();
            loop {
                let index = next.fetch_add(1, Relaxed);
                let Some(file) = files.get(index) else { return part };
                part.ask(storage, index, file);
                progress.step();
            }
        };
        let mut pass = Self { threads, ..Self::default() };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // Whoever panicked has said why; what the others found is good.
            workers.into_iter().filter_map(|worker| worker.join().ok()).for_each(|part| pass.merge(part));
        });
        progress.finish();
        pass.took = begun.elapsed();
        pass.failed.sort_by_key(|(index, _)| *index);
        pass
    }

    /// Get or compute: the one call that a cache is for.
    fn ask(&mut self, storage: &Storage, index: usize, file: &SourceFile) {
        let begun = Instant::now();
        // The loader may outlive its caller, so it owns what it uses.
        let (path, key) = (file.path.clone(), file.key.clone());
        let lookup =
            storage.cache.try_get_with_blocking(&file.key, move || examine(&path, &key).map(Arc::new));
        match lookup.detailed().wait() {
            Ok(answer) => {
                self.tally.count(answer.source.into(), begun.elapsed(), answer.value.took);
                let language = self.languages.entry(answer.value.language.clone()).or_default();
                language.files += 1;
                language.lines += answer.value.lines;
                language.words += answer.value.words;
                language.longest_line = language.longest_line.max(answer.value.longest_line);
            }
            // The loader's own error, of its own type.
            Err(LoadError::Loader(error)) => {
                self.failed.push((index, (file.path.clone(), error.to_string())));
            }
            Err(LoadError::Cache(error)) => self.failed.push((index, (file.path.clone(), error.to_string()))),
        }
    }

    fn merge(&mut self, part: Self) {
        self.tally.merge(part.tally);
        self.failed.extend(part.failed);
        for (name, language) in part.languages {
            let ours = self.languages.entry(name).or_default();
            ours.files += language.files;
            ours.lines += language.lines;
            ours.words += language.words;
            ours.longest_line = ours.longest_line.max(language.longest_line);
        }
    }

    pub(crate) fn say_failed(&self) {
        let named: Vec<_> = self.failed.iter().map(|(_, (path, why))| (&**path, why.clone())).collect();
        say_unreadable("could not be read", &named);
    }

    /// What was found, the largest first.
    pub(crate) fn say_languages(&self) {
        let mut languages: Vec<_> = self.languages.iter().collect();
        languages.sort_by_key(|(_, language)| std::cmp::Reverse(language.lines));
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let lines_in_all = number(self.languages.values().map(|language| language.lines).sum());
        let mut table =
            Table::new(["what was found", "files", "lines", "", "words", "longest line"], &[0, 3]);
        for (name, language) in languages.iter().take(LANGUAGES_MAX) {
            let lines = number(language.lines);
            table.row([
                (*name).clone(),
                count(language.files),
                count(lines),
                bar(lines, lines_in_all),
                count(number(language.words)),
                count(number(language.longest_line)),
            ]);
        }
        crate::screen::say("");
        table.say();
    }
}

const THREADS_MAX: usize = 8;
const LANGUAGES_MAX: usize = 6;
