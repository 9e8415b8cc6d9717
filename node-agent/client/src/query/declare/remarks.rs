//! The remarks of drafted declarations: what to run, what is added, what is left out and why, and what to consider.

use std::collections::BTreeSet;

use portolan_report::policy_basis::{PolicyBasis, PolicyPod};

use super::args::PatchFormat;
use super::patch::PodSpec;
use super::workload::{Way, Workload};
use crate::query::policy::remark::{escape_remark, list_names, list_some};

/// What the remarks say, beside what to run.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// One line per added port.
    pub(super) added: Vec<String>,
    /// One line per port that is left out.
    pub(super) left_out: Vec<String>,
    /// Sentences about lists that are replaced.
    pub(super) replaced: Vec<String>,
    /// True if a port is left out because its container is unknown.
    pub(super) lacks_containers: bool,
    /// Warnings without a full stop.
    pub(super) warnings: Vec<String>,
}

impl Notes {
    /// Adds what concerns the pods as a whole, if there is something to declare.
    pub(super) fn add_general(&mut self, pods: &[&PolicyPod], spec: &PodSpec) {
        if spec.containers.is_empty() && spec.init_containers.is_empty() {
            return;
        }
        if pods.iter().any(|pod| pod.labelled.pod.host_network) {
            self.warnings.push(
                "the pods use the node's network (hostNetwork): each declared port becomes a hostPort, and no two pods that \
                 declare it run on one node; a rollout needs a free node or maxUnavailable"
                    .to_owned(),
            );
        }
        let missing: BTreeSet<&str> =
            pods.iter().flat_map(|pod| &pod.missing_names).map(String::as_str).collect();
        if !missing.is_empty() {
            self.replaced.push(format!(
                "Services look for the port names {}, which no container declares. No added port gets such a name: rename the port \
                 that is meant.",
                list_names(missing)
            ));
        }
        if pods.iter().any(|pod| pod.containers.len() > 1) {
            self.replaced.push(
                "A container that something injected into the pods is not in the manifest: kubectl then refuses the patch, because \
                 the container has no image. Take it out of the patch."
                    .to_owned(),
            );
        }
    }
}

/// Returns all remarks, escaped.
pub(super) fn remarks(
    bases: &[PolicyBasis],
    workload: &Workload,
    spec: &PodSpec,
    notes: &Notes,
    format: PatchFormat,
) -> Vec<String> {
    let is_empty = spec.containers.is_empty() && spec.init_containers.is_empty();
    let mut all = if is_empty { Vec::new() } else { what_to_do(workload, format) };
    let pods = bases.iter().flat_map(|basis| &basis.pods).map(|pod| pod.labelled.pod.name.as_str());
    let nodes = bases.iter().map(|basis| basis.envelope.node.as_str());
    all.push(format!(
        "Drafted by portolan from what it sees on {}: {}.",
        list_names(nodes),
        list_names(pods)
    ));
    list_some(&mut all, "Added:", &notes.added);
    list_some(&mut all, "Left out:", &notes.left_out);
    all.extend(notes.replaced.iter().cloned());
    all.extend(notes.warnings.iter().map(|warning| format!("WARNING: {warning}.")));
    all.iter().map(|line| escape_remark(line)).collect()
}

/// Returns how the ports get into the workload.
fn what_to_do(workload: &Workload, format: PatchFormat) -> Vec<String> {
    let Workload { namespace, name, .. } = workload;
    let resource = workload.resource();
    let file = if format == PatchFormat::Json { "declare.json" } else { "declare.yaml" };
    let managed = "If a chart, GitOps or an operator writes the workload, put the ports there: it would undo the patch.";
    match (workload.way, format) {
        (Way::Edit(reason), _) => {
            vec![format!("Declares the ports in use of {resource} {namespace}/{name}."), format!("{reason}.")]
        }
        (Way::Patch(then), PatchFormat::Kustomize) => vec![
            format!("Declares the ports in use of {resource} {namespace}/{name}."),
            "Save it as kustomization.yaml in a directory of its own, and add that to the components of the workload's kustomization."
                .to_owned(),
            format!(
                "If the kustomization has a {resource} {name} in several namespaces, and their manifests name them, add \
                 `namespace: {namespace}` to the target."
            ),
            format!("{then}."),
        ],
        (Way::Patch(then), PatchFormat::Yaml | PatchFormat::Json) => vec![
            format!("kubectl patch {resource} {name} -n {namespace} --patch-file {file}"),
            format!("declares the ports in use. {then}."),
            managed.to_owned(),
        ],
    }
}
