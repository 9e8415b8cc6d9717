//! Parses the text of manifests: YAML documents and lists, Pods and the workloads whose template makes pods. Does no IO;
//! errors name the line and what was expected.

use std::collections::BTreeMap;

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::netns::canonical;
use portolan_engine::model::pod::{Pod, Workload, hides_sockets};
use serde::de::DeserializeOwned;

use super::Objects;
use super::containers::{apply_status, containers_of};
use super::fields::{Named, annotations, strings};
use super::invalid::{Invalid, invalid};
use super::others::{namespace_of, policy_of, service_of};
use super::schema::{Condition, Head, List, Meta, Object, Spec, Status};
use crate::config::yaml_error;
use crate::source::pods::owner::workload;

/// Annotation that binds a pod to a netns.
pub(super) const NETNS_ANNOTATION: &str = "portolan.dev/netns";
const NETNS_DIR: &str = "/run/netns/";
/// Annotation of a mirror pod with the UID that kubelet gave the static pod. The object's own UID is that of the mirror.
const STATIC_UID: &str = "kubernetes.io/config.mirror";
/// Kinds whose `spec.template` makes pods.
const TEMPLATED: [&str; 6] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];

/// Parses all objects in `text`. Kinds that the agent does not read are skipped.
pub(super) fn parse(text: &str) -> Result<Objects, Invalid> {
    let mut objects = Objects::default();
    for document in documents(text) {
        let found = document.objects(&mut objects);
        found.map_err(|error| Invalid { line: error.line + document.before, ..error })?;
    }
    Ok(objects)
}

/// One YAML document.
struct Document {
    text: String,
    /// Number of lines before the document.
    before: u64,
}

/// Splits the text at each line that begins with `---`, also within a block scalar.
fn documents(text: &str) -> Vec<Document> {
    // JSON may be indented by tabs, YAML may not; within JSON's strings a raw tab is not allowed.
    let is_json = text.trim_start().starts_with('{');
    let mut documents = vec![Document { text: String::new(), before: 0 }];
    for (before, line) in (0..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if let Some(rest) = marker {
            documents.push(Document { text: format!("   {rest}"), before });
        } else if let Some(document) = documents.last_mut() {
            document.text.push_str(&if is_json { line.replace('\t', " ") } else { line.to_owned() });
        }
    }
    documents.retain(|document| !is_empty(&document.text));
    documents
}

fn is_empty(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "..."
    })
}

impl Document {
    fn objects(&self, objects: &mut Objects) -> Result<(), Invalid> {
        let first = self.text.lines().take_while(|line| is_empty(line)).count();
        let first = u64::try_from(first).unwrap_or(0) + 1;
        let head: Head = from_yaml(&self.text, first)?;
        let Some(kind) = head.kind else {
            return invalid(first, "kind is missing: expected a Kubernetes object such as Pod or Deployment");
        };
        let listed = kind.value.strip_suffix("List");
        if listed.is_some_and(|listed| listed.is_empty() || is_known(listed)) {
            let list: List = from_yaml(&self.text, first)?;
            for item in list.items.unwrap_or_default() {
                let default = listed.unwrap_or_default();
                take(&item.value, default, item.referenced.line(), objects)?;
            }
        } else if is_known(&kind.value) {
            let object: Object = from_yaml(&self.text, first)?;
            take(&object, &kind.value, first, objects)?;
        }
        Ok(())
    }
}

fn is_known(kind: &str) -> bool {
    makes_pods(kind) || matches!(kind, "Service" | "NetworkPolicy" | "Namespace")
}

fn makes_pods(kind: &str) -> bool {
    kind == "Pod" || kind == "CronJob" || TEMPLATED.contains(&kind)
}

fn take(object: &Object, kind: &str, line: u64, objects: &mut Objects) -> Result<(), Invalid> {
    let kind = object.kind.as_deref().unwrap_or(kind);
    if !is_known(kind) {
        return Ok(());
    }
    let Some(meta) = &object.metadata else {
        return invalid(line, "metadata is missing: expected metadata.name");
    };
    let Some(name) = meta.name.as_ref().map(|name| name.value.clone()).filter(|name| !name.is_empty()) else {
        return invalid(line, format!("metadata.name is missing: expected the name of the {kind}"));
    };
    let namespace = meta.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let named = Named { namespace, name, line };
    match kind {
        "Service" => objects.services.push(service_of(object, named)?),
        "NetworkPolicy" => objects.policies.extend(policy_of(object, named)?),
        "Namespace" => objects.namespaces.push(namespace_of(meta, named)),
        _ => objects.pods.push(pod_of(object, meta, kind, named)?),
    }
    Ok(())
}

fn from_yaml<T: DeserializeOwned>(text: &str, first: u64) -> Result<T, Invalid> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, problem) = yaml_error::fault(&error, text);
        Invalid { line: line.unwrap_or(first), problem }
    })
}

fn pod_of(object: &Object, meta: &Meta, kind: &str, named: Named) -> Result<Pod, Invalid> {
    let Named { namespace, name, line } = named;
    let (template, spec) = template_of(object, kind, line)?;
    let labels = strings(template.and_then(|meta| meta.labels.as_ref()).or(meta.labels.as_ref()));
    let host_network = spec.host_network.unwrap_or(false);
    let annotation = [template, Some(meta)].into_iter().flatten().find_map(netns_annotation);
    // Once the process has ended, another process may get its id, and the path would name that one's netns.
    if let Some(path) = annotation.as_deref().filter(|path| path.starts_with("/proc/")) {
        return invalid(
            line,
            format!(
                "{NETNS_ANNOTATION} of {kind} {name} is {path}, which ends with the process: expected a name in {NETNS_DIR} \
                 or a path in a directory of --netns-dir"
            ),
        );
    }
    let mut containers = containers_of(spec, line)?;
    let status = object.status.as_ref().filter(|_| kind == "Pod");
    if let Some(status) = status {
        apply_status(&mut containers, status);
    }
    let (uid, mirror) = uids(meta, &format!("manifest/{kind}/{namespace}/{name}").to_lowercase());
    Ok(Pod {
        uid,
        workload: if kind == "Pod" {
            owner_of(meta, &labels)
        } else {
            Some(Workload { kind: kind.to_owned(), name: name.clone() })
        },
        namespace,
        name,
        host_network,
        labels,
        annotations: annotations(template.unwrap_or(meta)),
        containers,
        addresses: status.map(addresses_of).unwrap_or_default(),
        netns_path: annotation.filter(|_| !host_network),
        mirror,
        ready: status.and_then(ready),
        opaque_runtime: spec.runtime_class_name.clone().filter(|class| hides_sockets(class)),
    })
}

/// Returns the pod's UID, and the UID of its mirror if the object is a mirror.
fn uids(meta: &Meta, fallback: &str) -> (PodUid, Option<PodUid>) {
    let uid = meta.uid.as_deref().filter(|uid| !uid.is_empty()).unwrap_or(fallback).to_owned();
    let hash = meta.annotations.as_ref().and_then(|all| all.get(STATIC_UID)?.clone());
    match hash.filter(|hash| !hash.is_empty() && *hash != uid) {
        Some(hash) => (PodUid(hash), Some(PodUid(uid))),
        None => (PodUid(uid), None),
    }
}

fn ready(status: &Status) -> Option<bool> {
    let is = |condition: &&Condition| condition.condition_type.as_deref() == Some("ContainersReady");
    let condition = status.conditions.iter().flatten().find(is)?;
    Some(condition.status.as_deref() == Some("True"))
}

/// Metadata and spec of the pods that an object makes; a Pod's own spec.
fn template_of<'a>(
    object: &'a Object,
    kind: &str,
    line: u64,
) -> Result<(Option<&'a Meta>, &'a Spec), Invalid> {
    let missing = |what: &str| Invalid {
        line,
        problem: format!("{what} is missing: expected the spec of the {kind}'s pods"),
    };
    let spec = object.spec.as_ref().ok_or_else(|| missing("spec"))?;
    if kind == "Pod" {
        return Ok((None, spec));
    }
    let spec = match kind {
        "CronJob" => {
            let job = spec.job_template.as_ref().and_then(|job| job.spec.as_ref());
            job.ok_or_else(|| missing("spec.jobTemplate.spec"))?
        }
        _ => spec,
    };
    let template = spec.template.as_ref().ok_or_else(|| missing("spec.template"))?;
    let pod = template.spec.as_ref().ok_or_else(|| missing("spec.template.spec"))?;
    Ok((template.metadata.as_ref(), pod))
}

/// Returns the controller, or the Deployment behind a ReplicaSet that carries the template's hash in its name.
fn owner_of(meta: &Meta, labels: &BTreeMap<String, String>) -> Option<Workload> {
    let owner = meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    Some(workload(&owner.kind, &owner.name, labels.get("pod-template-hash").map(String::as_str)))
}

fn netns_annotation(meta: &Meta) -> Option<String> {
    let value = meta.annotations.as_ref()?.get(NETNS_ANNOTATION)?.as_deref()?;
    match value {
        "" => None,
        path if path.starts_with('/') => Some(canonical(path).to_owned()),
        name => Some(format!("{NETNS_DIR}{name}")),
    }
}

fn addresses_of(status: &Status) -> Vec<std::net::IpAddr> {
    let many = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_deref());
    let mut addresses: Vec<std::net::IpAddr> =
        status.pod_ip.as_deref().into_iter().chain(many).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
