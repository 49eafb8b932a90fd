//! What the commands do.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use nanotier_tier::{
    Clock, Context, Entry, Error, Freshness, HybridClock, Intent, Namespace, PageRequest, Path, Record,
    Store, Write, Wrote,
};
use serde_json::{Value, json};

use crate::args::{Command, Job};
use crate::kinds::{Kind, Looked, recognise};
use crate::text::{escape, moment, size, table};

/// How much of a value is shown unless all of it is asked for, in bytes.
const SHOWN_MAX: usize = 1024;
/// How often a removal goes above what it meets. Nobody else has the store: once is enough.
const TRIES: usize = 3;

/// Does the job and says what to print.
pub(crate) fn run(job: &Job) -> Result<String, String> {
    let at = At { job, kind: recognise(&job.path)?, secret: secret()?, clock: Clock::ticking() };
    let now = at.clock.wall().as_millis();
    match &job.command {
        Command::List { namespace, prefix, contains, limit } => {
            let looked = at.look()?;
            let spaces = match namespace {
                Some(name) => vec![named(name)?],
                None => namespaces(&*looked.store)?,
            };
            let most = if job.all { usize::MAX } else { *limit };
            let wanted =
                PageRequest { prefix: prefix.clone(), contains: contains.clone(), ..PageRequest::default() };
            list(&*looked.store, &spaces, &wanted, most, job.json, now)
        }
        Command::Show { namespace, key } => {
            let space = named(namespace)?;
            let record = usable(&*at.look()?.store, &space, key, &at.clock)?;
            let shown = if job.all { usize::MAX } else { SHOWN_MAX };
            Ok(show(&space, key, &record, shown, job.json, now))
        }
        Command::Delete { namespace, key } => at.delete(&named(namespace)?, key),
        Command::Namespaces => count(&*at.look()?.store, job.json, false, at.kind.name),
        Command::Stats => count(&*at.look()?.store, job.json, true, at.kind.name),
    }
}

/// A job and the store that it is about.
struct At<'a> {
    job: &'a Job,
    kind: &'static Kind,
    secret: Option<[u8; 16]>,
    clock: Clock,
}

impl At<'_> {
    fn context(&self) -> Context {
        Context::new(self.clock.clone(), 0)
    }

    fn look(&self) -> Result<Looked, String> {
        let looked = self.kind.look(&self.job.path, self.secret)?;
        looked.store.attach(&self.context());
        Ok(looked)
    }

    /// Deletes what is there, once somebody has said yes.
    fn delete(&self, space: &Namespace, key: &[u8]) -> Result<String, String> {
        // What it is about to remove is looked at first, and that changes nothing.
        let held = usable(&*self.look()?.store, space, key, &self.clock)?;
        let described = format!("{} in {space}, {}", escape(key), size(held.value.bytes.len() as u64));
        if !self.job.yes && !confirmed(&described)? {
            return Ok("Nothing was deleted.\n".to_owned());
        }
        let store = self.kind.open(&self.job.path, self.secret)?;
        store.attach(&self.context());
        let deleted = delete(&*store, space, key, &self.clock, &held);
        deleted.and_then(|()| store.close()).map_err(told)?;
        Ok(match self.job.json {
            true => pretty(&json!({ "deleted": { "namespace": space.as_str(), "key": escape(key) } })),
            false => format!("Deleted {described}.\n"),
        })
    }
}

fn secret() -> Result<Option<[u8; 16]>, String> {
    let Ok(digits) = std::env::var("NANOTIER_SECRET") else { return Ok(None) };
    let number = Some(&digits)
        .filter(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u128::from_str_radix(digits, 16).ok());
    number
        .map(|number| Some(number.to_be_bytes()))
        .ok_or("NANOTIER_SECRET takes 32 hexadecimal digits".to_owned())
}

/// A namespace as it is listed: also one that a cache keeps beside its entries.
fn named(name: &str) -> Result<Namespace, String> {
    let mut path = vec![u8::try_from(name.len()).unwrap_or(0)];
    path.extend_from_slice(name.as_bytes());
    let beside =
        name.split_once('#').and_then(|_| Path::from_bytes(&path)).map(|path| path.namespace().clone());
    beside.map_or_else(|| Namespace::new(name).map_err(told), Ok)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn told(error: Error) -> String {
    error.to_string()
}

fn namespaces(store: &dyn Store) -> Result<Vec<Namespace>, String> {
    let mut all: Vec<Namespace> = Vec::new();
    loop {
        let some = store.namespaces(all.last()).map_err(told)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

fn usable(store: &dyn Store, space: &Namespace, key: &[u8], clock: &Clock) -> Result<Record, String> {
    let path = Path::new(space, key);
    let mut found = store.read(&[path], Intent::Look).map_err(told)?;
    let entry = found.pop().transpose().map_err(told)?.map_or(Entry::Absent, |found| found.entry);
    match entry {
        Entry::Present(record) if record.freshness(clock.wall()) != Freshness::Expired => Ok(record),
        Entry::Present(_) => Err(format!("{} in {space} has expired", escape(key))),
        Entry::Removed(_) => Err(format!("{} in {space} was removed", escape(key))),
        Entry::Absent => Err(format!("there is no {} in {space}, or none that can be read", escape(key))),
    }
}

fn confirmed(what: &str) -> Result<bool, String> {
    if !std::io::stdin().is_terminal() {
        return Err("nobody is there to be asked: delete takes --yes".to_owned());
    }
    eprint!("Delete {what}? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|why| format!("no answer: {why}"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Removes as a service does: a tombstone whose version is above what is held.
fn delete(
    store: &dyn Store,
    space: &Namespace,
    key: &[u8],
    clock: &Clock,
    held: &Record,
) -> Result<(), Error> {
    let writer = u64::from(std::process::id());
    let versions = HybridClock::new(clock.clone(), writer);
    versions.saw(held.version);
    for _ in 0..TRIES {
        let removal = Write::remove(Path::new(space, key), versions.draw(), clock.wall());
        match store.write(&[removal])?.pop() {
            Some(Ok(Wrote::Older(newer))) => versions.saw(newer),
            Some(Err(error)) => return Err(error),
            Some(Ok(Wrote::Done)) => return Ok(()),
            Some(Ok(Wrote::Changed | Wrote::TooLate)) | None => break,
        }
    }
    Err(Error::new(nanotier_tier::ErrorKind::Contended, store.name(), "delete"))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn until(ms: u64) -> Value {
    if ms == u64::MAX { Value::Null } else { json!(ms) }
}

fn list(
    store: &dyn Store,
    spaces: &[Namespace],
    wanted: &PageRequest,
    most: usize,
    as_json: bool,
    now: u64,
) -> Result<String, String> {
    let (mut rows, mut values, mut more) = (Vec::new(), Vec::new(), false);
    'all: for space in spaces {
        let mut after = None;
        loop {
            let request = PageRequest { after, limit: PageRequest::LIMIT_MAX, ..wanted.clone() };
            let page = store.list(space, &request).map_err(told)?;
            for listed in page.entries {
                if rows.len() + values.len() == most {
                    more = true;
                    break 'all;
                }
                let (key, ends) = (escape(&listed.key), listed.usable_until.as_millis());
                if as_json {
                    values.push(json!({
                        "namespace": space.as_str(), "key": key, "bytes": listed.value_len, "expires": until(ends),
                    }));
                } else {
                    let size = size(listed.value_len as u64);
                    rows.push(vec![space.to_string(), key, size, moment(ends, now)]);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    if as_json {
        return Ok(pretty(&json!({ "entries": values, "more": more })));
    }
    let mut text = match rows.is_empty() {
        true => "No entries.\n".to_owned(),
        false => table(&["NAMESPACE", "KEY", ">SIZE", "EXPIRES"], &rows),
    };
    if more {
        text.push_str(
            "There are more: --all shows them, --limit, --namespace, --prefix and --contains choose.\n",
        );
    }
    Ok(text)
}

fn show(space: &Namespace, key: &[u8], record: &Record, shown: usize, as_json: bool, now: u64) -> String {
    let bytes = &record.value.bytes;
    let head = bytes.get(..shown).unwrap_or(bytes);
    let (hlc, writer) = record.version.parts();
    let tags: Vec<&str> = record.tags.iter().collect();
    let deadlines = record.deadlines;
    if as_json {
        return pretty(&json!({
            "namespace": space.as_str(),
            "key": escape(key),
            "bytes": bytes.len(),
            "value": escape(head),
            "value_is_whole": head.len() == bytes.len(),
            "compressed": record.value.shape.compressed,
            "encrypted": record.value.shape.encrypted,
            "fingerprint": format!("{:016x}", record.value.fingerprint.0),
            "written": record.written_at.as_millis(),
            "confirmed": record.confirmed_at.as_millis(),
            "fresh_until": until(deadlines.fresh_until.as_millis()),
            "expires": until(deadlines.usable_until.as_millis()),
            "version": { "hlc": hlc, "writer": writer },
            "load_micros": u64::try_from(record.load_cost.as_micros()).unwrap_or(u64::MAX),
            "tags": tags,
        }));
    }
    let at = |ms: nanotier_tier::Timestamp| moment(ms.as_millis(), now);
    let load = match record.load_cost.is_zero() {
        true => "it was given".to_owned(),
        false => format!("{:?}", record.load_cost),
    };
    let rows = [
        ("namespace", space.to_string()),
        ("key", escape(key)),
        ("size", size(bytes.len() as u64)),
        ("written", at(record.written_at)),
        ("confirmed", at(record.confirmed_at)),
        ("fresh until", at(deadlines.fresh_until)),
        ("expires", at(deadlines.usable_until)),
        ("version", format!("{hlc:016x} by {writer:016x}")),
        ("load", load),
        ("fingerprint", format!("{:016x}", record.value.fingerprint.0)),
        ("tags", if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }),
        ("shape", shape_of(record).to_owned()),
        ("value", escape(head)),
    ];
    let mut text: String = rows.into_iter().map(|(name, value)| format!("{name:<13}{value}\n")).collect();
    if head.len() < bytes.len() {
        text.push_str("These are its first bytes: --all shows the whole value.\n");
    }
    text
}

/// What was done to a value since the codec wrote it. It is shown as it is stored: the keys are with the service.
fn shape_of(record: &Record) -> &'static str {
    match (record.value.shape.compressed, record.value.shape.encrypted) {
        (false, false) => "as the codec wrote it",
        (true, false) => "compressed",
        (false, true) => "encrypted",
        (true, true) => "compressed, then encrypted",
    }
}

fn count(store: &dyn Store, as_json: bool, sum_only: bool, kind: &str) -> Result<String, String> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    let mut sum = [0_u64; 4];
    let cells = |name: &str, [entries, bytes, marks, unreadable]: [u64; 4]| {
        vec![name.to_owned(), entries.to_string(), size(bytes), marks.to_string(), unreadable.to_string()]
    };
    let value = |name: &str, [entries, bytes, marks, unreadable]: [u64; 4]| json!({ "name": name, "entries": entries, "value_bytes": bytes, "marks": marks, "unreadable": unreadable });
    for space in namespaces(store)? {
        let count = store.count(&space).map_err(told)?;
        let counted = [count.entries, count.value_bytes, count.marks, count.unreadable];
        sum.iter_mut().zip(counted).for_each(|(sum, one)| *sum += one);
        if !sum_only {
            rows.push(cells(space.as_str(), counted));
            values.push(value(space.as_str(), counted));
        }
    }
    if as_json {
        return Ok(pretty(&match sum_only {
            true => json!({ "kind": kind, "total": value("all", sum) }),
            false => json!({ "namespaces": values }),
        }));
    }
    if sum_only {
        rows.push(cells("all", sum));
        return Ok(format!(
            "A {kind} store.\n{}",
            table(&["", ">ENTRIES", ">VALUES", ">MARKS", ">UNREADABLE"], &rows)
        ));
    }
    Ok(table(&["NAMESPACE", ">ENTRIES", ">VALUES", ">MARKS", ">UNREADABLE"], &rows))
}
