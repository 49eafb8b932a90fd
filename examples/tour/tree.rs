//! The files of a folder.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::facts::FileKey;
use crate::screen::note;
use crate::words::{plural, shown};

/// A file to be examined.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: Arc<Path>,
    /// Its path from the root of the tree.
    pub(crate) name: PathBuf,
    pub(crate) key: FileKey,
}

/// All files below a folder, in the order of their names, and what was left out.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<SourceFile>,
    unreadable: Vec<(PathBuf, io::Error)>,
    folders_skipped: usize,
    links: usize,
    /// Sockets, pipes, devices.
    others: usize,
}

impl Tree {
    /// Walks `folder`, but not what lies in `cache_folder`: it changes while it is read.
    pub(crate) fn walk(folder: &Path, cache_folder: &Path) -> Result<Self, String> {
        let say = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no folder {}", shown(folder)),
            _ => format!("the folder {} cannot be read: {error}", shown(folder)),
        };
        let root = fs::canonicalize(folder).map_err(say)?;
        if !root.is_dir() {
            return Err(format!("{} is not a folder", shown(folder)));
        }
        fs::read_dir(&root).map_err(say)?;
        let mut tree =
            Self { root, files: Vec::new(), unreadable: Vec::new(), folders_skipped: 0, links: 0, others: 0 };
        let cache_folder =
            fs::canonicalize(cache_folder).ok().filter(|cache_folder| *cache_folder != tree.root);
        let mut folders = vec![tree.root.clone()];
        while let Some(folder) = folders.pop() {
            match entries(&folder) {
                Ok(entries) => {
                    entries.iter().for_each(|entry| tree.meet(entry, cache_folder.as_deref(), &mut folders));
                }
                Err(error) => tree.unreadable.push((folder, error)),
            }
        }
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    fn meet(&mut self, entry: &DirEntry, cache_folder: Option<&Path>, folders: &mut Vec<PathBuf>) {
        let path = entry.path();
        // Of the entry itself: a link is not followed.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return self.unreadable.push((path, error)),
        };
        if metadata.is_symlink() {
            self.links += 1;
        } else if metadata.is_dir() {
            let name = entry.file_name();
            if SKIPPED.iter().any(|skipped| name == *skipped) || cache_folder == Some(&*path) {
                self.folders_skipped += 1;
            } else {
                folders.push(path);
            }
        } else if metadata.is_file() {
            // The cache may lie in the folder itself, among the files.
            match FileKey::new(&path, &metadata) {
                Ok(_) if name_is_of_cache(entry) => self.others += 1,
                Ok(key) => {
                    let name = path.strip_prefix(&self.root).unwrap_or(&path).to_path_buf();
                    self.files.push(SourceFile { path: path.into(), name, key });
                }
                Err(error) => self.unreadable.push((path, error)),
            }
        } else {
            self.others += 1;
        }
    }

    /// How many bytes the files have.
    pub(crate) fn len(&self) -> u64 {
        self.files.iter().map(|file| file.key.len()).sum()
    }

    /// What was left out on purpose, in brackets.
    pub(crate) fn left_out(&self) -> String {
        let mut left_out = Vec::new();
        if self.folders_skipped > 0 {
            left_out.push(format!("{} named target or .git", plural(self.folders_skipped, "folder")));
        }
        if self.links > 0 {
            left_out.push(plural(self.links, "symbolic link"));
        }
        if self.others > 0 {
            left_out.push(plural(self.others, "special file"));
        }
        if left_out.is_empty() { String::new() } else { format!(" (left out: {})", left_out.join(", ")) }
    }

    pub(crate) fn say_unreadable(&self) {
        let named = self.unreadable.iter().map(|(path, error)| (path.as_path(), error.to_string()));
        say_unreadable("could not be looked into", &named.collect::<Vec<_>>());
    }

    pub(crate) fn keep_only(&mut self, keep: impl Fn(usize) -> bool) {
        let mut index = 0;
        self.files.retain(|_| {
            index += 1;
            keep(index - 1)
        });
    }
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(folder)?.collect()
}

fn name_is_of_cache(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(crate::storage::FILE_NAME)
}

/// How many, and the first few by name.
pub(crate) fn say_unreadable(what: &str, named: &[(&Path, String)]) {
    if named.is_empty() {
        return;
    }
    note(&format!("{} {what}; the tour goes on without:", plural(named.len(), "path")));
    for (path, why) in named.iter().take(NAMED_MAX) {
        note(&format!("  {}: {why}", shown(path)));
    }
    if named.len() > NAMED_MAX {
        note(&format!("  and {} more", named.len() - NAMED_MAX));
    }
}

/// Folders that are left out: built things and history.
const SKIPPED: [&str; 2] = ["target", ".git"];
/// How many unreadable paths are named.
const NAMED_MAX: usize = 3;
