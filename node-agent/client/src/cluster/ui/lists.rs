//! Answers that the agents are asked for: single findings, what can be done about them, the way in, and the lists of objects.

use std::sync::Arc;

use portolan_engine::read::explain::target::Target;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};

use super::host::Host;
use super::query::{Pairs, value};
use super::response::{Answer, Problem, json as answer_json};
use crate::cluster::error::ClusterError;
use crate::cluster::fleet::{Answers, Question};
use crate::query::error::QueryError;
use crate::query::explain::PATH;
use crate::query::show::Subject;
use crate::query::url::with_query;

/// Maximum length of an id in bytes.
const MAX_ID: usize = 128;
/// Filters of the lists.
const FILTERS: [&str; 10] =
    ["namespace", "pod", "workload", "labels", "code", "severity", "state", "protocol", "port", "origin"];

/// Answers `/v1/findings/{id}`.
pub(super) async fn finding(host: &Arc<Host>, id: &str) -> Result<Answer, Problem> {
    answer_json(&find(host, id).await?)
}

/// Returns a finding as its agent wrote it, with the names of callers of all nodes.
pub(super) async fn find(host: &Arc<Host>, id: &str) -> Result<Value, Problem> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if id.is_empty() || id.len() > MAX_ID || !is_plain {
        return Err(Problem::new(404, "no such finding"));
    }
    let question = Question::Object(format!("{}/{id}", Subject::Findings.path()));
    let (fleet, nodes) = {
        let shared = host.shared();
        (shared.fleet.clone(), shared.store.nodes_of_finding(id))
    };
    let holders =
        fleet.agents().iter().filter(|agent| nodes.contains(&agent.node)).cloned().collect::<Vec<_>>();
    let mut answers = Answers::default();
    if !holders.is_empty() {
        answers = fleet.with(holders).ask(&question).await.map_err(|error| of_cluster(&error))?;
    }
    if answers.items.is_empty() {
        // Rows list a few ids only, and not those that were resolved long ago.
        answers = fleet.ask(&question).await.map_err(|error| of_cluster(&error))?;
    }
    let directory = host.shared().store.directory();
    match answers.items.into_iter().next() {
        Some(mut finding) => {
            directory.names.fill(&mut finding);
            Ok(finding)
        }
        None if answers.missing.is_empty() => Err(Problem::new(404, "no such finding")),
        None => {
            let nodes: Vec<&str> = answers.missing.iter().map(|missing| missing.node.as_str()).collect();
            let nodes = nodes.join(", ");
            Err(Problem::new(503, format!("no agent that answered has it; not asked in full: {nodes}")))
        }
    }
}

/// Answers `/v1/explain`: the explanation of the node with a pod at the end of a path, with the ends of other nodes.
pub(super) async fn explain(host: &Arc<Host>, pairs: &Pairs) -> Result<Answer, Problem> {
    for (name, _) in pairs {
        if !matches!(name.as_str(), "target" | "namespace") {
            return Err(Problem::bad_parameter(name, "unknown parameter; expected one of target, namespace"));
        }
    }
    let target = Target::parse(value(pairs, "target").unwrap_or_default(), value(pairs, "namespace"));
    let target = target.map_err(|error| Problem::bad_parameter("target", error.to_string()))?;
    let question = Question::Object(with_query(PATH, &[("target", target.to_string())]));
    let fleet = host.shared().fleet.clone();
    let answers = fleet.ask(&question).await.map_err(|error| of_cluster(&error))?;
    let Some(mut explanation) = joined(&answers) else {
        let detail = format!("no agent that answered knows {target}");
        return Err(Problem { pointer: Some("query/target".to_owned()), ..Problem::new(404, detail) });
    };
    let directory = host.shared().store.directory();
    directory.names.fill(&mut explanation);
    answer_json(&explanation)
}

/// Joins the explanations of several nodes. Names the nodes that did not answer.
fn joined(answers: &Answers) -> Option<Value> {
    let has_ends =
        |answer: &&Value| answer.get("ends").and_then(Value::as_array).is_some_and(|ends| !ends.is_empty());
    let mut all: Value = answers.items.iter().find(has_ends).or(answers.items.first())?.clone();
    for other in answers.items.iter().filter(has_ends).skip(1) {
        for list in ["pods", "ends"] {
            let more = other.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(known) = all.get_mut(list).and_then(Value::as_array_mut) {
                known.extend(more);
            }
        }
    }
    let partial = answers.missing.iter().map(|one| json!(format!("node {}: {}", one.node, one.reason)));
    if let Some(known) = all.get_mut("partial").and_then(Value::as_array_mut) {
        known.extend(partial);
    }
    Some(all)
}

/// Answers `/v1/findings` and `/v1/listeners`: everything of all nodes in one page, and the nodes that are missing.
pub(super) async fn objects(host: &Arc<Host>, subject: Subject, pairs: &Pairs) -> Result<Answer, Problem> {
    let mut filters = Vec::new();
    for (name, value) in pairs {
        let Some(known) = FILTERS.iter().find(|known| *known == name) else {
            let detail =
                format!("unknown parameter; expected one of {}: the list is one page", FILTERS.join(", "));
            return Err(Problem::bad_parameter(name, detail));
        };
        filters.push((*known, value.clone()));
    }
    let fleet = host.shared().fleet.clone();
    let answers = fleet.ask(&Question::List(subject.path(), filters)).await;
    let mut answers = answers.map_err(|error| of_cluster(&error))?;
    let directory = host.shared().store.directory();
    answers.items.iter_mut().for_each(|item| directory.names.fill(item));
    answer_json(&json!({
        "schema": SCHEMA,
        "items": answers.items,
        "continue": null,
        "generation": host.shared().events.next(),
        "nodes": answers.nodes,
        "missing": answers.missing_nodes(),
    }))
}

/// Returns the problem of a question that no agent answers. What an agent refused keeps its status.
pub(super) fn of_cluster(error: &ClusterError) -> Problem {
    match error {
        ClusterError::Query(QueryError::Refused { status, detail, .. }) => {
            Problem::new(*status, detail.clone())
        }
        ClusterError::Query(QueryError::SeveralTargets { detail }) => Problem::new(409, detail.clone()),
        error => Problem::new(502, error.to_string()),
    }
}
