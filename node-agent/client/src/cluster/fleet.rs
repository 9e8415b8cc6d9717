//! The agents of all nodes: sends one question to all of them in parallel, and merges the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use portolan_report::escape::terminal;
use portolan_report::junit;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::agents::{self, Agent};
use super::args::ClusterArgs;
use super::error::ClusterError;
use super::forward::Forward;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::explain::target_error;
use crate::query::filters::Pairs;
use crate::query::pages::{self, Gathered};
use crate::query::request;
use crate::query::server::{Dial, Server};

/// Maximum number of agents that are asked at the same time. Each is a stream through the API server.
pub(super) const MAX_CONCURRENT: usize = 16;

/// Reason why the answer of an agent that is not ready counts as incomplete.
pub(super) const NOT_READY: &str = "its agent is not ready yet";

/// Who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Respondents {
    /// The agents of the nodes.
    #[default]
    Agents,
    /// The nodes themselves, by a scan.
    Scan,
}

/// Merged answers of all nodes.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Who answers.
    pub(super) from: Respondents,
    /// Objects as the agents wrote them, node by node.
    pub(super) items: Vec<Value>,
    /// Number of the items of each agent that answered, in the order of the items.
    pub(super) counts: Vec<(String, usize)>,
    /// Nodes that answered.
    pub(super) nodes: BTreeSet<String>,
    /// Nodes whose answer is missing or incomplete.
    pub(super) missing: Vec<Missing>,
}

/// A node whose answer is missing or incomplete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// Name of the node, escaped for a terminal.
    pub(super) node: String,
    /// Reason, escaped for a terminal.
    pub(super) reason: String,
    /// True if a part of the answer arrived.
    pub(super) answered: bool,
}

impl Answers {
    /// Returns the nodes that were asked, as test cases of a JUnit report.
    pub(super) fn asked(&self) -> Vec<junit::Asked> {
        let missing = self.missing.iter().map(|missing| (missing.node.clone(), Some(missing.reason.clone())));
        let mut nodes: BTreeMap<String, Option<String>> =
            self.nodes.iter().map(|node| (terminal(node), None)).collect();
        nodes.extend(missing);
        nodes
            .into_iter()
            .map(|(node, missing)| junit::Asked { name: format!("node {node}"), missing })
            .collect()
    }

    /// Returns the agents' nodes that answered, by their name in the cluster, each with its items.
    pub(super) fn by_node(&self) -> impl Iterator<Item = (&str, &[Value])> {
        let mut rest = self.items.as_slice();
        self.counts.iter().map(move |(node, count)| {
            let (of_node, others) = rest.split_at_checked(*count).unwrap_or((rest, &[]));
            rest = others;
            (node.as_str(), of_node)
        })
    }

    /// Returns the field `missing` of a list: the nodes whose answer is missing or incomplete, and why.
    pub(super) fn missing_nodes(&self) -> Value {
        self.missing.iter().map(|missing| json!({ "node": missing.node, "reason": missing.reason })).collect()
    }

    /// Returns the merged list as an object that also names the nodes that answered and the nodes that are missing.
    pub(super) fn object(&self) -> Value {
        let missing = self.missing_nodes();
        json!({ "schema": SCHEMA, "items": self.items, "nodes": self.nodes, "missing": missing })
    }

    /// Prints the nodes whose answer is missing or incomplete. Returns true if there are any.
    pub(super) fn report_missing(&self, console: &mut Console<'_>) -> Result<bool, QueryError> {
        if self.missing.is_empty() {
            return Ok(false);
        }
        let asked = self.nodes.len() + self.missing.iter().filter(|missing| !missing.answered).count();
        let count = self.missing.len();
        console.message(&match self.from {
            Respondents::Agents => format!(
                "the answer is partial: of {asked} nodes with an agent, {count} could not be asked in full:"
            ),
            Respondents::Scan => {
                format!("the answer is partial: of {asked} nodes, {count} could not be scanned in full:")
            }
        })?;
        for missing in &self.missing {
            console.message(&format!("  {}: {}", missing.node, missing.reason))?;
        }
        Ok(true)
    }
}

/// Request that every agent receives.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Path of a list, and its filters.
    List(&'static str, Pairs),
    /// Path and query of an object. An agent that does not know the object counts as an agent that answered.
    Object(String),
}

impl Question {
    /// Sends the request to one agent.
    async fn put(&self, server: &Server) -> Result<Gathered, QueryError> {
        match self {
            Self::List(path, filters) => pages::gather(server, path, filters).await,
            Self::Object(path) => {
                let items = match request::get(server, path).await.map_err(target_error) {
                    Ok(object) => vec![object],
                    Err(QueryError::NoTarget { .. }) => Vec::new(),
                    // `/v1/policy` without such a pod, `/v1/findings/{id}` without such a finding. For a path that an older agent
                    // does not know, the pointer is `path`.
                    Err(QueryError::Refused { status: 404, detail, .. })
                        if detail.starts_with("query: ") || detail.starts_with("path/id: ") =>
                    {
                        Vec::new()
                    }
                    Err(error) => return Err(error),
                };
                Ok(Gathered { items, generation: 0, broken: None })
            }
        }
    }
}

/// The agents of a cluster, and how they are reached. Verbs find it once, and then ask as often as they need.
#[derive(Clone)]
pub(super) struct Fleet {
    client: Client,
    agents: Vec<Agent>,
    port: u16,
    time_limit: Duration,
}

impl Fleet {
    /// Finds the agents of all nodes.
    ///
    /// # Errors
    /// If there are no credentials, or no agent is found.
    pub(super) async fn find(args: &ClusterArgs) -> Result<Self, ClusterError> {
        let client = agents::client(args).await?;
        let agents = agents::find(&client, args).await?;
        Ok(Self::of(client, agents, args))
    }

    /// Returns the fleet of agents that are found already.
    pub(super) fn of(client: Client, agents: Vec<Agent>, args: &ClusterArgs) -> Self {
        Self { client, agents, port: args.agents_port, time_limit: Duration::from_secs(args.timeout) }
    }

    /// Returns the agents, one per node.
    pub(super) fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// Returns the same cluster with these agents, found later.
    pub(super) fn with(&self, agents: Vec<Agent>) -> Self {
        Self { agents, ..self.clone() }
    }

    /// Returns how long one agent may take.
    pub(super) fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// Returns the way to an agent. Opens no stream yet.
    pub(super) fn forward(&self, agent: Agent) -> Forward {
        Forward::new(self.client(), agent, self.port)
    }

    /// Returns the client for the API server.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the names of the nodes with the pod of an agent.
    pub(super) fn nodes(&self) -> BTreeSet<&str> {
        self.agents.iter().map(|agent| agent.node.as_str()).collect()
    }

    /// Asks the agents of all nodes.
    ///
    /// # Errors
    /// If the agents refuse the question. Agents that do not answer are in [`Answers::missing`].
    pub(super) async fn ask(&self, question: &Question) -> Result<Answers, ClusterError> {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut tasks = JoinSet::new();
        for (number, agent) in self.agents.iter().cloned().enumerate() {
            let (client, slots, port) = (self.client.clone(), Arc::clone(&slots), self.port);
            let (question, time_limit) = (question.clone(), self.time_limit);
            tasks.spawn(async move {
                // Acquiring cannot fail, because the semaphore is never closed.
                let _slot = slots.acquire_owned().await;
                let node = agent.node.clone();
                (number, node, ask_agent(client, agent, port, &question, time_limit).await)
            });
        }
        let mut answered = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            answered.extend(ended.ok());
        }
        answered.sort_by_key(|(number, ..)| *number);
        merged(answered.into_iter().map(|(_, node, answer)| (node, answer)).collect())
            .map_err(ClusterError::Query)
    }
}

/// Objects of one agent and the reason why they are incomplete; or the failure.
pub(super) type AgentAnswer = Result<(Vec<Value>, Option<String>), AgentFailure>;

/// Reason why an agent gave no answer.
#[derive(Debug)]
pub(super) enum AgentFailure {
    /// The question is wrong, whatever the other agents answer.
    Question(QueryError),
    /// The question is wrong, or this agent is too old for it.
    QuestionOrVersion(QueryError),
    /// The agent cannot be reached, or did not answer.
    Node(String),
}

/// Says why an agent that refuses what others accept has no answer.
pub(super) fn perhaps_older(error: &QueryError) -> String {
    format!("its agent, perhaps an older one, refuses the question: {}", error.reason())
}

/// Asks one agent through a port-forward. Also asks whether the agent is ready, since its answer is incomplete otherwise.
async fn ask_agent(
    client: Client,
    agent: Agent,
    port: u16,
    question: &Question,
    time_limit: Duration,
) -> AgentAnswer {
    if let Some(obstacle) = agent.obstacle {
        return Err(AgentFailure::Node(obstacle));
    }
    let forward = Arc::new(Forward::new(client, agent, port));
    let dialer: Arc<dyn Dial> = Arc::clone(&forward) as _;
    let server = Server::Through(dialer);
    let answered = timeout(time_limit, async {
        let list = question.put(&server).await?;
        let readiness = request::get_bytes(&server, "/readyz").await;
        Ok::<_, QueryError>((list, readiness))
    });
    match answered.await {
        Err(_) => Err(AgentFailure::Node(format!("no answer within {} s", time_limit.as_secs()))),
        Ok(Err(error @ QueryError::SeveralTargets { .. })) => Err(AgentFailure::Question(error)),
        Ok(Err(error @ QueryError::Refused { status: 400..=499, .. })) => {
            Err(AgentFailure::QuestionOrVersion(error))
        }
        Ok(Err(error)) => Err(AgentFailure::Node(forward.port_error().unwrap_or_else(|| error.reason()))),
        Ok(Ok((Gathered { items, broken: Some(error), .. }, _))) => Ok((items, Some(error.reason()))),
        Ok(Ok((Gathered { items, .. }, Err(QueryError::Refused { status: 503, .. })))) => {
            Ok((items, Some(NOT_READY.to_owned())))
        }
        Ok(Ok((Gathered { items, .. }, _))) => Ok((items, None)),
    }
}

/// Merges the answers. Fails if the question is wrong: an agent reported [`AgentFailure::Question`], or no reached agent
/// accepted the question.
pub(super) fn merged(answered: Vec<(String, AgentAnswer)>) -> Result<Answers, QueryError> {
    let none_accepted = !answered.iter().any(|(_, answer)| answer.is_ok());
    let mut answers = Answers::default();
    for (node, answer) in answered {
        let (reason, answered) = match answer {
            Ok((items, reason)) => {
                answers.counts.push((node.clone(), items.len()));
                answers.items.extend(items);
                answers.nodes.insert(node.clone());
                (reason, true)
            }
            Err(AgentFailure::Question(error)) => return Err(error),
            Err(AgentFailure::QuestionOrVersion(error)) if none_accepted => return Err(error),
            Err(AgentFailure::QuestionOrVersion(error)) => (Some(perhaps_older(&error)), false),
            Err(AgentFailure::Node(reason)) => (Some(reason), false),
        };
        if let Some(reason) = reason {
            answers.missing.push(Missing { node: terminal(&node), reason: terminal(&reason), answered });
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::{AgentAnswer, AgentFailure, merged};
    use crate::query::error::QueryError;
    use serde_json::json;

    fn answered(id: &str) -> AgentAnswer {
        Ok((vec![json!({"id": id})], None))
    }

    fn refused() -> AgentAnswer {
        let (server, path, detail) = ("node b".into(), "/v1/findings".into(), "query/by: unknown".into());
        Err(AgentFailure::QuestionOrVersion(QueryError::Refused { server, path, status: 400, detail }))
    }

    fn silent() -> AgentAnswer {
        Err(AgentFailure::Node("no answer within 20 s".to_owned()))
    }

    #[test]
    fn answers_are_merged_node_by_node_and_missing_nodes_are_named() {
        let unready = Ok((vec![json!({"id": "2"})], Some("its agent is not ready yet".to_owned())));
        let answers = [("a", answered("1")), ("b\u{1b}[2J", silent()), ("c", unready)];
        let merged =
            merged(answers.map(|(node, answer)| (node.to_owned(), answer)).into()).expect("an answer");
        assert_eq!(merged.items, [json!({"id": "1"}), json!({"id": "2"})]);
        let by_node: Vec<_> = merged.by_node().collect();
        assert_eq!(by_node, [("a", &[json!({"id": "1"})][..]), ("c", &[json!({"id": "2"})])]);
        assert_eq!(merged.nodes.into_iter().collect::<Vec<_>>(), ["a", "c"]);
        let missing: Vec<_> = merged.missing.iter().map(|m| (m.node.as_str(), m.answered)).collect();
        assert_eq!(missing, [("b\\u{1b}[2J", false), ("c", true)]);
    }

    #[test]
    fn a_question_is_wrong_if_no_agent_accepts_it() {
        let of = |answers: [AgentAnswer; 2]| merged(answers.map(|answer| ("node".to_owned(), answer)).into());
        assert!(matches!(of([refused(), refused()]), Err(QueryError::Refused { status: 400, .. })));
        assert!(matches!(of([silent(), refused()]), Err(QueryError::Refused { status: 400, .. })));
        let answers = of([refused(), answered("1")]).expect("an answer");
        assert_eq!((answers.items.len(), answers.missing.len()), (1, 1));
        let detail = "2 pods are called web".to_owned();
        let several = Err(AgentFailure::Question(QueryError::SeveralTargets { detail }));
        assert!(matches!(of([answered("1"), several]), Err(QueryError::SeveralTargets { .. })));
    }
}
