//! The text of manifests into pods: documents and lists, Pods and the workloads whose template makes them. Pure; what is
//! wrong is told with its line and what was expected.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use super::schema::{ContainerSpec, Head, List, Meta, Object, Port, Spec, Status};
use crate::engine::identity::{PodUid, Protocol};
use crate::engine::pod::{Container, ContainerKind, DeclaredPort, Pod, Workload};
use crate::source::netns::candidates::canonical;
use crate::source::pods::owner::workload;

const NETNS_ANNOTATION: &str = "portolan.dev/netns";
const NETNS_DIR: &str = "/run/netns/";
const TEMPLATED: [&str; 6] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub line: u64,
    pub problem: String,
}

fn invalid<T>(line: u64, problem: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { line, problem: problem.into() })
}

/// All pods of `text`; other kinds are skipped.
pub(super) fn parse(text: &str) -> Result<Vec<Pod>, Invalid> {
    let mut pods = Vec::new();
    for document in documents(text) {
        document.pods(&mut pods).map_err(|error| Invalid { line: error.line + document.before, ..error })?;
    }
    Ok(pods)
}

/// One YAML document and the number of lines before it.
struct Document {
    text: String,
    before: u64,
}

/// A line that begins with `---` always separates documents, also within a block scalar.
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
    fn pods(&self, pods: &mut Vec<Pod>) -> Result<(), Invalid> {
        let first = self.text.lines().take_while(|line| is_empty(line)).count();
        let first = u64::try_from(first).unwrap_or(0) + 1;
        let head: Head = from_yaml(&self.text, first)?;
        let Some(kind) = head.kind else {
            return invalid(first, "kind is missing: expected a Kubernetes object such as Pod or Deployment");
        };
        if matches!(kind.value.as_str(), "List" | "PodList")
            || kind.value.ends_with("List") && is_known(kind.value.trim_end_matches("List"))
        {
            let list: List = from_yaml(&self.text, first)?;
            for item in list.items.unwrap_or_default() {
                let default = kind.value.trim_end_matches("List");
                pods.extend(pod_of(&item.value, default, item.referenced.line())?);
            }
        } else if is_known(&kind.value) {
            let object: Object = from_yaml(&self.text, first)?;
            pods.extend(pod_of(&object, &kind.value, first)?);
        }
        Ok(())
    }
}

fn is_known(kind: &str) -> bool {
    kind == "Pod" || kind == "CronJob" || TEMPLATED.contains(&kind)
}

fn from_yaml<T: DeserializeOwned>(text: &str, first: u64) -> Result<T, Invalid> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map_or(first, |location| location.line().max(1));
        let problem = error.to_string();
        Invalid { line, problem: one_line(&problem) }
    })
}

/// The parser's message without its place, which is said before it, and without its picture of the text.
fn one_line(problem: &str) -> String {
    let line = problem.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = match line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message,
        None => line.rsplit_once(" at line ").map_or(line, |(message, _)| message),
    };
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The pod of an object; `None` for kinds that make none.
fn pod_of(object: &Object, kind: &str, line: u64) -> Result<Option<Pod>, Invalid> {
    let kind = object.kind.as_deref().unwrap_or(kind);
    if !is_known(kind) {
        return Ok(None);
    }
    let Some(meta) = &object.metadata else {
        return invalid(line, "metadata is missing: expected metadata.name");
    };
    let Some(name) = meta.name.as_ref().map(|name| name.value.clone()).filter(|name| !name.is_empty()) else {
        return invalid(line, format!("metadata.name is missing: expected the name of the {kind}"));
    };
    let namespace = meta.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let uid = match &meta.uid {
        Some(uid) if !uid.is_empty() => uid.clone(),
        _ => format!("manifest/{kind}/{namespace}/{name}").to_lowercase(),
    };
    let (template, spec) = template_of(object, kind, line)?;
    let labels = strings(template.and_then(|meta| meta.labels.as_ref()).or(meta.labels.as_ref()));
    let host_network = spec.host_network.unwrap_or(false);
    let annotation = [template, Some(meta)].into_iter().flatten().find_map(netns_annotation);
    Ok(Some(Pod {
        uid: PodUid(uid),
        workload: if kind == "Pod" {
            owner_of(meta, &labels)
        } else {
            Some(Workload { kind: kind.to_owned(), name: name.clone() })
        },
        namespace,
        name,
        host_network,
        labels,
        containers: containers_of(spec, line)?,
        addresses: object.status.as_ref().map(addresses_of).unwrap_or_default(),
        netns_path: annotation.filter(|_| !host_network),
        ..Pod::default()
    }))
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

/// The controller; a Deployment where a ReplicaSet carries its hash in the name.
fn owner_of(meta: &Meta, labels: &BTreeMap<String, String>) -> Option<Workload> {
    let owner = meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    Some(workload(&owner.kind, &owner.name, labels.get("pod-template-hash").map(String::as_str)))
}

fn netns_annotation(meta: &Meta) -> Option<String> {
    let value = meta.annotations.as_ref()?.get(NETNS_ANNOTATION)?.as_deref()?;
    match value {
        "" => None,
        path if path.starts_with('/') => Some(canonical(path)),
        name => Some(format!("{NETNS_DIR}{name}")),
    }
}

fn strings(map: Option<&BTreeMap<String, Option<String>>>) -> BTreeMap<String, String> {
    let pairs = map.into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect()
}

fn addresses_of(status: &Status) -> Vec<std::net::IpAddr> {
    let many = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_deref());
    let mut addresses: Vec<std::net::IpAddr> =
        status.pod_ip.as_deref().into_iter().chain(many).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn containers_of(spec: &Spec, line: u64) -> Result<Vec<Container>, Invalid> {
    if spec.containers.as_ref().is_none_or(Vec::is_empty) {
        return invalid(line, "spec.containers is missing: expected at least one container");
    }
    let mut containers = Vec::new();
    for container in spec.containers.iter().flatten() {
        containers.push(container_of(container, ContainerKind::Regular)?);
    }
    for container in spec.init_containers.iter().flatten() {
        let sidecar = container.value.restart_policy.as_deref() == Some("Always");
        let kind = if sidecar { ContainerKind::Sidecar } else { ContainerKind::Init };
        containers.push(container_of(container, kind)?);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        containers.push(container_of(container, ContainerKind::Ephemeral)?);
    }
    Ok(containers)
}

fn container_of(container: &Spanned<ContainerSpec>, kind: ContainerKind) -> Result<Container, Invalid> {
    let spec = &container.value;
    let Some(name) = spec.name.as_ref().map(|name| name.value.clone()).filter(|name| !name.is_empty()) else {
        return invalid(container.referenced.line(), "the container's name is missing");
    };
    let ports = spec.ports.iter().flatten().map(|port| port_of(&name, port)).collect::<Result<_, _>>()?;
    let image = spec.image.clone().unwrap_or_default();
    Ok(Container { name, image, kind, ports, ..Container::default() })
}

fn port_of(container: &str, port: &Spanned<Port>) -> Result<DeclaredPort, Invalid> {
    let Some(number) = &port.value.container_port else {
        let problem =
            format!("containerPort is missing in container {container}: expected a number from 1 to 65535");
        return invalid(port.referenced.line(), problem);
    };
    let protocol = match &port.value.protocol {
        None => Protocol::Tcp,
        Some(text) => match Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text.value) {
            Some(protocol) => protocol,
            None => {
                let problem = format!("protocol is {:?}: expected TCP, UDP or SCTP", bounded(&text.value));
                return invalid(text.referenced.line(), problem);
            }
        },
    };
    let host_port = match &port.value.host_port {
        // What kubectl prints for none.
        Some(none) if none.value == 0 => None,
        Some(number) => Some(port_number("hostPort", number)?),
        None => None,
    };
    let name = port.value.name.clone();
    Ok(DeclaredPort { name, port: port_number("containerPort", number)?, protocol, host_port })
}

fn port_number(field: &str, number: &Spanned<i64>) -> Result<NonZeroU16, Invalid> {
    let port = u16::try_from(number.value).ok().and_then(NonZeroU16::new);
    port.ok_or_else(|| Invalid {
        line: number.referenced.line(),
        problem: format!("{field} is {}: expected a number from 1 to 65535", number.value),
    })
}

fn bounded(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
