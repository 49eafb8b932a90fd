//! How a store lies in its database, and every statement there is. `docs/FORMATS.md` describes the tables.
//!
//! Names of tables are judged when the store is built and quoted here; everything else is bound.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// The layout that is written and read.
pub(crate) const LAYOUT_VERSION: i64 = 1;
/// The longest name, in bytes, that tables may be told to begin with.
pub(crate) const TABLES_LEN_MAX: usize = 48;

/// The statements of a store, and the names of its tables.
#[derive(Debug)]
pub(crate) struct Sql {
    /// Tables: what is missing of them is created.
    pub(crate) create: String,
    /// From here on the bytes of all rows are counted.
    pub(crate) count_bytes: String,
    /// ?1 id, ?2 namespace. `lost`, `believed_since`, `strays`, floor, id, key, record: one row, if the store is there at all.
    pub(crate) look: String,
    /// The same for a row that may lie under another id than its hash. ?1 key, ?2 namespace.
    pub(crate) look_by_key: String,
    /// ?1 namespace.
    pub(crate) floor: String,
    /// ?1 from, ?2 before, if there is an end.
    pub(crate) visit: [String; 2],
    /// ?1 moment, ?2 how many.
    pub(crate) due: String,
    /// ?1 from which id on, ?2 how many.
    pub(crate) sample: String,
    /// ?1 id, ?2 key, ?3 due, ?4 record.
    pub(crate) insert: String,
    /// ?1 id, ?2 due, ?3 record.
    pub(crate) update: String,
    /// ?1 id.
    pub(crate) delete: String,
    /// ?1 from, ?2 before, if there is an end.
    pub(crate) delete_all: [String; 2],
    /// ?1 id: taken by another key.
    pub(crate) has_id: String,
    pub(crate) note_stray: String,
    /// ?1 namespace, ?2 floor.
    pub(crate) put_floor: String,
    /// `layout`, `lost`, `believed_since`, `strays`, `bytes`.
    pub(crate) meta: String,
    /// Everything that was given may be lost.
    pub(crate) lose: String,
    /// ?1 until when what was given may have missed something.
    pub(crate) doubt: String,
    /// ?1 since when the store is believed.
    pub(crate) believe: String,
    pub(crate) openers: String,
    /// ?1 id.
    pub(crate) come: String,
    /// ?1 id.
    pub(crate) go: String,
    /// Whether the pages under a table are whole.
    pub(crate) checks: [String; 2],
    /// What the schema calls all of this.
    pub(crate) names: [String; 4],
}

impl Sql {
    /// The statements for tables whose names begin with `tables`, which was judged.
    pub(crate) fn new(tables: &str) -> Self {
        let names = ["rows", "floors", "meta", "openers"].map(|name| format!("{tables}_{name}"));
        let [rows, floors, meta, openers] = names.each_ref().map(|name| format!("\"{name}\""));
        let (by_key, by_due) = (format!("\"{tables}_rows_key\""), format!("\"{tables}_rows_due\""));
        let trigger = |event: &str| format!("\"{tables}_rows_{event}\"");
        let ends = |sql: String| [sql.clone(), format!("{sql} AND key < ?2")];
        let looked = "SELECT m.lost, m.believed_since, m.strays, f.floor, r.id, r.key, r.record";
        let beside = format!("FROM {meta} m LEFT JOIN {floors} f ON f.namespace = ?2 LEFT JOIN {rows} r ON");
        let len = |row: &str| format!("length({row}.key) + length({row}.record)");
        let (new, old) = (len("new"), len("old"));
        let (added, changed, removed) = (trigger("added"), trigger("changed"), trigger("removed"));
        let count =
            |bytes: &str| format!("BEGIN UPDATE {meta} SET bytes = bytes + {bytes} WHERE id = 1; END");
        let (add, change, remove) =
            (count(&new), count("length(new.record) - length(old.record)"), count(&format!("-({old})")));
        let [visit_all, visit] = ends(format!("SELECT key, record FROM {rows} WHERE key >= ?1"))
            .map(|sql| format!("{sql} ORDER BY key"));
        Self {
            create: format!(
                "CREATE TABLE IF NOT EXISTS {rows} (id INTEGER PRIMARY KEY, due INTEGER, key BLOB NOT NULL, \
                 record BLOB NOT NULL) STRICT;
                 CREATE UNIQUE INDEX IF NOT EXISTS {by_key} ON {rows} (key);
                 CREATE INDEX IF NOT EXISTS {by_due} ON {rows} (due) WHERE due IS NOT NULL;
                 CREATE TABLE IF NOT EXISTS {floors} (namespace BLOB PRIMARY KEY, floor BLOB NOT NULL) STRICT, WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS {openers} (id INTEGER PRIMARY KEY) STRICT;
                 CREATE TABLE IF NOT EXISTS {meta} (id INTEGER PRIMARY KEY CHECK (id = 1), layout INTEGER NOT NULL, \
                 lost INTEGER NOT NULL, believed_since INTEGER, strays INTEGER NOT NULL, bytes INTEGER) STRICT;
                 INSERT INTO {meta} VALUES (1, {LAYOUT_VERSION}, 0, 0, 0, NULL);"
            ),
            count_bytes: format!(
                "CREATE TRIGGER IF NOT EXISTS {added} AFTER INSERT ON {rows} {add};
                 CREATE TRIGGER IF NOT EXISTS {changed} AFTER UPDATE OF record ON {rows} {change};
                 CREATE TRIGGER IF NOT EXISTS {removed} AFTER DELETE ON {rows} {remove};
                 UPDATE {meta} SET bytes = (SELECT coalesce(sum(length(key) + length(record)), 0) FROM {rows}) WHERE id = 1;"
            ),
            look: format!("{looked} {beside} r.id = ?1 WHERE m.id = 1"),
            look_by_key: format!("{looked} {beside} r.key = ?1 WHERE m.id = 1"),
            floor: format!("SELECT floor FROM {floors} WHERE namespace = ?1"),
            visit: [visit_all, visit],
            due: format!("SELECT key FROM {rows} WHERE due <= ?1 ORDER BY due LIMIT ?2"),
            sample: format!("SELECT key FROM {rows} WHERE id >= ?1 ORDER BY id LIMIT ?2"),
            insert: format!("INSERT INTO {rows} (id, key, due, record) VALUES (?1, ?2, ?3, ?4)"),
            update: format!("UPDATE {rows} SET due = ?2, record = ?3 WHERE id = ?1"),
            delete: format!("DELETE FROM {rows} WHERE id = ?1"),
            delete_all: ends(format!("DELETE FROM {rows} WHERE key >= ?1")),
            has_id: format!("SELECT 1 FROM {rows} WHERE id = ?1"),
            note_stray: format!("UPDATE {meta} SET strays = strays + 1 WHERE id = 1"),
            put_floor: format!(
                "INSERT INTO {floors} VALUES (?1, ?2) ON CONFLICT (namespace) DO UPDATE SET floor = excluded.floor"
            ),
            meta: format!("SELECT layout, lost, believed_since, strays, bytes FROM {meta} WHERE id = 1"),
            lose: format!("UPDATE {meta} SET lost = lost + 1, believed_since = NULL WHERE id = 1"),
            // Where the moment is unknown, everyone takes his own once more.
            doubt: format!(
                "UPDATE {meta} SET lost = lost + (believed_since IS NULL), believed_since = max(believed_since, ?1) \
                 WHERE id = 1"
            ),
            believe: format!("UPDATE {meta} SET believed_since = max(coalesce(believed_since, 0), ?1) WHERE id = 1"),
            openers: format!("SELECT id FROM {openers}"),
            come: format!("INSERT OR IGNORE INTO {openers} VALUES (?1)"),
            go: format!("DELETE FROM {openers} WHERE id = ?1"),
            checks: [&names[0], &names[1]].map(|name| format!("PRAGMA integrity_check(\"{name}\")")),
            names,
        }
    }
}

/// The id that a row with this key has, if no other key has it: SipHash-1-3 of the key, and of how many times another had it.
pub(crate) fn id_of(key: &[u8], others: u8) -> i64 {
    let mut hasher = SipHasher13::new_with_key(b"nanotier.sqlite1");
    hasher.write(key);
    if others > 0 {
        hasher.write_u8(others);
    }
    i64::from_ne_bytes(hasher.finish().to_ne_bytes())
}

/// True for `^[A-Za-z_][A-Za-z0-9_]{0,47}$` that SQLite does not keep for itself.
pub(crate) fn is_table_name(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let is_reserved = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
    begins
        && !is_reserved
        && name.len() <= TABLES_LEN_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_letters_digits_and_underscores_that_do_not_begin_with_a_digit() {
        let long = "x".repeat(48);
        for name in ["a", "_", "Cache_2", "nanotier", "select", "SQLITE", long.as_str()] {
            assert!(is_table_name(name), "{name}");
        }
        let longer = "x".repeat(49);
        let hostile = [
            "",
            "1a",
            "a b",
            "a\"",
            "a'",
            "a;b",
            "a.b",
            "a-b",
            "a\0",
            "ä",
            "sqlite_a",
            "SQLite_x",
            "a\n",
            "$a",
            "[a]",
            "a`",
            "a--",
            "a/*",
            longer.as_str(),
        ];
        for name in hostile {
            assert!(!is_table_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_id_is_the_same_in_every_build() {
        assert_eq!(id_of(b"\x04test42", 0), id_of(b"\x04test42", 0));
        let ids = [id_of(b"", 0), id_of(b"\x04test42", 0), id_of(b"\x04test42", 1)];
        assert_eq!(ids, IDS);
    }
    const IDS: [i64; 3] = [1113283738615764404, -1374100036425481046, 7089265655064269981];
}
