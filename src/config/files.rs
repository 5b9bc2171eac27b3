//! Where configuration files are read from: the disk, or texts in memory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads and finds files. A path's directory part is as the user wrote it, relative to the working directory.
pub(super) trait Files {
    /// A whole file as UTF-8.
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<String>;

    /// The files in `directory` that a pattern such as `rules/*.yml` matches, sorted by path.
    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String>;
}

/// `*` stays within a folder and finds no hidden files, such as those that editors leave.
const GLOB: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The disk.
pub(super) struct Disk;

/// Texts by path, for tests and for configurations that the program carries itself.
pub(super) struct Memory<'a>(pub &'a BTreeMap<String, String>);

impl Files for Disk {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<String> {
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large from one that just fits, whatever its metadata say.
        std::fs::File::open(path)?.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
        checked(bytes, max_bytes)
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let directory = glob::Pattern::escape(&directory.to_string_lossy());
        let whole = Path::new(&directory).join(pattern);
        let paths = glob::glob_with(&whole.to_string_lossy(), GLOB).map_err(|error| error.msg.to_owned())?;
        let mut found = Vec::new();
        for path in paths {
            found.push(path.map_err(|error| error.to_string())?);
        }
        found.retain(|path| path.is_file());
        found.sort();
        Ok(found)
    }
}

/// Whether a pattern of the files in `directory` takes in `file`, which need not be there.
pub(super) fn takes_in(directory: &Path, pattern: &str, file: &Path) -> bool {
    let directory = glob::Pattern::escape(&absolute(directory).to_string_lossy());
    let pattern = absolute(&Path::new(&directory).join(pattern));
    let pattern = glob::Pattern::new(&pattern.to_string_lossy());
    pattern.is_ok_and(|pattern| pattern.matches_path_with(&absolute(file), GLOB))
}

/// The same path from the root, whether there is such a file or not.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Files for Memory<'_> {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<String> {
        let text = self
            .0
            .get(&*path.to_string_lossy())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))?;
        checked(text.clone().into_bytes(), max_bytes)
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let whole = directory.join(pattern);
        let pattern = glob::Pattern::new(&whole.to_string_lossy()).map_err(|error| error.msg.to_owned())?;
        let names = self.0.keys().filter(|name| pattern.matches_with(name, GLOB));
        Ok(names.map(PathBuf::from).collect())
    }
}

fn checked(bytes: Vec<u8>, max_bytes: usize) -> io::Result<String> {
    if bytes.len() > max_bytes {
        return Err(io::Error::other(format!("it is larger than {max_bytes} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is not UTF-8 (byte {})", at + 1))
    })
}
