//! Drafts a NetworkPolicy from an agent's facts, with remarks to read before applying it.
//!
//! The draft is deterministic: the same facts give the same draft.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::owner::lasting;
use portolan_report::policy_basis::{LabelledPod, PolicyBasis};

use super::error::PolicyError;
use super::object::{Metadata, NetworkPolicy, Peer, Port, Rule, Selector, Spec, is_dns_label, is_subdomain};
use super::peers::{everywhere, seen};
use super::remark::{escape_remark, list_names, list_some};
use super::selector::{full_name, select};
use super::wanted_ports::{Decision, all};

/// Suffix of the policy's name, after the name of the workload or pod.
const SUFFIX: &str = "-declared-ports";
/// Number of nodes' names in one line of the remarks.
const NODES_PER_LINE: usize = 4;

/// A drafted NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The policy.
    pub policy: NetworkPolicy,
    /// Remarks of one line each, escaped for a YAML comment and for a terminal. An empty remark separates paragraphs.
    pub remarks: Vec<String>,
    /// Warnings to consider before applying the policy. The remarks contain them, too.
    pub warnings: Vec<String>,
    /// True if the agent left out some pods or ports.
    pub is_partial: bool,
}

/// Rules and remarks that follow from the decisions about all ports.
#[derive(Default)]
struct Ports {
    /// Admitted ports, grouped by the peers that may call them.
    rules: BTreeMap<BTreeSet<Peer>, Vec<Port>>,
    /// Remarks about admitted ports.
    admitted: Vec<String>,
    /// Remarks about ports that are left out.
    left_out: Vec<String>,
    /// Remarks about callers that are admitted and were not seen.
    wider: Vec<String>,
}

/// Drafts a policy from the facts of one node. With `observed`, each port admits only the callers that were seen.
///
/// # Errors
/// [`PolicyError`] if no policy can select the pods.
pub fn draft(basis: &PolicyBasis, observed: bool) -> Result<Draft, PolicyError> {
    draft_of_nodes(basis, &BTreeSet::from([basis.envelope.node.clone()]), &[], observed)
}

/// Drafts a policy from the merged facts of several nodes. `missing` names the nodes that did not answer.
///
/// # Errors
/// [`PolicyError`] if no policy can select the pods.
pub fn draft_of_nodes(
    basis: &PolicyBasis,
    nodes: &BTreeSet<String>,
    missing: &[String],
    observed: bool,
) -> Result<Draft, PolicyError> {
    let pods: Vec<&LabelledPod> = basis.pods.iter().map(|pod| &pod.labelled).collect();
    let first = pods.first().ok_or_else(|| PolicyError::BadName { what: "the target".to_owned() })?;
    let namespace = namespace(&pods)?;
    if let Some(pod) = pods.iter().find(|pod| pod.pod.host_network) {
        return Err(PolicyError::HostNetwork { pod: escape_remark(&full_name(pod)) });
    }
    let selection = select(&pods, &basis.neighbours)?;
    let name = policy_name(first)?;
    let ports = ports(basis, &namespace, &name, observed);
    let mut warnings: Vec<String> = selection.warnings.iter().map(|text| escape_remark(text)).collect();
    if ports.admitted.is_empty() {
        warnings.push("the pods declare no port: this policy shuts them off".to_owned());
    }
    if basis.truncated {
        warnings.push("the agent told only a part of the pods and ports".to_owned());
    }
    warnings.extend(missing.iter().map(|node| {
        escape_remark(&format!(
            "node {node} did not answer: its pods, and who called them, are not in this policy"
        ))
    }));
    let remarks = remarks(basis, &pods, &ports, &warnings, (observed, &name, nodes));
    let rules = ports.rules.into_iter();
    let ingress = rules.map(|(from, ports)| Rule { from: from.into_iter().collect(), ports }).collect();
    let policy = NetworkPolicy {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: Metadata { name, namespace },
        spec: Spec {
            pod_selector: Selector { match_labels: selection.labels },
            policy_types: ["Ingress"],
            ingress,
        },
    };
    Ok(Draft { policy, remarks, warnings, is_partial: basis.truncated })
}

fn namespace(pods: &[&LabelledPod]) -> Result<String, PolicyError> {
    let all: BTreeSet<&str> = pods.iter().map(|pod| pod.pod.namespace.as_str()).collect();
    match all.first() {
        Some(one) if all.len() == 1 && is_dns_label(one) => Ok((*one).to_owned()),
        Some(one) if all.len() == 1 => Err(PolicyError::BadName { what: escape_remark(&format!("{one:?}")) }),
        _ => Err(PolicyError::ManyNamespaces { namespaces: escape_remark(&list_names(all)) }),
    }
}

/// Returns the policy's name, which is the same for every Job of a CronJob.
fn policy_name(pod: &LabelledPod) -> Result<String, PolicyError> {
    let workload = pod.pod.workload.as_ref();
    let owner = workload.map_or(pod.pod.name.as_str(), |workload| lasting(&workload.kind, &workload.name).1);
    if !is_subdomain(owner) {
        return Err(PolicyError::BadName { what: escape_remark(&format!("{owner:?}")) });
    }
    let mut name: String = owner.chars().take(253 - SUFFIX.len()).collect();
    name.truncate(name.trim_end_matches(['.', '-']).len());
    Ok(name + SUFFIX)
}

fn ports(basis: &PolicyBasis, namespace: &str, name: &str, observed: bool) -> Ports {
    let pods =
        basis.callers.iter().chain(&basis.neighbours).chain(basis.pods.iter().map(|pod| &pod.labelled));
    let known: BTreeMap<String, &LabelledPod> = pods.map(|pod| (full_name(pod), pod)).collect();
    let replaced = format!("{namespace}/{name}");
    let mut ports = Ports::default();
    for ((number, protocol), port) in all(&basis.pods) {
        let title = format!("{number}/{protocol}");
        match port.decide(protocol, &replaced) {
            Decision::Admit(why) => {
                let sources = if observed { seen(&port, namespace, &known) } else { everywhere() };
                ports.admitted.push(format!("  {title} {}: {why}", sources.text));
                ports.wider.extend(sources.wider.iter().map(|who| format!("  {title} {who}")));
                let entry = Port { port: number, protocol: protocol.to_owned() };
                ports.rules.entry(sources.from).or_default().push(entry);
            }
            Decision::LeaveOut(why) => ports.left_out.push(format!("  {title} {why}")),
        }
    }
    ports
}

fn remarks(
    basis: &PolicyBasis,
    pods: &[&LabelledPod],
    ports: &Ports,
    warnings: &[String],
    (observed, name, nodes): (bool, &str, &BTreeSet<String>),
) -> Vec<String> {
    let shown: Vec<String> = pods.iter().map(|pod| full_name(pod)).collect();
    let place = match nodes.first() {
        Some(node) if nodes.len() == 1 => format!("node {node}"),
        _ => format!("{} nodes", nodes.len()),
    };
    let mut all = vec![format!(
        "Drafted by portolan from what it sees on {place}: {}.",
        list_names(shown.iter().map(String::as_str))
    )];
    if nodes.len() > 1 {
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        all.push("Nodes:".to_owned());
        all.extend(names.chunks(NODES_PER_LINE).map(|some| format!("  {}", some.join(", "))));
    }
    all.push("Admitted:".to_owned());
    all.extend(if ports.admitted.is_empty() { vec!["  nothing".to_owned()] } else { ports.admitted.clone() });
    list_some(&mut all, "Wider than what was seen, since it admits:", &ports.wider);
    list_some(&mut all, "Left out:", &ports.left_out);
    all.push(
        "The node's own calls, such as kubelet's probes, are admitted by most network plugins whatever a policy says."
            .to_owned(),
    );
    let replaced = basis.pods.iter().flat_map(|pod| &pod.policies);
    let beside: BTreeSet<&str> = replaced.map(String::as_str).filter(|policy| *policy != name).collect();
    if !beside.is_empty() {
        all.push(format!("What other policies of these pods admit stays admitted: {}.", list_names(beside)));
    }
    if ports.rules.values().flatten().any(|port| port.protocol == "SCTP") {
        all.push("SCTP in policies needs a network plugin that knows it.".to_owned());
    }
    if observed {
        all.push(if nodes.len() == 1 {
            format!(
                "Seen on {place} since its agent started: who calls rarely, or calls pods of other nodes, may be missing."
            )
        } else {
            format!("Seen on {place} since their agents started: who calls rarely may be missing.")
        });
    }
    all.extend(warnings.iter().map(|warning| format!("WARNING: {warning}.")));
    all.iter().map(|line| escape_remark(line)).collect()
}
