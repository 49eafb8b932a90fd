//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
A tour of nanotier: examines every file of a folder and caches what it finds, in memory over redb.

usage: cargo run --release --example tour -- [OPTIONS] [DIR]

  DIR            the folder to examine; the current one by default.
                 Folders named target and .git are left out, symbolic links are not followed.
  --cache DIR    the folder to keep the cache in. Else the environment variable
                 NANOTIER_TOUR_CACHE, else nanotier-tour in your folder for caches
  --fresh        forget what earlier runs found
  --lookups N    how many look-ups to make in the second part; a million by default
  --help         this text

It exits with 0 if all went well, with 1 if a promise was seen broken, with 2 if it was called wrongly.
Nothing but the cache is ever written.";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Tour(Args),
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) cache_folder: PathBuf,
    pub(crate) fresh: bool,
    pub(crate) lookups: usize,
}

impl Args {
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
        let mut words = words.into_iter();
        let (mut folder, mut cache_folder, mut fresh, mut lookups) = (None, None, false, LOOKUPS_DEFAULT);
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--help" | "-h") => return Ok(Asked::Help),
                Some("--fresh") => fresh = true,
                Some("--cache") => {
                    cache_folder = Some(PathBuf::from(words.next().ok_or("--cache needs a folder")?));
                }
                Some("--lookups") => {
                    let number =
                        words.next().and_then(|word| word.to_str().map(|word| word.replace('_', "")));
                    lookups =
                        number.and_then(|number| number.parse().ok()).ok_or("--lookups needs a number")?;
                    if lookups > LOOKUPS_MAX {
                        return Err(format!("--lookups takes at most {LOOKUPS_MAX}"));
                    }
                }
                Some(option) if option.starts_with('-') && option != "-" => {
                    return Err(format!("there is no option {option}"));
                }
                _ if folder.is_some() => return Err("one folder at a time".to_string()),
                _ => folder = Some(PathBuf::from(word)),
            }
        }
        Ok(Asked::Tour(Self {
            folder: folder.unwrap_or_else(|| PathBuf::from(".")),
            cache_folder: cache_folder.unwrap_or_else(default_cache_folder),
            fresh,
            lookups,
        }))
    }
}

/// What the environment says, else the user's folder for caches, else the one for temporary files.
fn default_cache_folder() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named("NANOTIER_TOUR_CACHE") {
        return folder;
    }
    let of_user = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        named("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))
    };
    of_user.unwrap_or_else(std::env::temp_dir).join("nanotier-tour")
}

const LOOKUPS_DEFAULT: usize = 1_000_000;
/// Each one is remembered with its time: this many take a gigabyte or so.
const LOOKUPS_MAX: usize = 50_000_000;
