//! The object whose manifest lists the ports: a workload that can be patched, or a manifest that has to be edited.

use std::collections::BTreeSet;

use portolan_report::fingerprint::owner;
use portolan_report::policy_basis::{PolicyBasis, PolicyPod};

use super::error::DeclareError;
use crate::query::policy::object::{is_dns_label, is_subdomain};
use crate::query::policy::remark::{escape_remark, list_names};

/// Path from a workload to the specification of its pods.
const TEMPLATE: &[&str] = &["spec", "template", "spec"];

/// The object whose manifest lists the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Kubernetes namespace.
    pub(super) namespace: String,
    /// Kind, such as `Deployment`.
    pub(super) kind: String,
    /// Name.
    pub(super) name: String,
    /// Group and version; `None` for a kind that is not Kubernetes' own.
    pub(super) api: Option<(&'static str, &'static str)>,
    /// Path to the specification of the pods; empty if it is unknown.
    pub(super) path: &'static [&'static str],
    /// How the ports get into the object.
    pub(super) way: Way,
}

/// How the ports get into the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By `kubectl patch`; then this happens to the pods.
    Patch(&'static str),
    /// By an edit of the manifest, for this reason.
    Edit(&'static str),
}

/// A kind of Kubernetes' own.
struct Kind {
    name: &'static str,
    api: (&'static str, &'static str),
    path: &'static [&'static str],
    way: Way,
}

#[rustfmt::skip]
const KINDS: [Kind; 8] = [
    Kind { name: "Deployment", api: ("apps", "v1"), path: TEMPLATE, way: Way::Patch("It replaces the pods (a rollout)") },
    Kind { name: "StatefulSet", api: ("apps", "v1"), path: TEMPLATE, way: Way::Patch("It replaces the pods one by one; if its updateStrategy is OnDelete, delete them yourself") },
    Kind { name: "DaemonSet", api: ("apps", "v1"), path: TEMPLATE, way: Way::Patch("It replaces the pods node by node; if its updateStrategy is OnDelete, delete them yourself") },
    Kind { name: "ReplicaSet", api: ("apps", "v1"), path: TEMPLATE, way: Way::Patch("It does not replace the pods that run: delete them one by one afterwards") },
    Kind { name: "ReplicationController", api: ("", "v1"), path: TEMPLATE, way: Way::Patch("It does not replace the pods that run: delete them one by one afterwards") },
    Kind { name: "CronJob", api: ("batch", "v1"), path: &["spec", "jobTemplate", "spec", "template", "spec"], way: Way::Patch("The next Job has the ports; pods that run keep theirs") },
    Kind { name: "Job", api: ("batch", "v1"), path: TEMPLATE, way: Way::Edit("The template of a Job cannot change: put these lines into its manifest, delete the Job and create it again") },
    Kind { name: "Pod", api: ("", "v1"), path: &["spec"], way: Way::Edit("The ports of a running pod cannot change: put these lines into its manifest, delete the pod and create it again (of a static pod, edit the file on its node: kubelet then restarts it)") },
];

const CUSTOM: Way = Way::Edit(
    "A strategic merge patch works for workloads of Kubernetes' own only: put these lines into the pod template of its manifest",
);

impl Workload {
    /// Finds the object that owns all of the pods.
    ///
    /// # Errors
    /// If there are several, or its name is not valid.
    pub(super) fn of(bases: &[PolicyBasis]) -> Result<Self, DeclareError> {
        let pods =
            bases.iter().flat_map(|basis| basis.pods.iter().map(|pod| (pod, basis.envelope.node.as_str())));
        let all: BTreeSet<(&str, &str, &str)> = pods.map(|(pod, node)| full_owner(pod, node)).collect();
        let mut owners = all.iter();
        let Some((namespace, kind, name)) = owners.next().copied() else {
            return Err(DeclareError::BadName { what: "the target".to_owned() });
        };
        if owners.next().is_some() {
            let names: Vec<String> =
                all.iter().map(|(space, kind, name)| format!("{space}/{kind}/{name}")).collect();
            let workloads = escape_remark(&list_names(names.iter().map(String::as_str)));
            return Err(DeclareError::ManyWorkloads { workloads });
        }
        let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        for (given, is_valid) in
            [(namespace, is_dns_label(namespace)), (name, is_subdomain(name)), (kind, is_kind)]
        {
            if !is_valid {
                return Err(DeclareError::BadName { what: escape_remark(&format!("{given:?}")) });
            }
        }
        let known = KINDS.iter().find(|known| known.name == kind);
        Ok(Self {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            api: known.map(|known| known.api),
            path: known.map_or(&[], |known| known.path),
            way: known.map_or(CUSTOM, |known| known.way),
        })
    }

    /// Returns `apiVersion`; `None` for a kind that is not Kubernetes' own.
    pub(super) fn api_version(&self) -> Option<String> {
        let (group, version) = self.api?;
        Some(if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") })
    }

    /// Returns the command that applies a patch in a file; `None` if the manifest must be edited instead.
    pub(super) fn command(&self, file: &str) -> Option<String> {
        let Self { namespace, name, .. } = self;
        matches!(self.way, Way::Patch(_))
            .then(|| format!("kubectl patch {} {name} -n {namespace} --patch-file {file}", self.resource()))
    }

    /// Returns the kind as kubectl accepts it, in lower case.
    pub(super) fn resource(&self) -> String {
        self.kind.to_lowercase()
    }
}

fn full_owner<'a>(pod: &'a PolicyPod, node: &str) -> (&'a str, &'a str, &'a str) {
    let pod = &pod.labelled.pod;
    let (kind, name) = owner(pod, node);
    (&pod.namespace, kind, name)
}
