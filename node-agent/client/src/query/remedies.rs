//! Drafts of what can be done about a finding, the best first: shut the port out by a NetworkPolicy, declare it, or accept it by
//! an exception rule. Agents and `kubectl portolan ui` answer with them.

use std::collections::BTreeSet;

use portolan_engine::model::finding_code::FindingCode;
use portolan_report::chart::{Remedies, Remedy};
use portolan_report::policy_basis::PolicyBasis;
use portolan_report::wire::{Finding, SCHEMA};

use super::baseline;
use super::declare;
use super::declare::args::PatchFormat;
use super::declare::removal::removal;
use super::policy::draft::{Draft as PolicyDraft, draft_of_nodes};
use super::policy::remark::{escape_remark, list_names};
use super::policy::yaml;

/// Reason in a drafted rule, which its author replaces.
const REASON: &str = "(say why this is fine, and who knows it)";

/// What a remedy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ShutOut,
    Declare,
    /// Of a declared port that nothing serves: remove the declaration.
    Remove,
    Accept,
}

/// Facts about the pods of a finding's workload.
#[derive(Clone, Debug)]
pub struct RemedyFacts<'a> {
    /// Facts of all nodes in one, for the policy.
    pub merged: &'a PolicyBasis,
    /// Facts of each node, for the declaration.
    pub bases: &'a [PolicyBasis],
    /// Nodes that answered.
    pub nodes: &'a BTreeSet<String>,
    /// Nodes that did not answer.
    pub missing: &'a [String],
}

/// Drafts what can be done about a finding, from what one agent knows of the pods of its workload. Without `basis`, the pods are
/// gone or unknown, and the drafts that need them are empty.
#[must_use]
pub fn remedies(finding: &Finding, basis: Option<&PolicyBasis>) -> Remedies {
    let Some(basis) = basis else { return remedies_of_nodes(finding, None) };
    let nodes = BTreeSet::from([basis.envelope.node.clone()]);
    let facts =
        RemedyFacts { merged: basis, bases: std::slice::from_ref(basis), nodes: &nodes, missing: &[] };
    remedies_of_nodes(finding, Some(&facts))
}

/// Drafts what can be done about a finding, from what the agents of several nodes know of the pods of its workload.
#[must_use]
pub fn remedies_of_nodes(finding: &Finding, facts: Option<&RemedyFacts<'_>>) -> Remedies {
    let code = FindingCode::ALL.into_iter().find(|code| code.as_str() == finding.code);
    let items = kinds(code).iter().map(|kind| {
        let (name, draft) = match kind {
            Kind::ShutOut => ("shut-out", shut_out(finding, facts)),
            Kind::Declare => ("declare", declare_port(finding, facts)),
            Kind::Remove => ("declare", remove(finding, facts)),
            Kind::Accept => ("accept", accept(finding)),
        };
        let draft = draft.unwrap_or_else(Drafted::impossible);
        Remedy {
            kind: name.to_owned(),
            summary: summary(*kind, code).to_owned(),
            warnings: draft.warnings,
            yaml: draft.yaml,
            command: draft.command,
        }
    });
    Remedies { schema: SCHEMA.to_owned(), finding: finding.id.clone(), items: items.collect() }
}

/// Returns the remedies of a code, the best first. One that cannot help is left out.
const fn kinds(code: Option<FindingCode>) -> &'static [Kind] {
    use FindingCode as Code;
    match code {
        // What is not expected comes first off the network.
        Some(Code::UndeclaredExternal | Code::UndeclaredActive | Code::UndeclaredReachable) => {
            &[Kind::ShutOut, Kind::Declare, Kind::Accept]
        }
        // A debug container cannot declare a port; of a storm or of no known socket no single port can be declared.
        Some(Code::EphemeralContainer | Code::PortStorm | Code::OpaqueRuntime | Code::Unattributed)
        | None => &[Kind::ShutOut, Kind::Accept],
        // Policies do not hold for pods in the node's network.
        Some(Code::UndeclaredHost) => &[Kind::Declare, Kind::Accept],
        Some(Code::UndeclaredExplained) => &[Kind::Declare, Kind::Accept, Kind::ShutOut],
        // It is shut out already.
        Some(Code::UndeclaredBlocked) => &[Kind::Declare, Kind::Accept],
        // Nobody outside of the pod can call it, and nobody could if it were declared.
        Some(Code::UndeclaredLoopback) => &[Kind::Accept],
        Some(Code::StaleDeclaration) => &[Kind::Remove, Kind::Accept],
        Some(Code::DanglingServicePort) => &[Kind::Declare, Kind::Accept],
    }
}

const fn summary(kind: Kind, code: Option<FindingCode>) -> &'static str {
    match (kind, code) {
        (Kind::ShutOut, Some(FindingCode::OpaqueRuntime)) => {
            "Choose this if you do not trust what runs in the pod: the policy admits its declared ports only."
        }
        (Kind::ShutOut, _) => {
            "Choose this if nobody should call the port: the policy admits the declared ports of the workload only."
        }
        (Kind::Declare, Some(FindingCode::DanglingServicePort)) => {
            "Correct the Service's targetPort or selector, or start the process that should serve the port."
        }
        (Kind::Declare, Some(FindingCode::UndeclaredHost)) => {
            "Choose this if the port is meant to be open on the node: the manifest then says so."
        }
        (Kind::Declare, _) => "Choose this if the port is meant to be open: the manifest then says so.",
        (Kind::Remove, _) => {
            "Choose this if the process is not meant to serve the port any more: the patch removes its declaration."
        }
        (Kind::Accept, Some(FindingCode::UndeclaredLoopback)) => {
            "Choose this if the port is known: only its own pod can call it, and a declaration would change nothing."
        }
        (Kind::Accept, _) => {
            "Choose this if it stays as it is and somebody answers for it: the finding is suppressed until it gets worse."
        }
    }
}

/// A draft without its kind.
#[derive(Debug, Default)]
struct Drafted {
    yaml: String,
    warnings: Vec<String>,
    command: Option<String>,
}

impl Drafted {
    /// Returns no draft, for this reason.
    fn impossible(reason: String) -> Self {
        Self { warnings: vec![sentence(&reason)], ..Self::default() }
    }
}

/// Makes one sentence of a message.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// Returns why a draft needs pods that are not there.
fn no_pods(finding: &Finding) -> String {
    if finding.pod.is_none() {
        "no pod is known for the port, and only pods can be selected: look at the process on the node"
            .to_owned()
    } else {
        "no live pod of the workload is known any more".to_owned()
    }
}

fn shut_out(finding: &Finding, facts: Option<&RemedyFacts<'_>>) -> Result<Drafted, String> {
    let facts = facts.ok_or_else(|| no_pods(finding))?;
    let draft =
        draft_of_nodes(facts.merged, facts.nodes, facts.missing, false).map_err(|error| error.to_string())?;
    let mut warnings: Vec<String> = draft.warnings.iter().map(|warning| sentence(warning)).collect();
    if let (Some(port), Some(protocol)) = (finding.port, &finding.protocol) {
        if admits(&draft, port, protocol) {
            warnings.push(format!(
                "It admits port {port}/{protocol}, too, because something in the manifests expects it: the comments say what."
            ));
        } else {
            warnings.extend(cut_off(finding, port));
        }
    }
    if finding.declaration.status != "unknown" {
        warnings.push(
            "Calls to other undeclared ports of the workload end as well: the comments name them.".to_owned(),
        );
    }
    warnings.push("It acts only where the network plugin enforces NetworkPolicies.".to_owned());
    Ok(Drafted { yaml: yaml(&draft)?, warnings, command: Some("kubectl apply -f policy.yaml".to_owned()) })
}

fn admits(draft: &PolicyDraft, port: u16, protocol: &str) -> bool {
    let mut ports = draft.policy.spec.ingress.iter().flat_map(|rule| &rule.ports);
    ports.any(|admitted| admitted.port == port && admitted.protocol == protocol)
}

/// Says whom the policy cuts off from the port. The node's own calls are admitted whatever a policy says.
fn cut_off(finding: &Finding, port: u16) -> Option<String> {
    let callers =
        finding.traffic.peers.iter().filter(|peer| !matches!(peer.origin.as_str(), "same-pod" | "node"));
    let names: Vec<&str> = callers.map(|peer| peer.reference.as_deref().unwrap_or(&peer.address)).collect();
    match (names.is_empty(), finding.traffic.truncated) {
        (true, false) => None,
        (true, true) => Some(format!("It cuts off callers of port {port} that are not remembered.")),
        (false, truncated) => {
            let others = if truncated { " and others that are not remembered" } else { "" };
            let names = list_names(names);
            Some(format!("It cuts off callers of port {port}: {}{others}.", escape_remark(&names)))
        }
    }
}

fn declare_port(finding: &Finding, facts: Option<&RemedyFacts<'_>>) -> Result<Drafted, String> {
    if finding.code == FindingCode::DanglingServicePort.as_str() {
        return Err("no draft can be made: either the Service or the process is wrong".to_owned());
    }
    let facts = facts.ok_or_else(|| no_pods(finding))?;
    let (Some(port), Some(protocol)) = (finding.port, &finding.protocol) else {
        return Err("the finding is not about a single port".to_owned());
    };
    // Other undeclared ports are findings of their own: this patch must not declare them unseen.
    let mut bases = facts.bases.to_vec();
    for pod in bases.iter_mut().flat_map(|basis| &mut basis.pods) {
        pod.ports.retain(|known| {
            known.declaration.status == "declared" || (known.port == port && known.protocol == *protocol)
        });
        // The storm is about the other ports.
        pod.storm = false;
    }
    let draft = declare::draft::draft(&bases, true, PatchFormat::Yaml).map_err(|error| error.to_string())?;
    let written = declare::text::written(&draft, PatchFormat::Yaml)?;
    let mut warnings: Vec<String> = draft.warnings.iter().map(|warning| sentence(warning)).collect();
    if draft.is_empty() {
        // The message and the line of the port that is left out.
        let is_reason = |line: &&String| line.trim_start().starts_with(&format!("{port}/{protocol}"));
        warnings.extend(written.messages.first().into_iter().map(|message| sentence(message)));
        warnings.extend(written.messages.iter().filter(is_reason).map(|line| sentence(line)));
    } else if !facts.missing.is_empty() {
        let missing = list_names(facts.missing.iter().map(String::as_str));
        warnings.push(format!(
            "Nodes that did not answer may have other pods of the workload: {}.",
            escape_remark(&missing)
        ));
    }
    if !draft.is_empty() && finding.code == FindingCode::UndeclaredExternal.as_str() {
        warnings.push("It restricts no caller: the port stays reachable from outside.".to_owned());
    }
    let command = draft.command();
    Ok(Drafted { yaml: written.text, warnings, command })
}

fn remove(finding: &Finding, facts: Option<&RemedyFacts<'_>>) -> Result<Drafted, String> {
    let facts = facts.ok_or_else(|| no_pods(finding))?;
    let (Some(port), Some(protocol)) = (finding.port, &finding.protocol) else {
        return Err("the finding is not about a single port".to_owned());
    };
    let removal = removal(facts.bases, port, protocol)?;
    Ok(Drafted {
        yaml: removal.yaml,
        warnings: removal.warnings.iter().map(|warning| sentence(warning)).collect(),
        command: removal.command,
    })
}

fn accept(finding: &Finding) -> Result<Drafted, String> {
    let yaml = baseline::rule(finding, REASON).ok_or_else(|| {
        if finding.pod.is_none() {
            "no pod is known for the port, and a rule names a workload or a pod".to_owned()
        } else {
            "no rule can name this pod".to_owned()
        }
    })?;
    let mut warnings = vec![
        "Replace the reason: it stands in each finding that the rule suppresses.".to_owned(),
        "Put it under `exceptions:` in the agents' configuration; a running agent takes it over.".to_owned(),
    ];
    if finding.pod.as_ref().is_some_and(|pod| pod.workload.is_none()) {
        warnings.push("It names a single pod, and ends with that pod's name.".to_owned());
    }
    Ok(Drafted { yaml, warnings, command: None })
}

#[cfg(test)]
#[path = "remedies_tests.rs"]
mod tests;
