//! How stores are opened and closed, what is believed then, and which options are refused.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::place::{MINUTE, Place, entry, space, v, value, write};
use super::{Change, Fixture};
use crate::{
    Cleared, Context, Durability, Encoded, Entry, ErrorKind, Event, Fingerprint, Inline, Intent, Observer,
    PageRequest, Path, Record, Result, Scope, Store, Tier, Timestamp, Update, Write, Wrote,
};

fn open<F: Fixture>(file: impl Into<PathBuf>) -> Result<F::Store> {
    F::build(F::builder(file.into()))
}

/// Every method of it.
pub fn a_closed_store_says_so_and_closing_twice_is_closing_once<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    assert!(store.ready().is_ok());
    store.close().unwrap();
    store.close().unwrap();
    let test = space("test");
    let path = Path::new(&test, &b"k"[..]);
    let record = place.record(5, b"");
    let update =
        Update { path: path.clone(), change: crate::Change::Take, version: v(9), as_of: place.now() };
    let cleared = Cleared { namespace: &test, version: v(9), as_of: place.now() };
    let errors = [
        store.read(std::slice::from_ref(&path), Intent::Look).map(drop).unwrap_err(),
        store.write(&[Write::put(path.clone(), &record)]).map(drop).unwrap_err(),
        store.write(&[]).map(drop).unwrap_err(),
        store.update(&update).map(drop).unwrap_err(),
        store.clear(&cleared).map(drop).unwrap_err(),
        store.list(&test, &PageRequest::default()).map(drop).unwrap_err(),
        F::sweep(&store).map(drop).unwrap_err(),
        F::flush(&store).unwrap_err(),
        store.ready().unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
    assert_eq!(value(&place.open(), "k").unwrap(), b"x", "the file is free again");
}

/// Dropping closes; the end of the process does not.
pub fn a_store_that_was_not_closed_is_believed_from_its_opening_on<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    assert_eq!(store.believed_since(), Timestamp::ZERO, "new: it can have missed nothing");
    let crashed = place.as_a_crash_leaves_it();
    drop(store);
    assert_eq!(place.open().believed_since(), Timestamp::ZERO, "dropped is closed");

    crashed.hands.advance(5 * MINUTE);
    let store = crashed.open();
    let opened_at = crashed.now();
    crashed.hands.advance(MINUTE);
    assert_eq!(store.believed_since(), opened_at);
    store.close().unwrap();
    assert_eq!(
        crashed.open().believed_since(),
        opened_at,
        "closing properly does not make up for what was missed before"
    );
}

/// And stay, for whoever has the right one.
pub fn records_of_another_secret_are_absent_and_told_and_can_be_written_over<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open_with(|builder| F::secret(builder, [1; 16]));
    assert_eq!(place.put(&store, "k", 50, b"of secret 1"), Wrote::Done);
    drop(store);
    let store = place.open_with(|builder| F::secret(builder, [2; 16]));
    assert_eq!(entry(&store, "k"), Entry::Absent);
    assert_eq!(place.told().len(), 1);
    assert_eq!(store.list(&space("test"), &PageRequest::default()).unwrap().entries, []);
    place.hands.advance(20 * MINUTE);
    assert_eq!(F::sweep(&store).unwrap(), 0, "a mistaken secret empties nothing");
    drop(store);
    let store = place.open_with(|builder| F::secret(builder, [1; 16]));
    assert_eq!(value(&store, "k").unwrap(), b"of secret 1");
    drop(store);
    let store = place.open_with(|builder| F::secret(builder, [2; 16]));
    assert_eq!(
        place.put(&store, "k", 5, b"of secret 2"),
        Wrote::Done,
        "what cannot be read counts for nothing"
    );
    assert_eq!(value(&store, "k").unwrap(), b"of secret 2");
}

/// Nothing is locked while it is told.
pub fn an_observer_may_use_the_store_it_is_told_about<F: Fixture>() {
    struct Nosy<S>(OnceLock<Weak<S>>);
    impl<S: Store> Observer for Nosy<S> {
        fn event(&self, _: &Event) {
            let store = self.0.get().and_then(Weak::upgrade).unwrap();
            let test = space("test");
            let value = Encoded::new("mended", Fingerprint(0));
            let record =
                Record { version: v(9), ..Record::new(value, Timestamp::from_millis(1_000_000_000_000)) };
            assert_eq!(
                write(&*store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap(),
                Wrote::Done
            );
        }
    }
    let place = Place::<F>::new();
    assert_eq!(place.put(&place.open(), "k", 5, b"x"), Wrote::Done);
    let nosy = Arc::new(Nosy(OnceLock::new()));
    let store = Arc::new(F::build(F::secret(F::builder(place.file()), [3; 16])).unwrap());
    nosy.0.set(Arc::downgrade(&store)).unwrap();
    store.attach(&Context::new(place.clock.clone(), 1).with_observer(nosy));
    assert_eq!(entry(&*store, "k"), Entry::Absent);
    assert_eq!(value(&*store, "k").unwrap(), b"mended");
}

/// Those that all stores have, and its `own` with a word of the sentence; and it is shared by `scope`.
pub fn options_that_cannot_work_are_refused_with_a_sentence<F: Fixture>(
    own: &[(Change<F>, &str)],
    scope: Scope,
) {
    let place = Place::<F>::new();
    let loses = |ms| Durability::Async { loss_window: Duration::from_millis(ms) };
    let of_all: [(Change<F>, &str); 6] = [
        (|builder| F::durability(builder, Durability::Volatile), "volatile"),
        (|builder| F::horizon(builder, Duration::ZERO), "horizon"),
        (|builder| F::sweep_interval(builder, Duration::ZERO), "interval of sweeps"),
        (|builder| F::value_len_max(builder, 0), "largest value"),
        (|builder| F::value_len_max(builder, usize::MAX), "largest value"),
        (|builder| F::durability(builder, Durability::Async { loss_window: Duration::ZERO }), "loss window"),
    ];
    for (change, word) in of_all.iter().chain(own) {
        let error = place.try_open_with(change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(!place.file().exists(), "nothing was touched");
    assert_eq!(open::<F>("").unwrap_err().kind(), ErrorKind::Config);

    let store = place.open_with(|builder| F::horizon(F::durability(builder, loses(50)), MINUTE));
    let capabilities = Tier::capabilities(&Inline(store));
    assert_eq!(capabilities.scope, scope);
    assert_eq!(capabilities.durability, loses(50));
    assert_eq!(capabilities.horizon, MINUTE);
    assert!(
        capabilities.updates
            && capabilities.lists
            && capabilities.embedded
            && !capabilities.may_evict_tombstones
    );
}

/// For stores in one file.
pub fn a_missing_folder_is_created_and_the_file_is_for_its_owner_alone<F: Fixture>() {
    let place = Place::<F>::new();
    let file = place.folder.as_ref().join("a/b").join(F::FILE);
    drop(open::<F>(&file).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
    }
    let below_a_file = file.join(F::FILE);
    assert_eq!(open::<F>(below_a_file).unwrap_err().kind(), ErrorKind::Storage);
}

/// It says what is needed.
#[cfg(unix)]
pub fn a_folder_that_cannot_be_written_to_is_an_error_of_storage_with_a_sentence<F: Fixture>() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::<F>::new();
    let folder = place.folder.as_ref().join("sealed");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere but where the kernel itself says no.
    let is_root = std::fs::File::create(folder.join("probe")).is_ok();
    let folder = if is_root { PathBuf::from("/proc/self") } else { folder };
    if !folder.exists() {
        return;
    }
    let error = open::<F>(folder.join(F::FILE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(is_root || error.to_string().contains("must be writable"), "{error}");
}
