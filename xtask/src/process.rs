//! One program run for a limited time: its output shown as it comes, kept in a log and counted.
//!
//! No program outlives its time, its parent or its own end, and neither do its children. Each is run in a process
//! group whose leader is a tiny shell, the [`Leash`]: it waits for its standard input to close and then kills the
//! group, itself included. The other end of that pipe is ours alone. We close it when the time is over or the
//! program has ended (a child left behind goes too); if we die ourselves, by Ctrl-C or even `kill -9`, the kernel
//! closes it. That the leader is the shell, not the program, keeps the group's number from being reused too early.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Counts;

/// Where a program's output goes besides its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Terminal,
    /// For our own tests, whose output is itself counted.
    #[cfg(test)]
    Silent,
}

impl Live {
    /// A line of our own, in order with the output of programs.
    pub(crate) fn say(self, line: &str) {
        if self == Live::Terminal {
            println!("{line}");
        }
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// Why, as the end of the sentence "the program ..".
    Failed(String),
    /// Killed with all its children, because its time was over.
    OverTime,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) end: End,
    pub(crate) took: Duration,
    pub(crate) counts: Counts,
    /// Whether the words that [`Watch::words`] asked for were in the output.
    pub(crate) said: bool,
}

/// What to do with a program's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) live: Live,
    /// Appended to; created along with its folder.
    pub(crate) log: &'a Path,
    pub(crate) words: Option<&'static str>,
}

/// Runs `command` for at most `limit`. It gets no input: a program that asks a question would wait for ever.
pub(crate) fn run(command: Command, limit: Duration, watch: Watch<'_>) -> Run {
    let began = Instant::now();
    let failed = |why: String| Run {
        end: End::Failed(why),
        took: began.elapsed(),
        counts: Counts::default(),
        said: false,
    };
    let record = match Record::open(watch) {
        Ok(record) => Arc::new(Mutex::new(record)),
        Err(error) => return failed(format!("was not started: {}: {error}", watch.log.display())),
    };
    let mut program = match Program::start(command, watch.live, &record) {
        Ok(program) => program,
        Err(error) => return failed(format!("was not started: {error}")),
    };
    let end = program.wait(began + limit);
    program.clear_away();
    let record = lock(&record);
    Run { end, took: began.elapsed(), counts: record.counts.clone(), said: record.said }
}

struct Program {
    child: Child,
    leash: Leash,
    /// Disconnected once both readers have reached the end of the output.
    readers: mpsc::Receiver<()>,
}

impl Program {
    fn start(mut command: Command, live: Live, record: &Arc<Mutex<Record>>) -> io::Result<Self> {
        let leash = Leash::new()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(leash.group()?)
            .spawn()?;
        let (reading, readers) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            follow(output, (live == Live::Terminal).then(io::stdout), Arc::clone(record), reading.clone());
        }
        if let Some(output) = child.stderr.take() {
            follow(output, (live == Live::Terminal).then(io::stderr), Arc::clone(record), reading);
        }
        Ok(Program { child, leash, readers })
    }

    fn wait(&mut self, deadline: Instant) -> End {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return End::Succeeded,
                Ok(Some(status)) => return End::Failed(format!("ended with {status}")),
                Ok(None) if Instant::now() >= deadline => return End::OverTime,
                Ok(None) => thread::sleep(POLL_EVERY),
                Err(error) => return End::Failed(format!("could not be waited for: {error}")),
            }
        }
    }

    /// Kills what is left of the group and reads its last words.
    fn clear_away(mut self) {
        self.leash.pull();
        // The group is dead, this program with it: no waiting here, only the kernel's record is taken.
        drop(self.child.wait());
        // A process that left the group may still hold the pipes. It gets no more of our time than this.
        let until = Instant::now() + LAST_WORDS;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.readers.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    }
}

/// The leader of a process group, which kills the group as soon as nobody holds the leash any more.
struct Leash {
    shell: Child,
}

impl Leash {
    fn new() -> io::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", "read -r nothing; kill -s KILL 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Leash { shell })
    }

    fn group(&self) -> io::Result<i32> {
        i32::try_from(self.shell.id()).map_err(io::Error::other)
    }

    /// Returns once the signal is sent to every member of the group. Pulling twice is pulling once.
    fn pull(&mut self) {
        drop(self.shell.stdin.take());
        // Waiting can only fail if the shell has been waited for before.
        drop(self.shell.wait());
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.pull();
    }
}

/// Shows, logs and counts one stream until it ends. `done` is dropped then.
fn follow<R, W>(mut output: R, mut shown: Option<W>, record: Arc<Mutex<Record>>, done: mpsc::Sender<()>)
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    thread::spawn(move || {
        let _done = done;
        let mut chunk = [0; 8192];
        let mut line = Vec::new();
        // An error while reading is the end of the output too; how the program ended is told by its status.
        while let Ok(length @ 1..) = output.read(&mut chunk) {
            if let Some(shown) = &mut shown {
                // Nobody may be looking any more (`| head`). The log is still written and the lane still counts.
                drop(shown.write_all(&chunk[..length]).and_then(|()| shown.flush()));
            }
            for piece in chunk[..length].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") || line.len() >= LINE_MAX {
                    lock(&record).take_line(&line);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            lock(&record).take_line(&line);
        }
    });
}

/// What both streams of one program are written into.
struct Record {
    log: File,
    counts: Counts,
    words: Option<&'static str>,
    said: bool,
}

impl Record {
    fn open(watch: Watch<'_>) -> io::Result<Self> {
        if let Some(folder) = watch.log.parent() {
            fs::create_dir_all(folder)?;
        }
        let log = File::options().create(true).append(true).open(watch.log)?;
        Ok(Record { log, counts: Counts::default(), words: watch.words, said: false })
    }

    fn take_line(&mut self, line: &[u8]) {
        // A full disk will be noticed by the programs under test; the log is a convenience.
        drop(self.log.write_all(line));
        let text = String::from_utf8_lossy(line);
        self.said |= self.words.is_some_and(|words| text.contains(words));
        self.counts.read_line(&text);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("counts", &self.counts)
            .field("said", &self.said)
            .finish_non_exhaustive()
    }
}

/// A reader that panicked has at worst lost a line; its figures are whole.
fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

const POLL_EVERY: Duration = Duration::from_millis(10);
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A longer line is counted and logged in pieces.
const LINE_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const LONG: Duration = Duration::from_secs(60);

    fn log(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("xtask-process-{}-{name}.log", std::process::id()));
        drop(fs::remove_file(&path));
        path
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run_script(name: &str, script: &str, limit: Duration) -> (Run, String) {
        let log = log(name);
        let run = run(shell(script), limit, Watch { live: Live::Silent, log: &log, words: Some("magic") });
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        (run, text)
    }

    /// A process that was killed and not yet taken by its new parent still has a number, but does not run.
    #[cfg(target_os = "linux")]
    fn is_running(process: &str) -> bool {
        // `63 (sleep) S ..`
        fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    }

    #[cfg(not(target_os = "linux"))]
    fn is_running(process: &str) -> bool {
        let state = Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap().stdout;
        state.first().is_some_and(|&state| state != b'Z')
    }

    fn stops_soon(process: &str) -> bool {
        (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !is_running(process)
        })
    }

    #[test]
    fn output_of_both_streams_is_logged_and_counted() {
        let (run, text) = run_script(
            "both",
            "echo COUNT kills 3; echo 'test result: ok. 2 passed; 0 failed; 1 ignored' >&2; printf 'magic, no end'",
            LONG,
        );
        assert_eq!(run.end, End::Succeeded);
        assert!(run.said);
        assert_eq!((run.counts.passed, run.counts.skipped), (2, 1));
        assert_eq!(run.counts.others()["kills"], 3);
        assert!(text.contains("COUNT kills 3\n") && text.contains("magic, no end"), "{text}");
    }

    #[test]
    fn a_failure_says_how_the_program_ended() {
        let (run, _) = run_script("fails", "exit 7", LONG);
        assert!(matches!(&run.end, End::Failed(why) if why.contains('7')), "{run:?}");
        assert!(!run.said);
        let log = log("absent");
        let absent = super::run(
            Command::new("/no/such/program"),
            LONG,
            Watch { live: Live::Silent, log: &log, words: None },
        );
        assert!(matches!(&absent.end, End::Failed(why) if why.contains("not started")), "{absent:?}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn over_time_the_program_dies_with_its_children() {
        let (run, text) = run_script("slow", "sleep 61 & echo $!; sleep 62", Duration::from_millis(300));
        assert_eq!(run.end, End::OverTime);
        assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
        assert!(stops_soon(text.trim()), "the child {text} is still running");
    }

    #[test]
    fn children_left_behind_die_with_the_program() {
        let (run, text) = run_script("leaves", "sleep 63 & echo $!", LONG);
        assert_eq!(run.end, End::Succeeded);
        assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
        assert!(stops_soon(text.trim()), "the child {text} is still running");
    }

    #[test]
    fn a_program_without_input_does_not_wait_for_any() {
        let (run, _) = run_script("input", "cat", LONG);
        assert_eq!(run.end, End::Succeeded);
        assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
    }

    #[test]
    fn the_group_dies_when_the_holder_of_the_leash_does() {
        // What the kernel does when we are killed: our end of the pipe closes.
        let mut leash = Leash::new().unwrap();
        let mut member = shell("sleep 64").process_group(leash.group().unwrap()).spawn().unwrap();
        drop(leash.shell.stdin.take());
        assert!(!member.wait().unwrap().success());
    }
}
