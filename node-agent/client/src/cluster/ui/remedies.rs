//! `/v1/findings/{id}/remedies`: drafts of what can be done about a finding, from what the agents of all nodes know of the pods of
//! its workload.

use std::sync::Arc;

use portolan_engine::model::owner::lasting;
use portolan_report::wire::{Finding, Pod};
use serde::Deserialize;

use super::host::Host;
use super::lists::{find, of_cluster};
use super::response::{Answer, Problem, json};
use crate::cluster::policy::{facts, merged};
use crate::query::policy::target::PolicyTarget;
use crate::query::remedies::{RemedyFacts, remedies_of_nodes};

/// Answers the request.
pub(super) async fn answer(host: &Arc<Host>, id: &str) -> Result<Answer, Problem> {
    let finding = Finding::deserialize(find(host, id).await?);
    let finding =
        finding.map_err(|error| Problem::new(502, format!("the agent's finding is none: {error}")))?;
    let Some(target) = finding.pod.as_ref().and_then(target) else {
        return json(&remedies_of_nodes(&finding, None));
    };
    let (fleet, directory) = {
        let mut shared = host.shared();
        (shared.fleet.clone(), shared.store.directory())
    };
    let (answers, bases) = facts(&fleet, &target).await.map_err(|error| of_cluster(&error))?;
    let missing: Vec<String> = answers.missing.iter().map(|one| one.node.clone()).collect();
    let all = merged(bases.clone(), &directory.names);
    let facts = all.as_ref().map(|merged| RemedyFacts {
        merged,
        bases: &bases,
        nodes: &answers.nodes,
        missing: &missing,
    });
    json(&remedies_of_nodes(&finding, facts.as_ref()))
}

/// Returns the workload of a pod, or the pod.
fn target(pod: &Pod) -> Option<PolicyTarget> {
    match &pod.workload {
        Some(workload) => {
            let (kind, name) = lasting(&workload.kind, &workload.name);
            Some(PolicyTarget::workload(&pod.namespace, kind, name))
        }
        None => PolicyTarget::parse(&format!("{}/{}", pod.namespace, pod.name), None).ok(),
    }
}
