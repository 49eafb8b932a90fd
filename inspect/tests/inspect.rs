//! The program as somebody runs it: its output, and that to look changes nothing.

use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nanotier_redb::RedbStore;
use nanotier_tier::{
    Clock, Context, Deadlines, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Tags,
    Timestamp, Version, Write, Wrote,
};

struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::ticking() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("cache.redb")
    }

    fn open(&self) -> RedbStore {
        let store = RedbStore::open(self.file()).unwrap();
        store.attach(&Context::new(self.clock.clone(), 1));
        store
    }

    fn put(&self, store: &RedbStore, space: &str, key: &[u8], value: &[u8], ttl: Option<Duration>) {
        let now = self.clock.wall();
        let value = Encoded::new(value.to_vec(), Fingerprint(0xabcd));
        let deadlines = ttl.map_or(Deadlines::NEVER, |ttl| Deadlines::after(now, ttl, Duration::ZERO));
        // Ahead of the clock, as what another host wrote may be.
        let version = Version::from_parts((now.as_millis() + 60_000) << 16, 1);
        let tags = Tags::new(["red", "blue"]).unwrap();
        let record = Record { deadlines, version, tags, ..Record::new(value, now) };
        let space = Namespace::new(space).unwrap();
        let wrote = store.write(&[Write::put(Path::new(&space, key), &record)]).unwrap().remove(0);
        assert_eq!(wrote.unwrap(), Wrote::Done);
    }

    /// A closed store with some entries.
    fn filled() -> Self {
        let place = Self::new();
        let store = place.open();
        place.put(&store, "users", b"anna", &[b'v'; 1536], Some(Duration::from_secs(7_200)));
        place.put(&store, "users", b"bert", b"short", None);
        place.put(&store, "users", b"\0\xff\\ raw\n", b"\x01\x02", None);
        place.put(&store, "orders", b"1/anna", b"{}", None);
        store.close().unwrap();
        place
    }

    fn run(&self, words: &[&str]) -> Output {
        run(&self.file(), words)
    }

    fn says(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.says(words)).unwrap()
    }

    fn refuses(&self, words: &[&str]) -> String {
        refusal(&self.run(words))
    }
}

fn run(path: &FilePath, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nanotier-inspect"));
    command
        .arg(path)
        .args(words)
        .env_remove("NANOTIER_SECRET")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.trim_end().lines().count(), 1, "one sentence: {said}");
    said
}

#[test]
fn entries_are_listed_in_columns_with_sizes_and_times_that_people_read() {
    let place = Place::filled();
    let text = place.says(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("NAMESPACE  KEY") && lines[0].ends_with("EXPIRES"), "{text}");
    assert!(lines[1].starts_with("orders     1/anna "), "{text}");
    assert!(lines[2].contains("\\x00\\xff\\\\ raw\\x0a"), "{text}");
    assert!(lines[3].contains("1.5 KiB") && lines[3].contains("(in 1 h 59 m)"), "{text}");
    assert!(lines[4].ends_with("never"), "{text}");
    let column = lines[0].find("EXPIRES").unwrap();
    assert!(lines[4].find("never").unwrap() == column, "aligned: {text}");
}

#[test]
fn a_listing_can_be_narrowed_and_cut() {
    let place = Place::filled();
    let keys = |words: &[&str]| {
        let listed = place.json(&[words, &["--json"]].concat());
        let keys = listed["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["key"].as_str().unwrap().to_owned());
        (keys.collect::<Vec<_>>(), listed["more"].as_bool().unwrap())
    };
    let cut = |words: &[&str]| keys(words).0;
    assert_eq!(cut(&["--contains", "anna"]), ["1/anna", "anna"]);
    assert_eq!(cut(&["--namespace", "users", "--contains", "anna"]), ["anna"]);
    assert_eq!(cut(&["--prefix", "b"]), ["bert"]);
    assert_eq!(cut(&["--prefix", "\\x00\\xff"]), ["\\x00\\xff\\\\ raw\\x0a"]);
    assert_eq!(cut(&["--namespace", "nobody"]), [] as [&str; 0]);
    assert_eq!(
        keys(&["--limit", "2"]),
        (vec!["1/anna".to_owned(), "\\x00\\xff\\\\ raw\\x0a".to_owned()], true)
    );
    assert!(!keys(&["--limit", "4"]).1);
    assert_eq!(keys(&["--limit", "1", "--all"]).0.len(), 4);
    assert!(place.says(&["--limit", "1"]).contains("There are more"));
}

#[test]
fn more_than_a_page_is_listed_whole() {
    let place = Place::new();
    let store = place.open();
    let space = Namespace::new("many").unwrap();
    let keys: Vec<String> = (0..1_203).map(|n| format!("{n:05}")).collect();
    let value = Encoded::new(vec![1], Fingerprint(0));
    let record = Record { version: Version::from_parts(1, 1), ..Record::new(value, place.clock.wall()) };
    let writes: Vec<Write<'_>> =
        keys.iter().map(|key| Write::put(Path::new(&space, key.as_bytes()), &record)).collect();
    assert!(store.write(&writes).unwrap().into_iter().all(|wrote| wrote.unwrap() == Wrote::Done));
    drop(store);
    assert_eq!(place.says(&["--all"]).lines().count(), 1 + keys.len());
    assert_eq!(place.says(&[]).lines().count(), 1 + 100 + 1);
}

#[test]
fn an_entry_is_shown_whole_when_asked_for_by_the_key_as_it_is_listed() {
    let place = Place::filled();
    let text = place.says(&["show", "users", "anna"]);
    for part in ["1.5 KiB", "blue, red", "000000000000abcd", "--all shows the whole value"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!place.says(&["show", "users", "anna", "--all"]).contains("--all"));
    let raw = place.json(&["show", "users", "\\x00\\xff\\\\ raw\\x0a", "--json"]);
    assert_eq!(raw["value"], "\\x01\\x02");
    assert_eq!(raw["expires"], serde_json::Value::Null);
    assert!(place.refuses(&["show", "users", "nobody"]).contains("there is no nobody"));
}

#[test]
fn namespaces_and_sums_are_told() {
    let place = Place::filled();
    let told = place.json(&["namespaces", "--json"]);
    assert_eq!(told["namespaces"][1]["name"], "users");
    assert_eq!(told["namespaces"][1]["entries"], 3);
    assert_eq!(told["namespaces"][1]["value_bytes"], 1536 + 5 + 2);
    let stats = place.json(&["stats", "--json"]);
    assert_eq!((&stats["kind"], &stats["total"]["entries"]), (&"redb".into(), &4.into()));
    assert!(place.says(&["stats"]).starts_with("A redb store."));
    assert!(place.says(&["namespaces"]).contains("orders"));
}

#[test]
fn to_look_changes_no_byte_and_no_belief() {
    let place = Place::filled();
    let before = std::fs::read(place.file()).unwrap();
    for words in [&[][..], &["show", "users", "anna"], &["namespaces"], &["stats"], &["--all", "--json"]] {
        place.says(words);
    }
    place.refuses(&["delete", "users", "nobody", "--yes"]);
    place.refuses(&["delete", "users", "anna"]);
    assert_eq!(std::fs::read(place.file()).unwrap(), before);
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 1);
    assert_eq!(place.open().believed_since(), Timestamp::ZERO);
}

#[test]
fn a_store_that_was_not_closed_is_looked_at_in_a_copy_and_stays_as_it_is() {
    let place = Place::new();
    let store = place.open();
    place.put(&store, "users", b"anna", b"value", None);
    let crashed = Place::new();
    std::fs::copy(place.file(), crashed.file()).unwrap();
    let before = std::fs::read(crashed.file()).unwrap();
    let output = crashed.run(&["--json"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("anna"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not closed properly"));
    assert_eq!(std::fs::read(crashed.file()).unwrap(), before);
    assert_eq!(std::fs::read_dir(crashed.folder.path()).unwrap().count(), 1);
    assert!(crashed.open().believed_since() > Timestamp::ZERO, "it is still doubted");
}

#[test]
fn a_deleted_entry_stays_deleted_and_nothing_older_comes_back() {
    let place = Place::filled();
    assert!(place.refuses(&["delete", "users", "anna"]).contains("--yes"), "nobody is there to be asked");
    assert!(place.says(&["delete", "users", "anna", "--yes"]).starts_with("Deleted anna in users, 1.5 KiB"));
    assert!(place.refuses(&["show", "users", "anna"]).contains("was removed"));
    let store = place.open();
    let space = Namespace::new("users").unwrap();
    let path = Path::new(&space, &b"anna"[..]);
    let found = store.read(&[path.borrowed()], Intent::Look).unwrap().remove(0).unwrap();
    let Entry::Removed(version) = found.entry else { panic!("a tombstone: {found:?}") };
    let old = Version::from_parts((place.clock.wall().as_millis() + 30_000) << 16, 1);
    assert!(version > old, "above what was held, though that was ahead of the clock");
    let value = Encoded::new(vec![1], Fingerprint(0));
    let late = Record { version: old, ..Record::new(value, place.clock.wall()) };
    let wrote = store.write(&[Write::put(path, &late)]).unwrap().remove(0).unwrap();
    assert_eq!(wrote, Wrote::Older(version));
    assert_eq!(store.believed_since(), Timestamp::ZERO, "it was closed properly");
    drop(store);
    assert_eq!(place.json(&["namespaces", "--json"])["namespaces"][1]["entries"], 2);
}

#[test]
fn what_cannot_be_looked_at_is_said_in_one_sentence_and_nothing_is_created() {
    let place = Place::new();
    assert!(place.refuses(&[]).contains("there is nothing at"));
    assert!(!place.file().exists());
    std::fs::write(place.file(), b"a text").unwrap();
    assert!(place.refuses(&["stats"]).contains("is no store of nanotier"));
    assert!(refusal(&run(place.folder.path(), &[])).contains("is no store of nanotier"));
    std::fs::remove_file(place.file()).unwrap();
    let foreign = redb::Database::create(place.file()).unwrap();
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<&str, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    assert!(place.refuses(&["list"]).contains("another program's"));
    assert!(place.refuses(&["delete", "a", "b", "--yes"]).contains("another program's"));

    let place = Place::filled();
    let store = place.open();
    for words in [&[][..], &["delete", "users", "anna", "--yes"]] {
        assert!(place.refuses(words).contains("is in use: stop the service"), "{words:?}");
    }
    drop(store);
    place.says(&[]);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_and_help_is_given() {
    let place = Place::filled();
    let wrong: [&[&str]; 6] = [
        &["remove"],
        &["show", "users"],
        &["--limit", "x"],
        &["--what"],
        &["--prefix", "\\q"],
        &["list", "more"],
    ];
    for words in wrong {
        place.refuses(words);
    }
    assert!(place.refuses(&["--namespace", "no such name"]).contains("not allowed"));
    assert!(place.says(&["--help"]).contains("Usage: nanotier-inspect PATH"));
}

#[test]
fn records_keyed_by_a_secret_are_shown_to_who_has_it() {
    let place = Place::new();
    let secret = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10_u128;
    let store = RedbStore::builder(place.file()).secret(secret.to_be_bytes()).build().unwrap();
    store.attach(&Context::new(place.clock.clone(), 1));
    place.put(&store, "users", b"anna", b"value", None);
    drop(store);
    assert_eq!(place.json(&["stats", "--json"])["total"]["unreadable"], 1);
    place.refuses(&["delete", "users", "anna", "--yes"]);
    let with = |secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nanotier-inspect"));
        command.arg(place.file()).arg("--json").env("NANOTIER_SECRET", secret).output().unwrap()
    };
    assert!(String::from_utf8_lossy(&with(&format!("{secret:032x}")).stdout).contains("anna"));
    assert!(refusal(&with("secret")).contains("32 hexadecimal digits"));
}
