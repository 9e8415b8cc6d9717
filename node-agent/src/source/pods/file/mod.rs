//! Source of Pods, Services, NetworkPolicies and namespaces: a file or a directory of Kubernetes manifests, for use without
//! Kubernetes and for scans. An invalid file is reported in one line, and the last valid state stays.

mod containers;
mod fields;
mod invalid;
mod manifest;
mod others;
mod schema;
mod watch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

pub use self::watch::watch;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::NetworkPolicy;
use portolan_engine::model::pod::{Pod, PodSource};
use portolan_engine::model::service::Service;

/// This source, in the engine's inputs.
pub const SOURCE: PodSource = PodSource::File;
/// Annotation that binds a pod to its netns.
pub const NETNS_ANNOTATION: &str = manifest::NETNS_ANNOTATION;
/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
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
    #[error("{}:{line}: {problem}", path.display())]
    Invalid { path: PathBuf, line: u64, problem: String },
    #[error(
        "{}: the pods {first} and {second} both name the network namespace {netns}: expected one pod for each",
        path.display()
    )]
    SharedNetns { path: PathBuf, first: String, second: String, netns: String },
}

/// The objects of all manifests; of several objects with one identity, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    pub policies: Vec<NetworkPolicy>,
    pub namespaces: Vec<Namespace>,
}

impl Objects {
    /// Returns the engine's inputs that lead from `before` to these objects. A kind without an
    /// object stays unknown, since a file without a NetworkPolicy does not mean that the cluster has none. If `before` had
    /// objects of the kind, the kind becomes unavailable.
    #[must_use]
    pub fn inputs(self, before: Option<&Self>) -> Vec<Input> {
        let Self { pods, services, policies, namespaces } = self;
        let first = before.is_none();
        let before = before.cloned().unwrap_or_default();
        let mut inputs = Vec::new();
        // Pods come last, so that no port is judged before the objects that declare and admit it are known.
        inputs.extend(listing(namespaces, &before.namespaces).map(Input::Namespaces));
        inputs.extend(listing(services, &before.services).map(Input::Services));
        inputs.extend(listing(policies, &before.policies).map(Input::NetworkPolicies));
        if first || pods != before.pods {
            inputs.push(Input::Pods { source: SOURCE, pods });
        }
        inputs
    }
}

fn listing<T: PartialEq>(now: Vec<T>, before: &[T]) -> Option<Listing<T>> {
    if now == before {
        None
    } else if now.is_empty() {
        Some(Listing::Unavailable)
    } else {
        Some(Listing::All(now))
    }
}

/// Reads the manifests at `path`: one file, or every `*.yaml`, `*.yml` and `*.json` of a directory.
///
/// # Errors
/// The first fault.
pub fn read(path: &Path) -> Result<Objects, ManifestError> {
    let mut objects = Objects::default();
    for file in files(path)? {
        let text = text_of(&file)?;
        let found = parse(&file, &text)?;
        objects.pods.extend(found.pods);
        objects.services.extend(found.services);
        objects.policies.extend(found.policies);
        objects.namespaces.extend(found.namespaces);
    }
    let named = |namespace: &String, name: &String| (namespace.clone(), name.clone());
    objects.pods = last_of_each(objects.pods, |pod| pod.uid.clone());
    one_pod_for_each_netns(path, &objects.pods)?;
    objects.services = last_of_each(objects.services, |one| named(&one.namespace, &one.name));
    objects.policies = last_of_each(objects.policies, |one| named(&one.namespace, &one.name));
    objects.namespaces = last_of_each(objects.namespaces, |one| one.name.clone());
    Ok(objects)
}

/// Refuses two pods with one netns: the later pod would take over the ports of the other, and be judged for them.
fn one_pod_for_each_netns(path: &Path, pods: &[Pod]) -> Result<(), ManifestError> {
    let mut known = BTreeMap::new();
    for pod in pods {
        let Some(netns) = &pod.netns_path else { continue };
        let second = format!("{}/{}", pod.namespace, pod.name);
        if let Some(first) = known.insert(netns, second.clone()) {
            return Err(ManifestError::SharedNetns {
                path: path.to_owned(),
                first,
                second,
                netns: netns.clone(),
            });
        }
    }
    Ok(())
}

/// Parses the text of one file.
///
/// # Errors
/// The first fault.
pub fn parse(path: &Path, text: &str) -> Result<Objects, ManifestError> {
    manifest::parse(text).map_err(|invalid| ManifestError::Invalid {
        path: path.to_owned(),
        line: invalid.line,
        problem: invalid.problem,
    })
}

/// Path, inode, size and modification time of a file.
type Print = (PathBuf, u64, u64, i64, i64);

/// Metadata of the manifests at a path, to detect writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prints(Vec<Print>);

impl Prints {
    /// Reads the metadata of every file that [`read`] would read now.
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
        files(path)?.into_iter().map(print).collect::<Result<_, _>>().map(Self)
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

fn last_of_each<T, K: Ord>(all: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let each: BTreeMap<K, T> = all.into_iter().map(|one| (key(&one), one)).collect();
    each.into_values().collect()
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
