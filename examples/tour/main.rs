//! A tour of nanotier on real work: what is known of every file of a folder, kept in memory over redb.
//!
//! ```text
//! cargo run --release --example tour             # this folder
//! cargo run --release --example tour -- ~/src    # another one
//! ```
//!
//! Run it twice: the second run starts warm. The parts to read, in this order:
//!
//! | file | what it shows |
//! |---|---|
//! | `facts.rs` | a key of one's own (`#[derive(Key)]`), and an expensive pure function to be cached under it |
//! | `storage.rs` | building a cache over redb, and going on without redb where that cannot be |
//! | `pass.rs` | get or compute: `try_get_with_blocking`, and where the value came from |
//! | `lookups.rs` | look-ups that are answered at once (`try_now`) or from disk (`wait`), from two threads |
//! | `deletion.rs` | a delete, and proof that it is one |
#![forbid(unsafe_code)]

mod args;
mod deletion;
mod facts;
mod lookups;
mod pass;
mod progress;
mod screen;
mod storage;
mod table;
mod tally;
mod tree;
mod words;
mod zipf;

use std::process::ExitCode;
use std::time::Duration;

use nanotier_counting::CountingAllocator;

use crate::args::{Args, Asked};
use crate::pass::Pass;
use crate::screen::{note, say, title};
use crate::storage::Storage;
use crate::tally::Origin;
use crate::tree::Tree;
use crate::words::{bytes, count, duration, plural, shown};

/// Counts allocations, so that "a hit allocates nothing" can be shown and not only said.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Tour(args)) => args,
        Ok(Asked::Help) => {
            say(args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => return refuse(&format!("{why}\nTry --help.")),
    };
    let mut tree = match Tree::walk(&args.folder, &args.cache_folder) {
        Ok(tree) => tree,
        Err(why) => return refuse(&why),
    };
    match tour(&args, &mut tree) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("tour: {why}");
    ExitCode::from(2)
}

/// The tour. False if a promise was seen broken.
fn tour(args: &Args, tree: &mut Tree) -> nanotier::Result<bool> {
    say("A tour of nanotier: facts about files, in memory over redb");
    say(&format!("   folder   {}", shown(&tree.root)));
    say(&format!(
        "   files    {}, {}{}",
        plural(tree.files.len(), "file"),
        bytes(tree.len()),
        tree.left_out()
    ));
    tree.say_unreadable();
    if tree.files.is_empty() {
        say("   There is no file to examine, so there is nothing to show. Name a folder that has some.");
        return Ok(true);
    }

    let storage = Storage::open(&args.cache_folder, tree.files.len())?;
    say(&format!("   cache    {}", storage.described()));
    if args.fresh {
        storage.forget();
    }

    let first = first_pass(&storage, tree);
    if tree.files.is_empty() {
        say("   No file could be read, so there is nothing more to show.");
        return Ok(true);
    }
    let looked = lookups::run(&storage, &tree.files, args.lookups);
    let (storage, from_disk) = second_pass(storage, &first, tree)?;
    let (storage, kept) = deletion::run(storage, &tree.files[looked.favourite])?;
    finish(storage, &first, looked.hit, from_disk);
    Ok(kept)
}

fn first_pass(storage: &Storage, tree: &mut Tree) -> Pass {
    title(1, "Every file once: from the cache if it is known there, else examined");
    let pass = Pass::run(storage, &tree.files);
    // What cannot be read now is not asked for again.
    tree.keep_only(|index| pass.failed.binary_search_by_key(&index, |(failed, _)| *failed).is_err());
    let (from_redb, computed) =
        (pass.tally.times(Origin::Redb).len(), pass.tally.times(Origin::Computed).len());
    let answered = pass.tally.len();
    if answered > 0 && from_redb * 10 >= answered * 9 {
        say(&format!(
            "   warm start: {} of {} came from disk, known from an earlier run",
            count(from_redb),
            plural(answered, "file")
        ));
    } else if from_redb > 0 {
        say(&format!(
            "   neither cold nor warm: {} of {} came from disk, the others are new or changed",
            count(from_redb),
            plural(answered, "file")
        ));
    } else {
        say(&format!("   cold start: {} examined, none was known", plural(computed, "file")));
    }
    pass.tally.say();
    say(&format!("   in all {} on {}", duration(pass.took), plural(pass.threads, "thread")));
    pass.say_failed();
    storage.say_trouble();
    pass.say_languages();
    pass
}

/// With what one answer from disk took, if there is a disk.
fn second_pass(storage: Storage, first: &Pass, tree: &Tree) -> nanotier::Result<(Storage, Option<Duration>)> {
    if !storage.is_durable() {
        title(3, "The same files again, from memory (there is no disk to close and reopen)");
        Pass::run(&storage, &tree.files).tally.say();
        return Ok((storage, None));
    }
    title(3, "Closed, reopened, and every file once more: memory is empty, the disk is not");
    let storage = storage.reopen()?;
    let again = Pass::run(&storage, &tree.files);
    again.tally.say();
    say(&format!(
        "   in all {}; examining these files took {}",
        duration(again.took),
        duration(first.tally.worth())
    ));
    storage.say_trouble();
    let from_disk = again.tally.median(Origin::Redb);
    Ok((storage, from_disk))
}

/// The last thing that a reader sees: what to take home, and where the data lies.
fn finish(storage: Storage, first: &Pass, hit: Duration, from_disk: Option<Duration>) {
    say("");
    say("In short");
    let len = u32::try_from(first.tally.len()).unwrap_or(u32::MAX);
    let from_disk =
        from_disk.map_or_else(String::new, |from_disk| format!("{} from redb, ", duration(from_disk)));
    let examined = duration(first.tally.worth() / len.max(1));
    say(&format!("   one file     {examined} to examine, {from_disk}{} from memory", duration(hit)));
    let saved = first.tally.saved();
    if !storage.is_durable() {
        say(&format!("   work done    {} of examining", duration(first.tally.worth())));
    } else if saved.is_zero() {
        say(&format!(
            "   work done    {} of examining; the next run is spared it",
            duration(first.tally.worth())
        ));
    } else {
        say(&format!("   time saved   {} of examining that this run did not have to do", duration(saved)));
    }
    let was_durable = storage.is_durable();
    let (file, closed) = storage.close();
    if let Err(error) = closed {
        note(&format!("the cache could not be closed properly: {error}"));
    }
    if !was_durable {
        say("   on disk      nothing: this run had memory alone, so the next one starts cold");
        return;
    }
    let len = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    say(&format!(
        "   on disk      {}, {} for facts about {}",
        shown(&file),
        bytes(len),
        plural(first.tally.len(), "file")
    ));
    say(
        "   next time    the same command starts warm; --fresh forgets; to be rid of it all, delete that file",
    );
}
