//! Traces: which keys were asked for, one after the other. Read from files, or made ([`super::synthetic`]).

use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::io::Read;
use std::path::{Path, PathBuf};

use ahash::RandomState;

use crate::workload;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// One per request. Numbered from 0 in order of first appearance.
    ids: Vec<u32>,
    distinct: usize,
}

impl Trace {
    /// Of keys of any kind; at least one.
    pub(crate) fn new<K: Hash + Eq>(
        name: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Self, String> {
        let mut numbers: HashMap<K, u32, RandomState> = HashMap::default();
        let mut ids = Vec::new();
        for key in keys {
            let next =
                u32::try_from(numbers.len()).map_err(|_| "more than 2^32 different keys".to_owned())?;
            ids.push(*numbers.entry(key).or_insert(next));
        }
        if ids.is_empty() {
            return Err("there is no request in it".to_owned());
        }
        Ok(Self { name: name.into(), ids, distinct: numbers.len() })
    }

    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How many different keys there are.
    pub(crate) fn distinct(&self) -> usize {
        self.distinct
    }

    pub(crate) fn requests(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Shares of the number of different keys, in ascending order, each once. Fewer where that number is small.
    pub(crate) fn capacities(&self) -> Vec<usize> {
        let share =
            |per_mille: usize| (self.distinct * per_mille / 1000).max(CAPACITY_MIN).min(self.distinct);
        let mut capacities: Vec<usize> = CAPACITIES_PER_MILLE.into_iter().map(share).collect();
        capacities.dedup();
        capacities
    }
}

const CAPACITIES_PER_MILLE: [usize; 5] = [1, 10, 50, 100, 250];
const CAPACITY_MIN: usize = 100;

/// What caches are asked for. Not the number itself: neighbours in a trace should be no neighbours to a cache
/// that hashes badly, and a cache should not profit from numbers without gaps. The optimum takes the numbers.
#[inline]
pub(crate) fn key(id: u32) -> u64 {
    workload::key(u64::from(id))
}

/// A file that holds a trace, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    path: PathBuf,
    format: Format,
    is_compressed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Eight bytes a key, little-endian.
    Numbers,
    /// A line a key.
    Lines,
}

/// What the name of a file says.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Trace(Source),
    /// Lies next to traces, and is none.
    Other,
    Unknown,
}

impl Kind {
    fn of(path: PathBuf) -> Self {
        let Some(file) = path.file_name().map(|file| file.to_string_lossy().into_owned()) else {
            return Self::Unknown;
        };
        if OTHERS.iter().any(|ending| file.ends_with(ending)) {
            return Self::Other;
        }
        let (stem, is_compressed) = match file.strip_suffix(".zst") {
            Some(stem) => (stem, true),
            None => (file.as_str(), false),
        };
        for (ending, format) in FORMATS {
            if let Some(name) = stem.strip_suffix(ending).filter(|name| !name.is_empty()) {
                return Self::Trace(Source { name: name.to_owned(), path, format, is_compressed });
            }
        }
        Self::Unknown
    }
}

const FORMATS: [(&str, Format); 3] =
    [(".u64", Format::Numbers), (".txt", Format::Lines), (".trace", Format::Lines)];
/// Descriptions, and the sizes of what was asked for.
const OTHERS: [&str; 3] = [".md", ".json", ".size.zst"];

/// What there is in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    /// By name; each name once.
    pub(crate) sources: Vec<Source>,
    /// Neither a trace nor what lies next to one.
    pub(crate) unknown: Vec<PathBuf>,
}

impl Folder {
    /// Not what is in folders inside.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut folder = Self { sources: Vec::new(), unknown: Vec::new() };
        for entry in fs::read_dir(path).map_err(fail)? {
            let file = entry.map_err(fail)?.path();
            if file.is_dir() {
                continue;
            }
            match Kind::of(file.clone()) {
                Kind::Trace(source) => folder.sources.push(source),
                Kind::Other => {}
                Kind::Unknown => folder.unknown.push(file),
            }
        }
        folder.unknown.sort();
        folder.sources.sort_by(|one, other| (&one.name, &one.path).cmp(&(&other.name, &other.path)));
        for pair in folder.sources.windows(2) {
            if pair[0].name == pair[1].name {
                let (one, other) = (pair[0].path.display(), pair[1].path.display());
                return Err(format!("{one} and {other} would have the same name in the report"));
            }
        }
        if folder.sources.is_empty() {
            return Err(format!("{}: there is no trace", path.display()));
        }
        Ok(folder)
    }
}

impl Source {
    /// The whole file is read, even if only the first so many requests are wanted: damage is always found.
    pub(crate) fn read(&self, requests_max: usize) -> Result<Trace, String> {
        self.bytes()
            .and_then(|bytes| match self.format {
                Format::Numbers => Trace::new(&self.name, numbers(&bytes)?.take(requests_max)),
                Format::Lines => Trace::new(&self.name, lines(&bytes)?.take(requests_max)),
            })
            .map_err(|reason| format!("{}: {reason}", self.path.display()))
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        let bytes = fs::read(&self.path).map_err(|error| error.to_string())?;
        if !self.is_compressed {
            return Ok(bytes);
        }
        let fail = |error: std::io::Error| format!("cannot be decompressed: {error}");
        let mut content = Vec::new();
        zstd::Decoder::with_buffer(bytes.as_slice())
            .and_then(|mut decoder| decoder.read_to_end(&mut content))
            .map_err(fail)?;
        Ok(content)
    }
}

fn numbers(bytes: &[u8]) -> Result<impl Iterator<Item = u64>, String> {
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no whole number of keys of 8 bytes", bytes.len()));
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)))
}

/// Without white space around, and without empty ones.
fn lines(bytes: &[u8]) -> Result<impl Iterator<Item = &[u8]>, String> {
    let lines = || bytes.split(|&byte| byte == b'\n');
    if let Some(nth) = lines().position(|line| line.contains(&0)) {
        return Err(format!("a zero byte in line {}: this is no text", nth + 1));
    }
    Ok(lines().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, gone at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nanotier-compare-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.0.join(name), bytes).unwrap();
        }

        fn write_compressed(&self, name: &str, bytes: &[u8]) {
            self.write(name, &zstd::encode_all(bytes, 3).unwrap());
        }

        /// Of the only trace there.
        fn read(&self) -> Result<Trace, String> {
            let folder = Folder::open(&self.0)?;
            assert_eq!(folder.sources.len(), 1);
            folder.sources[0].read(usize::MAX)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn bytes(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn each_format_is_read_and_ids_are_in_order_of_appearance() {
        let numbers = bytes(&[70, u64::MAX, 70, 0]);
        let text = b"/a\n\n  /b \r\n/a\r\n/a b";
        for (file, content) in
            [("x.u64", &numbers[..]), ("x.y.u64", &numbers), ("x.txt", text), ("x.trace", text)]
        {
            for is_compressed in [false, true] {
                let scratch = Scratch::new(&format!("formats-{file}-{is_compressed}"));
                if is_compressed {
                    scratch.write_compressed(&format!("{file}.zst"), content);
                } else {
                    scratch.write(file, content);
                }
                let trace = scratch.read().unwrap();
                assert_eq!(trace.name, file.rsplit_once('.').unwrap().0);
                assert_eq!(trace.ids(), [0, 1, 0, 2], "{file}");
                assert_eq!((trace.distinct(), trace.requests()), (3, 4));
            }
        }
    }

    #[test]
    fn what_is_damaged_is_named_with_the_reason() {
        let whole = zstd::encode_all(&bytes(&(0..1000).collect::<Vec<_>>())[..], 3).unwrap();
        let cut = &whole[..whole.len() - 10];
        let mut flipped = whole.clone();
        flipped[0] ^= 0xFF;
        let garbage = [&whole[..], b"more than that"].concat();
        for (file, content, reason) in [
            ("cut.u64.zst", cut, "decompressed"),
            ("flipped.u64.zst", &flipped, "decompressed"),
            ("more.u64.zst", &garbage, "decompressed"),
            ("none.txt.zst", b"", "decompressed"),
            ("odd.u64", &[1; 12], "12 bytes"),
            ("empty.u64", b"", "no request"),
            ("blank.txt", b"\n \n", "no request"),
            ("binary.txt", b"a\nb\0", "line 2"),
        ] {
            let scratch = Scratch::new(file);
            scratch.write(file, content);
            let error = scratch.read().unwrap_err();
            assert!(error.contains(file) && error.contains(reason), "{file}: {error}");
        }
    }

    #[test]
    fn a_part_of_a_trace_is_its_beginning_and_the_rest_must_be_sound_too() {
        let scratch = Scratch::new("part");
        scratch.write("x.txt", b"a\nb\na\nc\n");
        let source = &Folder::open(&scratch.0).unwrap().sources[0];
        let trace = source.read(3).unwrap();
        assert_eq!((trace.ids(), trace.distinct()), (&[0, 1, 0][..], 2));
        scratch.write("x.txt", b"a\nb\na\nc\0\n");
        assert!(source.read(3).unwrap_err().contains("line 4"));
    }

    #[test]
    fn only_what_lies_next_to_traces_is_passed_over_in_silence() {
        let scratch = Scratch::new("folder");
        for file in ["b.u64", "a.txt", "README.md", "a.json", "a.size.zst", "a.csv", "b.zst", ".u64"] {
            scratch.write(file, b"12345678");
        }
        fs::create_dir(scratch.0.join("inside.txt")).unwrap();
        let folder = Folder::open(&scratch.0).unwrap();
        let names: Vec<_> = folder.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let unknown: Vec<_> = folder.unknown.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(unknown, [".u64", "a.csv", "b.zst"]);
    }

    #[test]
    fn a_folder_without_traces_and_two_of_one_name_are_errors() {
        let scratch = Scratch::new("names");
        scratch.write("notes.md", b"");
        assert!(Folder::open(&scratch.0).unwrap_err().contains("no trace"));
        scratch.write("a.u64", b"12345678");
        scratch.write("a.txt", b"12345678");
        let error = Folder::open(&scratch.0).unwrap_err();
        assert!(error.contains("a.u64") && error.contains("a.txt"), "{error}");
        assert!(Folder::open(&scratch.0.join("nowhere")).unwrap_err().contains("nowhere"));
    }

    #[test]
    fn capacities_are_shares_of_the_keys_from_a_hundred_on() {
        let capacities = |distinct: u64| Trace::new("", 0..distinct).unwrap().capacities();
        assert_eq!(capacities(1_000_000), [1000, 10_000, 50_000, 100_000, 250_000]);
        assert_eq!(capacities(20_000), [100, 200, 1000, 2000, 5000]);
        assert_eq!(capacities(3000), [100, 150, 300, 750]);
        assert_eq!(capacities(150), [100]);
        assert_eq!(capacities(99), [99]);
        assert_eq!(capacities(1), [1]);
    }
}
