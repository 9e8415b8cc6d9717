//! What a reading of manifests gives: the objects, the faults of those that cannot be understood, and remarks on those that
//! are read but look like a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use portolan_engine::model::pod::Pod;
use portolan_engine::read::plain_text::escape;
use serde_json::Value;

use super::documents::{self, Items, Listed, Written};
use super::object_name::{ObjectName, name_of_pod};
use super::objects::Objects;
use crate::config::nearest_name::nearest_name;
use crate::source::kubernetes::objects::fault::{Fault, parse};
use crate::source::kubernetes::objects::fields::{Cuts, Fields};
use crate::source::kubernetes::objects::metadata::DEFAULT_NAMESPACE;
use crate::source::kubernetes::objects::namespace::namespace;
use crate::source::kubernetes::objects::network_policy::{network_policy, unreadable};
use crate::source::kubernetes::objects::object::Object;
use crate::source::kubernetes::objects::object_kind::ObjectKind;
use crate::source::kubernetes::objects::pod::{NETNS_ANNOTATION, pod};
use crate::source::kubernetes::objects::service::service;
use crate::source::kubernetes::objects::workload::{CronJobSpec, WorkloadSpec, template_pod};

/// Maximum number of remarks that are kept of one reading.
const MAX_REMARKS: usize = 64;
/// Where an object may have the annotation that binds its pods to a netns.
const BINDINGS: [&str; 3] = [
    "/metadata/annotations",
    "/spec/template/metadata/annotations",
    "/spec/jobTemplate/spec/template/metadata/annotations",
];

/// The objects of manifests, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub objects: Objects,
    pub faults: Vec<ObjectFault>,
    /// What is read but looks like a mistake, one line each.
    pub remarks: Vec<String>,
    /// Number of parts of objects that exceed a limit.
    pub cuts: u64,
}

/// An object that cannot be understood, or a text that is no object; the message is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFault {
    pub file: PathBuf,
    /// Line of the object, from 1; `None` for a fault of the file.
    pub line: Option<u64>,
    /// `None` where not even the name can be understood.
    pub object: Option<ObjectName>,
    pub problem: String,
}

impl fmt::Display for ObjectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", escape(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(object) = &self.object {
            write!(f, " {object}:")?;
        }
        write!(f, " {}", escape(&self.problem))
    }
}

/// Reads one file after the other.
#[derive(Debug, Default)]
pub struct Reader {
    reading: Reading,
    /// Number of names that were made of each `generateName`, by kind and namespace.
    generated: BTreeMap<(String, String, String), u32>,
    /// Place of the pods so far, for messages.
    places: BTreeMap<ObjectName, (PathBuf, u64)>,
}

/// The object that is being read.
struct Place<'a> {
    file: &'a Path,
    line: u64,
}

impl Reader {
    /// Reads the text of a file.
    pub fn text(&mut self, file: &Path, text: &str) {
        documents::read(text, |written| match written {
            Written::Object { line, value, listed } => {
                self.value(&Place { file, line }, value, listed.as_ref())
            }
            Written::Fault { line, problem } => self.fault(&Place { file, line }, None, problem),
        });
    }

    /// Adds the fault of a file as a whole.
    pub fn file_fault(&mut self, file: &Path, problem: String) {
        self.reading.faults.push(ObjectFault { file: file.to_owned(), line: None, object: None, problem });
    }

    /// Returns what was read. Of several objects with one identity the last counts.
    #[must_use]
    pub fn finish(mut self) -> Reading {
        self.reading.objects.keep_last_of_each();
        self.refuse_shared_netns();
        self.reading
    }

    fn fault(&mut self, place: &Place<'_>, object: Option<ObjectName>, problem: String) {
        let (file, line) = (place.file.to_owned(), Some(place.line));
        self.reading.faults.push(ObjectFault { file, line, object, problem });
    }

    /// Reads one object, or each item of a list. Nothing (`null`) is skipped.
    fn value(&mut self, place: &Place<'_>, mut value: Value, listed: Option<&Listed>) {
        if value.is_null() {
            return;
        }
        if !value.is_object() {
            let problem = "expected a Kubernetes object with apiVersion, kind and metadata".to_owned();
            return self.fault(place, None, problem);
        }
        let own = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = own("kind").or(listed.map(|listed| listed.kind.as_str())).map(str::to_owned);
        let version = own("apiVersion").or(listed.and_then(|listed| listed.api_version.as_deref()));
        let version = version.map(str::to_owned);
        let Some(kind) = kind else {
            let problem =
                "kind is missing: expected a Kubernetes object such as Pod or Deployment".to_owned();
            return self.fault(place, None, problem);
        };
        if let Some(items) = Items::of(version.as_deref(), &kind) {
            let listed = items.listed();
            let items = value.get_mut("items").map(Value::take);
            return match items {
                None | Some(Value::Null) => {}
                Some(Value::Array(items)) => {
                    items.into_iter().for_each(|item| self.value(place, item, listed.as_ref()));
                }
                Some(_) => self.fault(place, None, format!("items of the {kind} is no list")),
            };
        }
        match ObjectKind::of(version.as_deref(), &kind) {
            Some(known) => self.object(place, known, value),
            None => self.unread(place, version.as_deref(), &kind, &value),
        }
    }

    fn object(&mut self, place: &Place<'_>, kind: ObjectKind, mut value: Value) {
        self.generate_name(kind, &mut value);
        let name = name_of(kind, &value);
        let mut cuts = Cuts::default();
        if let Err(fault) = self.convert(kind, &value, &mut cuts) {
            if let (ObjectKind::NetworkPolicy, Some(name)) = (kind, &name) {
                let policy = unreadable(name.namespace.clone(), name.name.clone());
                self.reading.objects.policies.push(policy);
            }
            self.fault(place, name, fault.to_string());
        } else if let Some(name) = name.filter(|_| kind.makes_pods()) {
            self.places.insert(name, (place.file.to_owned(), place.line));
        }
        self.reading.cuts = self.reading.cuts.saturating_add(cuts.0);
        if !kind.makes_pods() && is_bound(&value) {
            let what = format!(
                "a {} has no pods, so its annotation {NETNS_ANNOTATION} binds nothing",
                kind.as_str()
            );
            self.remark(place, &what);
        }
    }

    /// Converts one object, and keeps what the engine needs of it.
    fn convert(&mut self, kind: ObjectKind, value: &Value, cuts: &mut Cuts) -> Result<(), Fault> {
        let objects = &mut self.reading.objects;
        match kind {
            ObjectKind::Pod => {
                let Object { metadata, spec, status } = parse(value)?;
                objects.pods.extend(pod(metadata.0, spec, status, cuts)?);
            }
            ObjectKind::Workload(name) => {
                let Object::<WorkloadSpec, Ignored> { metadata, spec, .. } = parse(value)?;
                objects.pods.push(template_pod(name, "spec.template", &metadata.0, spec, cuts)?);
            }
            ObjectKind::CronJob => {
                let Object::<CronJobSpec, Ignored> { metadata, spec, .. } = parse(value)?;
                let spec = spec.map(|Fields(spec)| Fields(spec.into()));
                let path = "spec.jobTemplate.spec.template";
                objects.pods.push(template_pod(kind.as_str(), path, &metadata.0, spec, cuts)?);
            }
            ObjectKind::Service => {
                objects.services_known = true;
                let Object { metadata, spec, status } = parse(value)?;
                objects.services.push(service(&metadata.0, spec, status, cuts)?);
            }
            ObjectKind::NetworkPolicy => {
                objects.policies_known = true;
                let Object::<_, Ignored> { metadata, spec, .. } = parse(value)?;
                objects.policies.extend(network_policy(&metadata.0, spec)?);
            }
            ObjectKind::Namespace => {
                let Object::<Ignored, Ignored> { metadata, .. } = parse(value)?;
                objects.namespaces.push(namespace(metadata.0, cuts)?);
            }
        }
        Ok(())
    }

    /// Gives an object that has a prefix of a name only a name, which stays the same as long as the file has as many such
    /// objects before it.
    fn generate_name(&mut self, kind: ObjectKind, value: &mut Value) {
        let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(prefix) = text("generateName").filter(|_| text("name").is_none()) else { return };
        let namespace = text("namespace").unwrap_or(DEFAULT_NAMESPACE);
        let key = (kind.as_str().to_owned(), namespace.to_owned(), prefix.to_owned());
        let name = {
            let count = self.generated.entry(key).or_default();
            *count = count.saturating_add(1);
            format!("{prefix}generated-{count}")
        };
        metadata.insert("name".to_owned(), Value::String(name));
    }

    /// Remarks on an object that is not read, but is meant to be: it has the annotation that binds a pod.
    fn unread(&mut self, place: &Place<'_>, version: Option<&str>, kind: &str, value: &Value) {
        if !is_bound(value) {
            return;
        }
        let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let advice = match nearest_name(kind, ObjectKind::names_that_make_pods()) {
            Some(near) if near != kind => format!("did you mean {near}?"),
            _ => "expected a Pod, or a workload of Kubernetes itself".to_owned(),
        };
        let version = version.map(|version| format!(" of {version}")).unwrap_or_default();
        let what = format!(
            "{kind} {name} has the annotation {NETNS_ANNOTATION}, but the kind {kind}{version} is not read: {advice}"
        );
        self.remark(place, &what);
    }

    fn remark(&mut self, place: &Place<'_>, what: &str) {
        if self.reading.remarks.len() < MAX_REMARKS {
            let file = place.file.to_string_lossy();
            self.reading.remarks.push(format!("{}:{}: {}", escape(&file), place.line, escape(what)));
        }
    }

    /// Leaves out pods that name one netns: the later one would take over the ports of the other, and be judged for them.
    fn refuse_shared_netns(&mut self) {
        let mut by_netns: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in &self.reading.objects.pods {
            if let Some(netns) = &pod.netns_path {
                by_netns.entry(netns).or_default().push(pod);
            }
        }
        let mut refused = BTreeSet::new();
        for (netns, pods) in by_netns {
            let [first, second, ..] = pods.as_slice() else { continue };
            let label = |pod: &Pod| format!("{}/{}", pod.namespace, pod.name);
            let problem = format!(
                "the pods {} and {} both name the network namespace {netns}: expected one pod for each",
                label(first),
                label(second)
            );
            refused.extend(pods.iter().map(|pod| (pod.uid.clone(), name_of_pod(pod), problem.clone())));
        }
        self.reading.objects.pods.retain(|pod| !refused.iter().any(|(uid, _, _)| *uid == pod.uid));
        for (_, name, problem) in refused {
            let place = self.places.get(&name).cloned();
            let (file, line) =
                place.map_or_else(|| (PathBuf::new(), None), |(file, line)| (file, Some(line)));
            self.reading.faults.push(ObjectFault { file, line, object: Some(name), problem });
        }
    }
}

type Ignored = serde::de::IgnoredAny;

/// Returns the name of an object that may be faulty elsewhere.
fn name_of(kind: ObjectKind, value: &Value) -> Option<ObjectName> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some(ObjectName {
        kind: kind.as_str().to_owned(),
        namespace: text("/metadata/namespace").unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        name: text("/metadata/name")?.to_owned(),
    })
}

fn is_bound(value: &Value) -> bool {
    BINDINGS.iter().any(|path| value.pointer(path).and_then(|all| all.get(NETNS_ANNOTATION)).is_some())
}
