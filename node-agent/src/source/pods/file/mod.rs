//! Source of Pods, Services, NetworkPolicies and namespaces: a file or a directory of Kubernetes manifests, for use without
//! Kubernetes and for scans. An object that cannot be understood is named and left out; the others count.

mod documents;
mod manifest_files;
mod object_name;
mod objects;
mod reading;
mod watch;

use std::path::Path;

use portolan_engine::model::pod::PodSource;

pub use self::manifest_files::ManifestError;
use self::manifest_files::{is_directory, manifests, text_of};
pub use self::objects::Objects;
use self::reading::Reader;
pub use self::reading::{ObjectFault, Reading};
pub use self::watch::{read_complete, watch};

/// This source, in the engine's inputs.
pub const SOURCE: PodSource = PodSource::File;

/// Reads the manifests at `path`: one file, or every visible `*.yaml`, `*.yml` and `*.json` of a directory.
///
/// # Errors
/// If the path or the directory cannot be read, or if nothing but faults is there. A file of a directory that cannot be read
/// is one of the faults.
pub fn read(path: &Path) -> Result<Reading, ManifestError> {
    let is_directory = is_directory(path)?;
    let mut reader = Reader::default();
    for file in manifests(path)? {
        match text_of(&file) {
            Ok(text) => reader.text(&file, &text),
            Err(error) if is_directory => reader.file_fault(&file, error.problem()),
            Err(error) => return Err(error),
        }
    }
    let reading = reader.finish();
    match reading.faults.as_slice() {
        [first, more @ ..] if reading.objects.is_empty() => {
            Err(ManifestError::NothingUnderstood { fault: first.to_string(), more: more.len() })
        }
        _ => Ok(reading),
    }
}

/// Parses the text of one file.
#[must_use]
pub fn parse(path: &Path, text: &str) -> Reading {
    let mut reader = Reader::default();
    reader.text(path, text);
    reader.finish()
}

/// Returns the netns to which pods are bound, but which do not exist, with the names of the pods.
pub fn missing_netns<'a>(
    objects: &'a Objects,
    exists: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    objects.pods.iter().filter_map(move |pod| {
        let netns = pod.netns_path.as_deref().filter(|netns| !exists(netns))?;
        let name = object_name::name_of_pod(pod);
        Some(format!(
            "{name} names the network namespace {netns}, which does not exist, or is in no directory of --netns-dir: its ports are \
             not judged"
        ))
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
