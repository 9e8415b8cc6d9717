//! Pods from a file, or a directory, of Kubernetes manifests: for use without Kubernetes, and for scans. A broken file is
//! one line of error; the last good state stays.

mod manifest;
mod schema;
mod watch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use self::watch::watch;
use crate::engine::pod::Pod;

/// Largest file that is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What is wrong with a manifest; the message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{}: cannot read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: larger than {} MiB", path.display(), MAX_BYTES / 1024 / 1024)]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: {problem}", path.display())]
    Invalid { path: PathBuf, line: u64, problem: String },
}

/// Reads the manifests at `path`: one file, or every `*.yaml`, `*.yml` and `*.json` of a directory.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(path: &Path) -> Result<Vec<Pod>, ManifestError> {
    let mut pods = BTreeMap::new();
    for file in files(path)? {
        let text = text_of(&file)?;
        let found = manifest::parse(&text).map_err(|invalid| ManifestError::Invalid {
            path: file.clone(),
            line: invalid.line,
            problem: invalid.problem,
        })?;
        pods.extend(found.into_iter().map(|pod| (pod.uid.clone(), pod)));
    }
    Ok(pods.into_values().collect())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let known =
            file.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if known && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn text_of(path: &Path) -> Result<String, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(ManifestError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        ManifestError::Invalid {
            path: path.to_owned(),
            line: u64::try_from(line).unwrap_or(u64::MAX),
            problem: "not UTF-8 text".to_owned(),
        }
    })
}
