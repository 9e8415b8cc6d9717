//! Finds and reads the files of manifests, and detects writes to them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Why manifests cannot be read; the message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{}: cannot read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: is no regular file", path.display())]
    NoFile { path: PathBuf },
    #[error("{}: is being written all the time", path.display())]
    BeingWritten { path: PathBuf },
    #[error("{}: larger than {} MiB", path.display(), MAX_BYTES / 1024 / 1024)]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: not UTF-8 text", path.display())]
    NotText { path: PathBuf, line: u64 },
    #[error("{fault}{}", others(*more))]
    NothingUnderstood { fault: String, more: usize },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}

impl ManifestError {
    /// Returns the message without the path.
    #[must_use]
    pub fn problem(&self) -> String {
        let text = self.to_string();
        let path = match self {
            Self::Unreadable { path, .. }
            | Self::NoFile { path }
            | Self::BeingWritten { path }
            | Self::TooLarge { path }
            | Self::NotText { path, .. } => format!("{}:", path.display()),
            Self::NothingUnderstood { .. } => String::new(),
        };
        text.strip_prefix(&path).unwrap_or(&text).trim_start().to_owned()
    }
}

/// Path, inode, size and modification time of a file.
type Print = (PathBuf, u64, u64, i64, i64);

/// Metadata of the manifests at a path, to detect writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prints(Vec<Print>);

impl Prints {
    /// Reads the metadata of every file that would be read now.
    ///
    /// # Errors
    /// When a file or directory cannot be read, and for a FIFO, a socket or a device, which may never end.
    pub fn of(path: &Path) -> Result<Self, ManifestError> {
        let print = |file: PathBuf| {
            let meta = fs::metadata(&file)
                .map_err(|source| ManifestError::Unreadable { path: file.clone(), source })?;
            if !meta.is_file() {
                return Err(ManifestError::NoFile { path: file });
            }
            Ok((file, meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        manifests(path)?.into_iter().map(print).collect::<Result<_, _>>().map(Self)
    }

    /// True if every file was last written more than `age` ago.
    #[must_use]
    pub fn are_older_than(&self, age: Duration, now: Timestamp) -> bool {
        let latest = (now.as_nanosecond()).saturating_sub_unsigned(age.as_nanos());
        let written =
            |print: &Print| i128::from(print.3).saturating_mul(1_000_000_000).saturating_add(print.4.into());
        self.0.iter().all(|print| written(print) < latest)
    }
}

/// True if the path is a directory.
///
/// # Errors
/// If it cannot be read.
pub fn is_directory(path: &Path) -> Result<bool, ManifestError> {
    let meta = fs::metadata(path);
    Ok(meta.map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?.is_dir())
}

/// Returns the files of manifests at a path: the path itself, or the visible ones of a directory, in order. Kubernetes keeps
/// the files of a mounted ConfigMap in a hidden directory, and links to them.
///
/// # Errors
/// If the path cannot be read.
pub fn manifests(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    if !is_directory(path)? {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let file = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let known =
            file.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if known && !is_hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read, is too large, or no text.
pub fn text_of(path: &Path) -> Result<String, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ManifestError::NoFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(ManifestError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        ManifestError::NotText { path: path.to_owned(), line: u64::try_from(line).unwrap_or(u64::MAX) }
    })
}

#[cfg(test)]
mod tests {
    use crate::source::pods::file::read;

    #[test]
    fn a_directory_is_read_without_what_is_hidden_or_broken() {
        let scratch = std::env::temp_dir().join(format!("portolan-directory-{}", std::process::id()));
        let data = scratch.join("..2026_01_01");
        std::fs::create_dir_all(&data).expect("a directory");
        let pod = |name: &str| {
            format!("kind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c}}]}}\n")
        };
        std::fs::write(data.join("linked.yaml"), pod("linked")).expect("written");
        std::os::unix::fs::symlink("..2026_01_01", scratch.join("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/linked.yaml", scratch.join("linked.yaml")).expect("a link");
        std::fs::write(scratch.join(".hidden.yaml"), pod("hidden")).expect("written");
        std::fs::write(scratch.join("notes.txt"), "no manifest").expect("written");
        std::fs::write(scratch.join("broken.yaml"), [0xff, 0xfe]).expect("written");
        let reading = read(&scratch).expect("read");
        std::fs::remove_dir_all(&scratch).expect("clean");
        assert_eq!(reading.objects.pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["linked"]);
        let [fault] = reading.faults.as_slice() else { panic!("one fault: {:?}", reading.faults) };
        assert!(fault.to_string().ends_with("broken.yaml: 1: not UTF-8 text"), "{fault}");
    }
}
