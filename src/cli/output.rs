//! The file that a result goes to: whole, or not at all. What stood there stays until there is something to put in its
//! place, and what is no file (a device, a pipe) is written to as it is and never removed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};

/// Links that are followed one after the other, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Drafts that are being written, for [`discard_drafts`].
static DRAFTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Where a result is to go, looked at before the work, so that a path that cannot be written to costs no wait.
#[derive(Debug)]
pub struct Target {
    /// As the user wrote it.
    shown: String,
    /// Where its links lead to.
    path: PathBuf,
    /// Of the file that stands there.
    permissions: Option<Permissions>,
    /// A device or a pipe, open.
    special: Option<File>,
}

/// A result on its way: beside the file that it will be, until it is kept.
#[derive(Debug)]
pub struct Draft {
    file: File,
    /// `None` for what is no file.
    path: Option<PathBuf>,
    target: PathBuf,
    /// Somebody else's file may not be replaced.
    is_new: bool,
    bytes: u64,
}

impl Target {
    /// A path that can be written to; a file that is there already only if it may be replaced. `read` is what the command
    /// reads: it is not replaced.
    pub fn new(path: &Path, replace: bool, read: &[&Path]) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let cannot = || format!("cannot write '{shown}'");
        let path = followed(path);
        let there = fs::metadata(&path).ok();
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            bail!("cannot write '{shown}': it is a folder; write the name of a file");
        }
        let is_special = is_open_already(&path) || there.as_ref().is_some_and(|there| !there.is_file());
        if is_special {
            let special = OpenOptions::new().append(true).open(&path).with_context(cannot)?;
            return Ok(Self { shown, path, permissions: None, special: Some(special) });
        }
        if let Some(there) = &there {
            ensure!(replace, "'{shown}' is there already; --force writes it anew");
            let is_same = |other: &&Path| {
                fs::metadata(other).is_ok_and(|other| (other.dev(), other.ino()) == (there.dev(), there.ino()))
            };
            ensure!(!read.iter().any(is_same), "'{shown}' is read here: write to another file");
            // One that is write-protected stays.
            OpenOptions::new().append(true).open(&path).with_context(cannot)?;
        }
        let target = Self { shown, path, permissions: there.map(|there| there.permissions()), special: None };
        // It is gone again at once.
        target.beside().with_context(|| match target.permissions {
            Some(_) => format!("cannot write a new file beside '{}', to take its place", target.shown),
            None => format!("cannot write '{}'", target.shown),
        })?;
        Ok(target)
    }

    /// As [`Self::new`], for whoever replaces what stands there.
    pub fn replacing(path: &Path, read: &[&Path]) -> anyhow::Result<Self> {
        Self::new(path, true, read)
    }

    /// Somewhere to write to.
    pub fn draft(mut self) -> anyhow::Result<Draft> {
        match self.special.take() {
            Some(file) => Ok(Draft { file, path: None, target: self.path, is_new: false, bytes: 0 }),
            None => self.beside().with_context(|| format!("cannot write '{}'", self.shown)),
        }
    }

    /// Writes all of it at once.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        let shown = self.shown.clone();
        let mut draft = io::BufWriter::new(self.draft()?);
        let written =
            write(&mut draft).and_then(|()| draft.into_inner().map_err(io::IntoInnerError::into_error)?.keep());
        written.with_context(|| format!("cannot write '{shown}'")).map(drop)
    }

    /// A draft in the same folder, from where it can be renamed.
    fn beside(&self) -> io::Result<Draft> {
        let name = self.path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let path = self.path.with_file_name(format!(".{}.{}.part", name.display(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        DRAFTS.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        let is_new = self.permissions.is_none();
        let draft = Draft { file, path: Some(path), target: self.path.clone(), is_new, bytes: 0 };
        if let Some(permissions) = &self.permissions {
            draft.file.set_permissions(permissions.clone())?;
        }
        Ok(draft)
    }
}

impl Draft {
    /// Puts it where it belongs. Returns how long it is, in bytes.
    pub fn keep(mut self) -> io::Result<u64> {
        self.file.flush()?;
        let Some(draft) = &self.path else { return Ok(self.bytes) };
        // Whoever made it meanwhile keeps it.
        if self.is_new && self.target.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "somebody else made it meanwhile"));
        }
        let bytes = self.file.metadata()?.len();
        // A file that is mounted into a container cannot be replaced, only written.
        fs::rename(draft, &self.target).or_else(|_| fs::copy(draft, &self.target).map(drop))?;
        Ok(bytes)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Draft {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self.path {
            Some(_) => self.file.seek(to),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "what ends early must be a file")),
        }
    }
}

impl Drop for Draft {
    /// What was not kept is gone.
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // One that was kept is not there any more.
            let _ = fs::remove_file(&path);
            DRAFTS.lock().unwrap_or_else(PoisonError::into_inner).retain(|draft| *draft != path);
        }
    }
}

/// For whoever ends the process where it is.
pub fn discard_drafts() {
    for draft in DRAFTS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_file(draft);
    }
}

/// Where a path leads to, whether there is something or not.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if is_open_already(&path) {
            break;
        }
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// `/dev/stdout` and the like name no file but what somebody opened, and append to, maybe.
fn is_open_already(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_stands_there_stays_until_a_result_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut draft = Target::replacing(&path, &[]).unwrap().draft().unwrap();
        draft.write_all(b"newer").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(draft);
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(folder.path())), ("old", vec!["old".into()]));
        let mut draft = Target::replacing(&path, &[]).unwrap().draft().unwrap();
        draft.write_all(b"newer").unwrap();
        assert_eq!(draft.keep().unwrap(), 5);
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(folder.path())), ("newer", vec!["old".into()]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("real"), "old").unwrap();
        symlink("real", path("link")).unwrap();
        symlink("missing", path("dangling")).unwrap();
        symlink("/dev/null", path("null")).unwrap();
        for (name, bytes) in [("link", 3), ("dangling", 3), ("null", 3)] {
            let mut draft = Target::replacing(&path(name), &[]).unwrap().draft().unwrap();
            draft.write_all(b"new").unwrap();
            assert_eq!(draft.keep().unwrap(), bytes, "{name}");
        }
        assert_eq!(names(folder.path()), ["dangling", "link", "missing", "null", "real"]);
        assert!(["link", "dangling", "null"].iter().all(|name| path(name).is_symlink()));
        assert_eq!(["real", "missing"].map(|name| fs::read_to_string(path(name)).unwrap()), ["new", "new"]);
    }

    #[test]
    fn what_cannot_be_written_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("old"), "old").unwrap();
        symlink("old", path("link")).unwrap();
        let check = |name: &str, replace: bool, expected: &str| {
            let error = Target::new(&path(name), replace, &[&path("other"), &path("link")]).unwrap_err();
            let said = format!("{error:#}").replace(&format!("{}/", folder.path().display()), "");
            assert!(said.starts_with(expected), "{said}");
        };
        check("none/x", true, "cannot write 'none/x': No such file");
        check("", true, "cannot write ''"); // the folder itself
        check("old", false, "'old' is there already; --force writes it anew");
        check("old", true, "'old' is read here: write to another file");
        assert_eq!(names(folder.path()), ["link", "old"]);
    }
}
