//! A delete, followed through every place where the value was.

use std::sync::Arc;
use std::time::Instant;

use crate::facts::examine;
use crate::screen::{note, say, title};
use crate::storage::{HAS_IT, NOTHING, Storage};
use crate::table::Table;
use crate::tally::Origin;
use crate::tree::SourceFile;
use crate::words::{duration, shown};

/// Deletes what is known of `file`, looks for it everywhere, and asks for it again. False if it was not gone.
pub(crate) fn run(mut storage: Storage, file: &SourceFile) -> nanotier::Result<(Storage, bool)> {
    title(4, "One key deleted: is it gone everywhere?");
    say(&format!("   the file that was asked for most: {}", shown(&file.name)));
    let mut table = Table::new(["", "memory", "redb", "get"], &[0, 1, 2, 3]);
    // From disk into memory, if it is not there yet.
    let _ = storage.cache.get(&file.key).wait();
    look(&storage, file, "before", &mut table);

    if let Err(error) = storage.cache.remove(&file.key).wait() {
        note(&format!("the delete was not acknowledged: {error}"));
        return Ok((storage, true));
    }
    let mut gone = !look(&storage, file, "deleted", &mut table);
    if storage.is_durable() {
        storage = storage.reopen()?;
        gone &= !look(&storage, file, "closed and reopened", &mut table);
    }

    let (path, key, begun) = (file.path.clone(), file.key.clone(), Instant::now());
    let lookup = storage.cache.try_get_with_blocking(&file.key, move || examine(&path, &key).map(Arc::new));
    let loaded = match lookup.detailed().wait() {
        Ok(answer) if Origin::from(answer.source) == Origin::Computed => {
            Ok(format!("asked for again, it was computed anew in {}", duration(begun.elapsed())))
        }
        Ok(_) => {
            gone = false;
            Ok("asked for again, somebody still had it".to_string())
        }
        Err(error) => Err(error),
    };
    look(&storage, file, "asked for again", &mut table);
    table.say();
    match loaded {
        Ok(loaded) => say(&format!(
            "   {}; {loaded}",
            if gone { "it was gone" } else { "it was NOT gone: a bug, please report it" }
        )),
        Err(error) => note(&format!("the file cannot be examined any more: {error}")),
    }
    Ok((storage, gone))
}

/// Adds a line to the table, and says whether the value was anywhere.
fn look(storage: &Storage, file: &SourceFile, when: &str, table: &mut Table) -> bool {
    let in_memory = storage.in_memory(&file.key);
    let in_redb = storage.in_redb(&file.key);
    let got = match storage.cache.get(&file.key).wait() {
        Ok(Some(facts)) => format!("{:.12}...", facts.digest),
        Ok(None) => NOTHING.to_string(),
        Err(error) => error.to_string(),
    };
    let anywhere = in_memory == HAS_IT || in_redb == Some(HAS_IT) || got != NOTHING;
    table.row([when.to_string(), in_memory.to_string(), in_redb.unwrap_or("not in use").to_string(), got]);
    anywhere
}
