//! `metadata` of an object.

use std::collections::BTreeMap;

use portolan_engine::model::pod::Workload;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::Fault;
use super::fields::{Cuts, Fields, List, MAX_NAME};
use super::labels::{Texts, labels};
use crate::source::pods::owner::workload;

/// Namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Prefixes of the annotations that the agent reads.
const READ: [&str; 2] = ["prometheus.io/", "portolan.dev/"];
/// Domains of the annotations of service meshes; subdomains count as well.
const MESHES: [&str; 4] = ["istio.io", "linkerd.io", "kuma.io", "consul.hashicorp.com"];
/// Maximum length of an annotation's value, in bytes; those that the agent reads are short.
pub const MAX_ANNOTATION: usize = 1024;
/// Maximum number of annotations that are kept of an object.
pub const MAX_ANNOTATIONS: usize = 64;

/// The fields of `metadata` that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: Option<String>,
    /// Prefix of the name that the API server makes of it.
    pub generate_name: Option<String>,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// Set once the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
    pub labels: Texts,
    pub annotations: Texts,
    pub owner_references: List<Fields<Owner>>,
    /// Token of the next page of a list.
    #[serde(rename = "continue")]
    pub next_page: Option<String>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    pub kind: Option<String>,
    pub name: Option<String>,
    pub controller: Option<bool>,
}

impl Metadata {
    /// Returns the value of one annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.0.get(key).map(String::as_str)
    }

    /// Forgets one annotation.
    pub fn remove_annotation(&mut self, key: &str) {
        self.annotations.0.remove(key);
    }

    /// Returns the name.
    ///
    /// # Errors
    /// If the object has none, or one longer than Kubernetes allows.
    pub fn name(&self) -> Result<String, Fault> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Fault::missing("metadata.name"))?;
        within_name("metadata.name", name)
    }

    /// Returns namespace and name.
    ///
    /// # Errors
    /// As [`Self::name`].
    pub fn key(&self) -> Result<(String, String), Fault> {
        let namespace = self.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let namespace = within_name("metadata.namespace", namespace.unwrap_or(DEFAULT_NAMESPACE))?;
        Ok((namespace, self.name()?))
    }

    /// Takes the labels.
    ///
    /// # Errors
    /// If they exceed the limits of Kubernetes.
    pub fn take_labels(&mut self, path: &str) -> Result<BTreeMap<String, String>, Fault> {
        labels(path, std::mem::take(&mut self.labels))
    }

    /// Takes the annotations that the agent reads.
    pub fn take_annotations(&mut self, cuts: &mut Cuts) -> BTreeMap<String, String> {
        let all = std::mem::take(&mut self.annotations).0.into_iter();
        let read: Vec<_> = all.filter(|(key, _)| is_read(key)).collect();
        cuts.beyond(read.len(), MAX_ANNOTATIONS);
        let kept = read.into_iter().take(MAX_ANNOTATIONS);
        kept.filter_map(|(key, value)| {
            Some((cuts.short(key, MAX_NAME * 2)?, cuts.short(value, MAX_ANNOTATION)?))
        })
        .collect()
    }

    /// Returns the controller, or what is behind it if a rollout replaces it, such as the Deployment of a ReplicaSet.
    #[must_use]
    pub fn controller(&self, labels: &BTreeMap<String, String>) -> Option<Workload> {
        let owner = self.owner_references.0.iter().map(|owner| &owner.0);
        let owner = owner.into_iter().find(|owner| owner.controller == Some(true))?;
        let (kind, name) = (owner.kind.as_deref()?, owner.name.as_deref()?);
        Some(workload(kind, name, labels))
    }

    /// True if the node owns the object. Kubelet sets the node as owner of every mirror of a static pod.
    #[must_use]
    pub fn is_owned_by_node(&self, node: &str) -> bool {
        self.owner_references.0.iter().any(|Fields(owner)| {
            (owner.kind.as_deref(), owner.name.as_deref()) == (Some("Node"), Some(node))
                && owner.controller == Some(true)
        })
    }
}

fn within_name(path: &str, name: &str) -> Result<String, Fault> {
    if name.len() > MAX_NAME {
        return Err(Fault::new(path, format!("has more than {MAX_NAME} characters")));
    }
    Ok(name.to_owned())
}

/// True for an annotation that the agent reads: its own, Prometheus', and those of service meshes.
#[must_use]
pub fn is_read(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    READ.iter().any(|start| key.starts_with(start))
        || MESHES
            .iter()
            .any(|mesh| domain.strip_suffix(mesh).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}
