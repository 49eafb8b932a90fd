//! The same for stores that several processes share: SQLite and file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Output};

use nanotier_file::FileStore;
use nanotier_sqlite::SqliteStore;
use nanotier_tier::{
    Clock, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Version, Write, Wrote,
};

type Open = fn(&FilePath) -> Box<dyn Store>;

const KINDS: [(&str, Open); 2] = [
    ("store.db", |path| Box::new(SqliteStore::open(path).unwrap())),
    ("store", |path| Box::new(FileStore::open(path).unwrap())),
];

fn space() -> Namespace {
    Namespace::new("users").unwrap()
}

fn fill(store: &dyn Store) {
    let now = Clock::coarse().wall();
    for (nth, key) in (1..).zip(["anna", "bert", "carl"]) {
        let version = Version::from_parts((now.as_millis() << 16) + nth, 1);
        let record = Record { version, ..Record::new(Encoded::new(key.to_owned(), Fingerprint(7)), now) };
        let wrote =
            store.write(&[Write::put(Path::new(&space(), key.as_bytes()), &record)]).unwrap().remove(0);
        assert_eq!(wrote.unwrap(), Wrote::Done);
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

fn says(path: &FilePath, words: &[&str]) -> String {
    let output = run(path, words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below a folder, with its bytes.
fn bytes(folder: &FilePath) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(bytes(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn to_look_changes_no_byte_and_deleting_deletes() {
    for (name, open) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let store = open(&path);
        fill(&*store);
        store.close().unwrap();
        drop(store);

        let before = bytes(folder.path());
        let listed = says(&path, &[]);
        assert!(["anna", "bert", "carl"].iter().all(|key| listed.contains(key)), "{name}: {listed}");
        assert!(says(&path, &["show", "users", "bert"]).contains("bert"), "{name}");
        assert_eq!(bytes(folder.path()), before, "{name}: nothing was touched");

        says(&path, &["delete", "users", "bert", "--yes"]);
        let store = open(&path);
        let found =
            store.read(&[Path::new(&space(), &b"bert"[..])], Intent::Look).unwrap().remove(0).unwrap();
        assert!(matches!(found.entry, Entry::Removed(_)), "{name}: {found:?}");
    }
}

#[test]
fn what_a_running_service_has_written_is_seen() {
    for (name, open) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let store = open(&path);
        fill(&*store);
        assert!(says(&path, &["--contains", "ann"]).contains("anna"), "{name}");
    }
}

#[test]
fn anothers_database_and_folder_are_refused_with_one_sentence_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("other.db");
    let mut first = b"SQLite format 3\0".to_vec();
    first.resize(4096, 1);
    fs::write(&database, first).unwrap();
    let before = bytes(folder.path());
    for path in [&database, folder.path()] {
        let output = run(path, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.trim_end().lines().count() == 1, "{said}");
    }
    assert_eq!(bytes(folder.path()), before);
}
