//! `/v1/findings/{id}/remedies` and `/v1/agents`: what can be done about a finding, and how the agent is.

use axum::extract::State;
use axum::response::Response;
use portolan_engine::read::policy_basis::{PolicySubject, PolicyTarget};
use portolan_report::answer::List;
use portolan_report::chart::AgentSummary;
use portolan_report::wire::{Report, SCHEMA};

use super::handling::{PathOf, ask, json, path_part};
use super::problem::Problem;
use super::query::{Query, WantedMinutes};
use super::{Health, HttpState};

/// Answers `/v1/findings/{id}/remedies`.
pub async fn remedies(State(s): State<HttpState>, id: PathOf<String>) -> Result<Response, Problem> {
    let id = path_part(id)?;
    let Some(Report::Finding(finding)) = ask(&s, |reply| Query::Finding(id, reply)).await? else {
        return Err(Problem::not_found("no such finding".to_owned(), "path/id"));
    };
    let basis = match &finding.pod {
        Some(pod) => {
            let subject = PolicySubject::Pod(pod.name.clone());
            let target = PolicyTarget { namespace: Some(pod.namespace.clone()), subject };
            ask(&s, |reply| Query::Policy(target, reply)).await?
        }
        None => None,
    };
    Ok(json(&(s.draft_remedies)(&finding, basis.as_ref())))
}

/// Answers `/v1/agents`: a list of this agent alone.
pub async fn agents(State(s): State<HttpState>) -> Result<Response, Problem> {
    let status = ask(&s, Query::Status).await?;
    let facts = ask(&s, |reply| Query::Chart(WantedMinutes::None, reply)).await?;
    let is_ready = Health::is(&s.health.ready);
    let agent = AgentSummary {
        state: if is_ready { "up" } else { "starting" }.to_owned(),
        reason: (!is_ready).then(|| "not everything was looked at once".to_owned()),
        since: facts.started_at.clone(),
        started_at: Some(facts.started_at),
        pods: Some(facts.pods),
        ..AgentSummary::of_status(&status)
    };
    let generation = facts.generation;
    Ok(json(&List { schema: SCHEMA.to_owned(), items: vec![agent], r#continue: None, generation }))
}
