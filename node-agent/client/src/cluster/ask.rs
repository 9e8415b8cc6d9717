//! One question to every agent at once, and what came back from whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use portolan_report::escape::terminal;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::agents::{self, Agent};
use super::args::ClusterArgs;
use super::forward::Forward;
use crate::exit::Exit;
use crate::query::error::QueryError;
use crate::query::explain::said_of_target;
use crate::query::pages::{self, Gathered};
use crate::query::request;
use crate::query::server::Server;
use crate::query::show::NotShown;

/// Agents that are asked at the same time: each is a stream through the API server.
const AT_ONCE: usize = 16;

/// What the agents answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Objects as the agents wrote them, node by node.
    pub items: Vec<Value>,
    /// Nodes whose agent answered.
    pub nodes: BTreeSet<String>,
    pub missing: Vec<Missing>,
}

/// A node that is not, or not wholly, in the answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    pub node: String,
    pub reason: String,
    /// A part came.
    pub answered: bool,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("no credentials for a cluster: {}; --kubeconfig or KUBECONFIG says where they are", terminal(.0))]
    Credentials(String),
    #[error(
        "the agents' pods cannot be listed: {}; it needs `list` on pods (with --agents-namespace only there)",
        terminal(.0)
    )]
    NotListed(String),
    #[error(
        "no agent found: no pod {place} has the labels {selector}; is portolan installed? \
         (`helm list -A`; --agents-namespace and --agents-selector say where to look)"
    )]
    NoAgents { selector: String, place: String },
    #[error("an answer is not portolan's: {0}")]
    NotUnderstood(NotShown),
    #[error(transparent)]
    Output(#[from] QueryError),
}

impl ClusterError {
    /// The exit code when this ends the command.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Credentials(_) => Exit::WrongUse,
            Self::Output(error) => error.exit(),
            Self::Start(_) | Self::NotListed(_) | Self::NoAgents { .. } | Self::NotUnderstood(_) => {
                Exit::Partial
            }
        }
    }

    /// Whether the reader of our output went away, which is no fault.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.is_closed_pipe())
    }
}

/// What every agent is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// The list of this path, with filters.
    List(&'static str, Vec<(&'static str, String)>),
    /// The object of this path and query; who does not know it has answered too.
    Object(String),
}

impl Question {
    async fn put(&self, server: &Server) -> Result<Gathered, QueryError> {
        match self {
            Self::List(path, filters) => pages::gather(server, path, filters).await,
            Self::Object(path) => {
                let items = match request::get(server, path).await.map_err(said_of_target) {
                    Ok(object) => vec![object],
                    Err(QueryError::NoTarget { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                };
                Ok(Gathered { items, generation: 0, broken: None })
            }
        }
    }
}

/// Asks every agent.
///
/// # Errors
/// Where no agent could be found; agents that do not answer are in [`Answers::missing`].
pub async fn everyone(args: &ClusterArgs, question: &Question) -> Result<Answers, ClusterError> {
    let client = agents::client(args).await?;
    let agents = agents::find(&client, args).await?;
    let patience = Duration::from_secs(args.timeout);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for (number, agent) in agents.into_iter().enumerate() {
        let (client, places, port) = (client.clone(), Arc::clone(&places), args.agents_port);
        let question = question.clone();
        asking.spawn(async move {
            // Never closed; a permit is only a place in the row.
            let _place = places.acquire_owned().await;
            let node = agent.node.clone();
            (number, node, one(client, agent, port, &question, patience).await)
        });
    }
    let mut answered = Vec::new();
    while let Some(ended) = asking.join_next().await {
        answered.extend(ended.ok());
    }
    answered.sort_by_key(|(number, ..)| *number);
    merged(answered.into_iter().map(|(_, node, answer)| (node, answer)).collect())
        .map_err(ClusterError::Output)
}

/// A list, and what is wrong with it; or why there is none.
type OneAnswer = Result<(Vec<Value>, Option<String>), Refusal>;

/// Why an agent gave nothing.
#[derive(Debug)]
enum Refusal {
    /// The question is wrong, whatever others say of it.
    Question(QueryError),
    /// The question is wrong, or this agent is too old for it.
    Perhaps(QueryError),
    Node(String),
}

async fn one(client: Client, agent: Agent, port: u16, question: &Question, patience: Duration) -> OneAnswer {
    if let Some(obstacle) = agent.obstacle {
        return Err(Refusal::Node(obstacle));
    }
    let way = Arc::new(Forward::new(client, agent, port));
    let dial: Arc<dyn crate::query::server::Dial> = Arc::clone(&way) as _;
    let server = Server::Through(dial);
    let answered = timeout(patience, async {
        let list = question.put(&server).await?;
        let readiness = request::get_bytes(&server, "/readyz").await;
        Ok::<_, QueryError>((list, readiness))
    });
    match answered.await {
        Err(_) => Err(Refusal::Node(format!("no answer within {} s", patience.as_secs()))),
        Ok(Err(error @ QueryError::SeveralTargets { .. })) => Err(Refusal::Question(error)),
        Ok(Err(error @ QueryError::Refused { status: 400..=499, .. })) => Err(Refusal::Perhaps(error)),
        Ok(Err(error)) => Err(Refusal::Node(way.complaint().unwrap_or_else(|| error.reason()))),
        Ok(Ok((Gathered { items, broken: Some(error), .. }, _))) => Ok((items, Some(error.reason()))),
        Ok(Ok((Gathered { items, .. }, Err(QueryError::Refused { status: 503, .. })))) => {
            Ok((items, Some("its agent is not ready yet".to_owned())))
        }
        Ok(Ok((Gathered { items, .. }, _))) => Ok((items, None)),
    }
}

/// All in one, unless the question is wrong: that is so where nobody who was reached took it.
fn merged(answered: Vec<(String, OneAnswer)>) -> Result<Answers, QueryError> {
    let nobody_took_it = !answered.iter().any(|(_, answer)| answer.is_ok());
    let mut answers = Answers::default();
    for (node, answer) in answered {
        let (reason, answered) = match answer {
            Ok((items, reason)) => {
                answers.items.extend(items);
                answers.nodes.insert(node.clone());
                (reason, true)
            }
            Err(Refusal::Question(error)) => return Err(error),
            Err(Refusal::Perhaps(error)) if nobody_took_it => return Err(error),
            Err(Refusal::Perhaps(error)) => (
                Some(format!("its agent, perhaps an older one, refuses the question: {}", error.reason())),
                false,
            ),
            Err(Refusal::Node(reason)) => (Some(reason), false),
        };
        if let Some(reason) = reason {
            answers.missing.push(Missing { node: terminal(&node), reason: terminal(&reason), answered });
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::{OneAnswer, Refusal, merged};
    use crate::query::error::QueryError;
    use serde_json::json;

    fn answered(id: &str) -> OneAnswer {
        Ok((vec![json!({"id": id})], None))
    }

    fn refused() -> OneAnswer {
        let (server, path, detail) = ("node b".into(), "/v1/findings".into(), "query/by: unknown".into());
        Err(Refusal::Perhaps(QueryError::Refused { server, path, status: 400, detail }))
    }

    fn silent() -> OneAnswer {
        Err(Refusal::Node("no answer within 20 s".to_owned()))
    }

    #[test]
    fn answers_are_merged_node_by_node_and_who_is_missing_is_named() {
        let unready = Ok((vec![json!({"id": "2"})], Some("its agent is not ready yet".to_owned())));
        let answers = [("a", answered("1")), ("b\u{1b}[2J", silent()), ("c", unready)];
        let merged =
            merged(answers.map(|(node, answer)| (node.to_owned(), answer)).into()).expect("an answer");
        assert_eq!(merged.items, [json!({"id": "1"}), json!({"id": "2"})]);
        assert_eq!(merged.nodes.into_iter().collect::<Vec<_>>(), ["a", "c"]);
        let missing: Vec<_> = merged.missing.iter().map(|m| (m.node.as_str(), m.answered)).collect();
        assert_eq!(missing, [("b\\u{1b}[2J", false), ("c", true)]);
    }

    #[test]
    fn a_question_is_wrong_where_nobody_takes_it_and_else_it_is_the_agent() {
        let of = |answers: [OneAnswer; 2]| merged(answers.map(|answer| ("node".to_owned(), answer)).into());
        assert!(matches!(of([refused(), refused()]), Err(QueryError::Refused { status: 400, .. })));
        assert!(matches!(of([silent(), refused()]), Err(QueryError::Refused { status: 400, .. })));
        let answers = of([refused(), answered("1")]).expect("an answer");
        assert_eq!((answers.items.len(), answers.missing.len()), (1, 1));
        let detail = "2 pods are called web".to_owned();
        let several = Err(Refusal::Question(QueryError::SeveralTargets { detail }));
        assert!(matches!(of([answered("1"), several]), Err(QueryError::SeveralTargets { .. })));
    }
}
