//! What is to be cached: facts about a file, and the key they are cached under.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nanotier::Key;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A file in a certain state. A file that changes gets another key, so nothing needs to expire: what was found under the old one is
/// never asked for again.
///
/// `Key` is what makes it bytes for redb. `Hash` and `Eq` are all that memory needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Key)]
pub(crate) struct FileKey {
    path: Arc<[u8]>,
    len: u64,
    /// Since the Unix epoch; negative before it.
    modified_ns: i128,
}

impl FileKey {
    pub(crate) fn new(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let path = path.as_os_str().as_encoded_bytes().into();
        Ok(Self { path, len: metadata.len(), modified_ns: modified_ns(metadata)? })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn is_of(&self, metadata: &Metadata) -> bool {
        self.len == metadata.len() && modified_ns(metadata).is_ok_and(|modified| self.modified_ns == modified)
    }
}

fn modified_ns(metadata: &Metadata) -> io::Result<i128> {
    let ns = |length: Duration| i128::try_from(length.as_nanos()).unwrap_or(i128::MAX);
    Ok(match metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => ns(after),
        Err(before) => -ns(before.duration()),
    })
}

/// What is known of a file once all of its bytes were looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    /// SHA-256, as `sha256sum` prints it.
    pub(crate) digest: String,
    pub(crate) language: String,
    pub(crate) lines: u64,
    pub(crate) words: u64,
    /// In bytes, without its end.
    pub(crate) longest_line: u64,
    /// How long it took to find all this out: what a cache saves.
    pub(crate) took: Duration,
}

/// Examines a file: the expensive pure function of this tour. It reads every byte.
pub(crate) fn examine(path: &Path, key: &FileKey) -> io::Result<FileFacts> {
    let begun = Instant::now();
    let mut file = File::open(path)?;
    let (mut digest, mut text) = (Sha256::new(), Text::default());
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&chunk[..len]);
        text.see(&chunk[..len]);
    }
    // A wrong fact under a right key would be there for ever.
    if !key.is_of(&file.metadata()?) {
        return Err(io::Error::other("it was changed while it was read"));
    }
    Ok(FileFacts {
        digest: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        language: language(path).to_string(),
        lines: text.lines + u64::from(text.line > 0),
        words: text.words,
        longest_line: text.longest_line.max(text.line),
        took: begun.elapsed(),
    })
}

/// Counts what it sees.
#[derive(Default)]
struct Text {
    lines: u64,
    words: u64,
    longest_line: u64,
    /// The length of the line that has not ended yet.
    line: u64,
    in_word: bool,
}

impl Text {
    fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.lines += 1;
                self.longest_line = self.longest_line.max(self.line);
                self.line = 0;
            } else {
                self.line += 1;
            }
            let is_space = byte.is_ascii_whitespace();
            self.words += u64::from(!is_space && !self.in_word);
            self.in_word = !is_space;
        }
    }
}

fn language(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "rs" => "Rust",
        "toml" | "lock" => "TOML",
        "md" | "markdown" => "Markdown",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hpp" | "hh" => "C++",
        "s" | "asm" => "assembly",
        "py" => "Python",
        "js" | "mjs" | "ts" => "JavaScript",
        "go" => "Go",
        "java" | "kt" => "Java",
        "sh" | "bash" => "shell",
        "json" => "JSON",
        "yml" | "yaml" => "YAML",
        "html" | "css" | "svg" => "HTML and CSS",
        "txt" | "" => "plain text",
        _ => "other",
    }
}

const CHUNK_LEN: usize = 64 * 1024;
