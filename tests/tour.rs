//! The tour, as a stranger runs it: on good days, and in each situation that a cache must not make worse.
//!
//! Cargo builds examples before it runs tests, beside the folder that this test lies in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nanotier_redb::RedbStore;
use tempfile::TempDir;

/// What a run of the tour came to.
#[derive(Debug)]
struct Run {
    status: Option<i32>,
    said: String,
    complained: String,
}

impl Run {
    #[track_caller]
    fn succeeds(self) -> Self {
        assert_eq!(self.status, Some(0), "{}\n{}", self.said, self.complained);
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Self {
        assert!(self.said.contains(words), "it does not say {words:?}:\n{}\n{}", self.said, self.complained);
        self
    }

    #[track_caller]
    fn does_not_say(self, words: &str) -> Self {
        assert!(!self.said.contains(words), "it says {words:?}:\n{}", self.said);
        self
    }

    /// How many answers came from there in the first pass.
    #[track_caller]
    fn answers(&self, from: &str) -> usize {
        let line = self.said.lines().find(|line| line.trim_start().starts_with(from));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no line of {from}:\n{}", self.said))
    }
}

fn tour_command() -> Command {
    let test = std::env::current_exe().expect("a test knows where it is");
    let built = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let tour = built.join("examples").join(format!("tour{}", std::env::consts::EXE_SUFFIX));
    assert!(
        tour.exists(),
        "{} was not built: run `cargo build --example tour`, or `cargo test` without `--test`",
        tour.display()
    );
    Command::new(tour)
}

fn run(words: &[&Path], cache: &Path) -> Run {
    run_command(tour_command(), words, cache)
}

fn run_command(mut tour: Command, words: &[&Path], cache: &Path) -> Run {
    let output = tour
        .args(["--lookups", "3000"])
        .args(words)
        .env("NANOTIER_TOUR_CACHE", cache)
        .output()
        .expect("the tour starts");
    Run {
        status: output.status.code(),
        said: String::from_utf8_lossy(&output.stdout).into_owned(),
        complained: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A folder of files as they are met in the world, and a place for the cache beside it.
struct World {
    root: TempDir,
}

/// The files of a world that are to be examined.
const FILES: usize = if cfg!(target_os = "linux") { 14 } else { 12 };

impl World {
    fn new() -> Self {
        let world = Self { root: tempfile::tempdir().expect("a folder for temporary files") };
        let files = world.files();
        fs::create_dir_all(files.join("a folder").join("in a folder")).unwrap();
        fs::create_dir_all(files.join("target")).unwrap();
        fs::create_dir_all(files.join("an empty folder")).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(files.join(name), bytes).unwrap();
        write("main.rs", b"fn main() {}\n");
        write("empty", b"");
        write("no end of line.txt", b"one two");
        write("binary", &(0..200_000_u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1]).collect::<Vec<u8>>());
        write("zeros", &[0; 70_000]);
        write("-starts-with-a-dash", b"x\n");
        write("größe.md", "fünf Wörter sind es, mehr nicht\n".as_bytes());
        write(".hidden", b"x\n");
        write("a folder/same name.rs", b"x\n");
        write("a folder/in a folder/same name.rs", b"x\n");
        write("one long line.json", &[b'x'; 300_000]);
        write("{braces} %s $HOME 'quotes'", b"x\n");
        write("target/built.rs", b"not to be looked at\n");
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::ffi::OsStrExt as _;
            write("new\nline and \x1b[31m.txt", b"x\n");
            fs::write(files.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff\xfe")), b"x\n").unwrap();
            std::os::unix::fs::symlink("nowhere at all", files.join("dangling link")).unwrap();
            std::os::unix::fs::symlink("..", files.join("a link in a circle")).unwrap();
        }
        world
    }

    fn files(&self) -> PathBuf {
        self.root.path().join("files")
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn cache_file(&self) -> PathBuf {
        self.cache().join("tour.redb")
    }

    fn run(&self) -> Run {
        self.run_with_cache(&self.cache())
    }

    /// Runs as a user whom permissions bind. Root would read and write anything, so it runs as nobody then.
    #[cfg(unix)]
    fn run_bound_by_permissions(&self) -> Run {
        use std::os::unix::fs::PermissionsExt as _;
        use std::os::unix::process::CommandExt as _;
        const NOBODY: u32 = 65_534;
        let probe = self.root.path().join("probe");
        fs::write(&probe, b"").unwrap();
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&probe).is_err() {
            return self.run();
        }
        // The folder for temporary files is its owner's alone, and so may be the one that the tour was built in.
        fs::set_permissions(self.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = self.root.path().join("tour");
        fs::copy(tour_command().get_program(), &copy).unwrap();
        if !self.cache().exists() {
            fs::create_dir(self.cache()).unwrap();
            fs::set_permissions(self.cache(), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut tour = Command::new(copy);
        tour.uid(NOBODY).gid(NOBODY);
        run_command(tour, &[&self.files()], &self.cache())
    }

    fn run_with_cache(&self, cache: &Path) -> Run {
        run(&[&self.files()], cache)
    }
}

#[test]
fn the_first_run_is_cold_and_the_second_one_warm() {
    let world = World::new();
    let cold = world.run().succeeds().says("cold start").does_not_say("warm start").says("it was gone");
    assert_eq!((cold.answers("redb"), cold.answers("computed")), (0, FILES));
    let warm = world.run().succeeds().says("warm start").says("it was gone");
    assert_eq!((warm.answers("redb"), warm.answers("computed")), (FILES, 0));
    warm.says("0 allocations in");
}

#[test]
fn a_changed_file_is_examined_again_and_no_other() {
    let world = World::new();
    world.run().succeeds();
    fs::write(world.files().join("main.rs"), "fn main() { /* changed */ }\n").unwrap();
    let again = world.run().succeeds();
    assert_eq!((again.answers("redb"), again.answers("computed")), (FILES - 1, 1));
}

#[test]
fn fresh_forgets_what_earlier_runs_found() {
    let world = World::new();
    world.run().succeeds();
    let fresh = run(&[Path::new("--fresh"), &world.files()], &world.cache()).succeeds();
    assert_eq!(fresh.says("cold start").answers("computed"), FILES);
    world.run().succeeds().says("warm start");
}

#[test]
fn what_is_left_out_is_said() {
    let world = World::new();
    let said = world.run().succeeds().says("1 folder named target or .git");
    if cfg!(target_os = "linux") {
        said.says("2 symbolic links");
    }
}

#[test]
fn a_damaged_cache_is_moved_aside_and_the_next_run_is_warm_again() {
    let world = World::new();
    world.run().succeeds();
    // It begins as one: what never was a database is not moved.
    fs::write(world.cache_file(), b"redb\x1a\x0a: no more".repeat(1000)).unwrap();
    world.run().succeeds().says("damaged").says("moved aside to").says("cold start");
    let kept = world.cache().join("tour.redb.damaged-1");
    assert!(
        fs::read(kept).unwrap().starts_with(b"redb\x1a\x0a: no more"),
        "what was moved aside is kept as it was"
    );
    world.run().succeeds().says("warm start");
}

#[test]
fn a_cache_with_damage_somewhere_in_it_costs_work_and_nothing_else() {
    let world = World::new();
    let whole = world.run().succeeds();
    let bytes = fs::read(world.cache_file()).unwrap();
    for part in 1..8 {
        let mut damaged = bytes.clone();
        let at = bytes.len() * part / 8;
        damaged[at..at + 64].iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(world.cache_file(), damaged).unwrap();
        let run = world.run().succeeds().says("it was gone");
        let lines = |run: &Run| {
            run.said.lines().find(|line| line.trim_start().starts_with("Rust")).map(str::to_string)
        };
        assert_eq!(lines(&run), lines(&whole), "the same facts, from wherever they came");
    }
}

#[test]
fn a_cache_that_cannot_be_written_leaves_memory() {
    let world = World::new();
    // Not a matter of rights: this holds for root too.
    let file = world.root.path().join("a file");
    fs::write(&file, b"").unwrap();
    let run = world.run_with_cache(&file.join("cache")).succeeds();
    let run = run.says("in memory only").says("cold start").says("it was gone").does_not_say("warm start");
    assert_eq!(run.answers("computed"), FILES);
}

#[test]
#[cfg(unix)]
fn a_folder_for_the_cache_that_may_only_be_read_leaves_memory() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    fs::create_dir(world.cache()).unwrap();
    fs::set_permissions(world.cache(), fs::Permissions::from_mode(0o555)).unwrap();
    world.run_bound_by_permissions().succeeds().says("in memory only").says("cold start");
}

#[test]
fn a_cache_in_use_leaves_memory_and_the_other_run_alone() {
    let world = World::new();
    world.run().succeeds();
    let other = RedbStore::open(world.cache_file()).expect("a cache that nobody has open");
    world.run().succeeds().says("in use by another run").says("in memory only").says("cold start");
    drop(other);
    world.run().succeeds().says("warm start");
}

#[test]
#[cfg(unix)]
fn unreadable_files_are_counted_and_named_and_the_rest_is_done() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let locked = |name: &str| {
        let path = world.files().join(name);
        fs::write(&path, b"secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    (0..5).for_each(|n| locked(&format!("locked {n}")));
    let run =
        world.run_bound_by_permissions().succeeds().says("5 paths could not be read").says("and 2 more");
    assert_eq!(run.answers("computed"), FILES);
}

#[test]
fn a_missing_folder_and_wrong_words_are_refused_with_a_sentence() {
    let world = World::new();
    for (words, sentence) in [
        (vec![world.files().join("no such folder")], "there is no folder"),
        (vec![world.files().join("main.rs")], "is not a folder"),
        (vec!["--no-such-option".into()], "there is no option --no-such-option"),
        (vec!["--cache".into()], "--cache needs a folder"),
        (vec!["--lookups".into(), "many".into()], "--lookups needs a number"),
        (vec![world.files(), world.files()], "one folder at a time"),
    ] {
        let words: Vec<&Path> = words.iter().map(PathBuf::as_path).collect();
        let run = run(&words, &world.cache());
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(run.complained.contains(sentence), "{run:?}");
        assert!(!run.complained.contains("panicked"), "{run:?}");
    }
}

#[test]
fn help_says_how_it_is_called() {
    let world = World::new();
    run(&[Path::new("--help")], &world.cache())
        .succeeds()
        .says("usage:")
        .says("NANOTIER_TOUR_CACHE")
        .says("--fresh");
    assert!(!world.cache().exists(), "asking for help leaves nothing behind");
}

#[test]
fn a_folder_without_files_is_no_failure() {
    let world = World::new();
    run(&[&world.files().join("an empty folder")], &world.cache()).succeeds().says("nothing to show");
}

#[test]
fn a_cache_inside_the_folder_is_not_examined() {
    let world = World::new();
    for cache in [world.files().join("cache"), world.files()] {
        world.run_with_cache(&cache).succeeds().says("cold start");
        let warm = world.run_with_cache(&cache).succeeds().says("warm start");
        assert_eq!(warm.answers("redb"), FILES);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    let mut tour = tour_command();
    tour.arg(world.files()).env("NANOTIER_TOUR_CACHE", world.cache());
    let mut tour = tour.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tour starts");
    drop(tour.stdout.take());
    let output = tour.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
