//! The command line.

use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt as _};

use crate::text::unescape;

pub(crate) const HELP: &str = "\
Looks into a durable tier of nanotier while its service is down.

Usage: nanotier-inspect PATH [COMMAND] [OPTIONS]

Commands:
  list                    the entries of a namespace, or of all (the default)
  show NAMESPACE KEY      one entry, all of it
  delete NAMESPACE KEY    remove one entry, as a service would: by a tombstone with a fresh version
  namespaces              the namespaces and what they take
  stats                   what the whole store takes

Options:
  --namespace NAME   only this one
  --prefix BYTES     only keys that begin so
  --contains BYTES   only keys in which this occurs
  --limit N          at most so many entries (100)
  --all              all of them; with `show`, the whole value
  --json             for programs: one JSON value on the standard output, times in milliseconds since 1970
  --yes              delete without asking
  -h, --help         this

Keys and BYTES are text; bytes that are none are written \\xNN, and \\ is \\\\. Where records are keyed by a secret, NANOTIER_SECRET
has its 32 hexadecimal digits.
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Do(Job),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) command: Command,
    pub(crate) json: bool,
    pub(crate) yes: bool,
    pub(crate) all: bool,
}

#[derive(Debug)]
pub(crate) enum Command {
    List { namespace: Option<String>, prefix: Vec<u8>, contains: Vec<u8>, limit: usize },
    Show { namespace: String, key: Vec<u8> },
    Delete { namespace: String, key: Vec<u8> },
    Namespaces,
    Stats,
}

const LIMIT_DEFAULT: usize = 100;

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn said(error: lexopt::Error) -> String {
    format!("{error}; --help says how")
}

/// The value of an option.
fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(lexopt::ValueExt::string).map_err(said)
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Asked, String> {
    let (mut words, mut path) = (Vec::new(), None);
    let (mut namespace, mut prefix, mut contains, mut limit) = (None, Vec::new(), Vec::new(), LIMIT_DEFAULT);
    let (mut json, mut yes, mut all) = (false, false, false);
    while let Some(arg) = parser.next().map_err(said)? {
        match arg {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("json") => json = true,
            Long("yes") => yes = true,
            Long("all") => all = true,
            Long("namespace") => namespace = Some(text(&mut parser)?),
            Long("prefix") => prefix = unescape(&text(&mut parser)?)?,
            Long("contains") => contains = unescape(&text(&mut parser)?)?,
            Long("limit") => {
                limit = text(&mut parser)?.parse().map_err(|_| "--limit takes a number".to_owned())?;
            }
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            Value(value) => words.push(value.string().map_err(said)?),
            other => return Err(said(other.unexpected())),
        }
    }
    let path = path.ok_or("a path to a store is needed; --help says how")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words.as_slice() {
        [] | ["list"] => Command::List { namespace, prefix, contains, limit },
        ["show", namespace, key] => Command::Show { namespace: (*namespace).to_owned(), key: unescape(key)? },
        ["delete", namespace, key] => {
            Command::Delete { namespace: (*namespace).to_owned(), key: unescape(key)? }
        }
        ["namespaces"] => Command::Namespaces,
        ["stats"] => Command::Stats,
        ["show" | "delete", ..] => return Err("show and delete take a namespace and a key".to_owned()),
        [other, ..] => {
            return Err(format!("there is no command {other:?}, or it takes no more words; --help says how"));
        }
    };
    Ok(Asked::Do(Job { path, command, json, yes, all }))
}
