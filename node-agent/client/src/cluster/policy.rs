//! `kubectl portolan policy`: one NetworkPolicy from what the agents of all nodes know.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::owner::lasting;
use portolan_report::policy_basis::{LabelledPod, PolicyBasis};
use serde::Deserialize;

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use super::names::Names;
use super::verb_args::PolicyArgs;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::policy::draft::draft_of_nodes;
use crate::query::policy::error::PolicyError;
use crate::query::policy::target::PolicyTarget;
use crate::query::policy::{PATH, write};
use crate::query::show::FormatError;
use crate::query::url::with_query;

/// Prints the policy.
pub(super) async fn policy(
    cluster: &ClusterArgs,
    args: &PolicyArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let draft = &args.draft;
    let target =
        PolicyTarget::parse(&draft.target, draft.namespace.as_deref()).map_err(QueryError::NoPolicy)?;
    let fleet = Fleet::find(cluster).await?;
    let (answers, bases) = facts(&fleet, &target).await?;
    let names = if bases.is_empty() { Names::default() } else { Names::ask(&fleet).await };
    let Some(basis) = merged(bases, &names) else {
        let is_partial = answers.report_missing(console)?;
        if is_partial {
            return Ok(Exit::Partial);
        }
        return Err(QueryError::NoPolicy(PolicyError::NotInCluster { target: target.to_string() }).into());
    };
    let missing: Vec<String> = answers.missing.iter().map(|one| one.node.clone()).collect();
    let policy =
        draft_of_nodes(&basis, &answers.nodes, &missing, draft.observed).map_err(QueryError::NoPolicy)?;
    let written = write(&policy, draft.output, console)?;
    written.map_err(|reason| ClusterError::NotUnderstood(FormatError::of("NetworkPolicy", &reason)))?;
    let is_partial = answers.report_missing(console)? || policy.is_partial;
    Ok(if is_partial { Exit::Partial } else { Exit::Fine })
}

/// Asks all agents for the facts about the pods of a target. Where it is a pod, about those of its workload, on every node.
pub(super) async fn facts(
    fleet: &Fleet,
    target: &PolicyTarget,
) -> Result<(Answers, Vec<PolicyBasis>), ClusterError> {
    let answers = fleet.ask(&question(target)).await?;
    let bases = parsed(&answers)?;
    // An agent adds the other pods of a pod's workload, but those of its own node only.
    let Some(workload) = workload_of_pod(target, &bases) else { return Ok((answers, bases)) };
    let answers = fleet.ask(&question(&workload)).await?;
    let bases = parsed(&answers)?;
    Ok((answers, bases))
}

/// Returns the question for the facts about the pods of a target.
fn question(target: &PolicyTarget) -> Question {
    Question::Object(with_query(PATH, &target.query()))
}

/// Parses the facts of all nodes.
fn parsed(answers: &Answers) -> Result<Vec<PolicyBasis>, ClusterError> {
    let parse = |item| PolicyBasis::deserialize(item).map_err(|error| FormatError::of("PolicyBasis", &error));
    answers.items.iter().map(parse).collect::<Result<_, _>>().map_err(ClusterError::NotUnderstood)
}

/// Returns the workload of the pod that the target names: of a CronJob's Job the CronJob, as the agents mean it. `None` if the target is a workload, if the pods have none, or if they
/// have several, which the draft refuses.
fn workload_of_pod(target: &PolicyTarget, bases: &[PolicyBasis]) -> Option<PolicyTarget> {
    if !target.is_pod() {
        return None;
    }
    let pods = bases.iter().flat_map(|basis| &basis.pods).map(|pod| &pod.labelled.pod);
    let owners: BTreeSet<Option<(&str, &str, &str)>> = pods
        .map(|pod| {
            let (kind, name) = pod.workload.as_ref().map(|it| lasting(&it.kind, &it.name))?;
            Some((pod.namespace.as_str(), kind, name))
        })
        .collect();
    let (namespace, kind, name) = owners.first().copied().flatten().filter(|_| owners.len() == 1)?;
    Some(PolicyTarget::workload(namespace, kind, name))
}

/// Merges the facts of all nodes. `None` if no node has a pod of the target.
pub(super) fn merged(bases: Vec<PolicyBasis>, names: &Names) -> Option<PolicyBasis> {
    let mut bases = bases.into_iter();
    let mut all = bases.next()?;
    for basis in bases {
        all.pods.extend(basis.pods);
        all.neighbours.extend(basis.neighbours);
        all.callers.extend(basis.callers);
        all.truncated |= basis.truncated;
    }
    names.complete(&mut all);
    let mut seen = BTreeSet::new();
    all.pods.retain(|pod| seen.insert(pod.labelled.pod.uid.clone()));
    all.neighbours = distinct(all.neighbours);
    all.neighbours.retain(|pod| !seen.contains(&pod.pod.uid));
    all.callers = distinct(all.callers);
    Some(all)
}

/// Returns each pod once, by namespace and name.
fn distinct(pods: Vec<LabelledPod>) -> Vec<LabelledPod> {
    let by_name = pods.into_iter().map(|pod| ((pod.pod.namespace.clone(), pod.pod.name.clone()), pod));
    by_name.collect::<BTreeMap<_, _>>().into_values().collect()
}
