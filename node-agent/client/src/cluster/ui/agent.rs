//! What the page asks one agent: everything about its node, then every change. An agent that does not know the chart is asked for
//! its lists instead.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use portolan_report::chart::{Chart, MAX_DECLARED, TrafficCounts};
use portolan_report::chart_filter::STATES;
use portolan_report::wire::AgentStatus;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::node_answer::{self, NodeAnswer};
use crate::cluster::follow::agent_task::{self, Dialogue};
use crate::query::error::QueryError;
use crate::query::follow::{Follower, News};
use crate::query::request;
use crate::query::server::Server;
use crate::query::status;
use crate::query::url::with_query;

/// Maximum number of bytes of an event: an agent's has the counts of 500 rows at most.
const MAX_EVENT: usize = 4 << 20;
/// Kinds of the events that are followed.
const KINDS: &[&str] = &["Finding", "AgentStatus", "Loss", "Traffic"];
/// Kinds of the events that an older agent knows.
const OLDER_KINDS: &[&str] = &["Finding", "AgentStatus", "Loss"];
/// Time for which changed findings are collected before their rows are asked for.
const COLLECT: Duration = Duration::from_millis(20);
/// Maximum number of findings that are collected.
const MAX_COLLECTED: usize = 200;
/// Shortest time after which everything is read again: no event tells of declared ports and of the counts of callers.
const REREAD: Duration = Duration::from_secs(100);
/// The time is longer by less than this, so that not all nodes are read at the same moment.
const SPREAD: Duration = Duration::from_secs(40);
/// Time after which everything is read again from an older agent, of a node whose answer is incomplete, and of one whose chart does
/// not list everything.
const REREAD_SOON: Duration = Duration::from_secs(5);

/// Minimum time between two readings of a node whose chart does not list everything.
const REREAD_COUNTED: Duration = Duration::from_secs(30);

/// What the task of an agent reports.
pub(super) type Message = agent_task::Message<Told>;

/// What an agent tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Everything about the node, and the findings that changed meanwhile. True if changes may have been missed.
    Read { answer: Box<NodeAnswer>, findings: Vec<Value>, is_gap: bool },
    /// Rows that changed: those of `fingerprints` are in the chart, or gone. And the findings that changed.
    Rows { fingerprints: BTreeSet<String>, chart: Box<Chart>, findings: Vec<Value> },
    /// Counts of rows.
    Traffic(TrafficCounts),
    /// The agent's status, as it is and as it was sent.
    Status(Box<AgentStatus>, Value),
    /// Losses, and the status that counts them.
    Loss(Box<AgentStatus>, Vec<Value>),
}

/// The questions to one agent.
pub(super) struct AgentDialogue {
    follower: Follower,
    /// True if the agent does not know the kinds of [`KINDS`].
    is_older: bool,
    /// True if everything was read since the stream was opened.
    is_read: bool,
    /// True if changes may have been missed since the last reading.
    is_gap: bool,
    /// True if the chart only counts some rows or ports. A row that changes can be among those, and is counted twice then, until
    /// everything is read again.
    is_counted: bool,
    /// When everything was read.
    read_at: Instant,
    /// Time between two readings of everything.
    reread: Duration,
    /// When everything is read again.
    reread_at: Instant,
    /// News that came while findings were collected.
    queue: VecDeque<News>,
    /// Findings whose rows are to be asked for.
    findings: Vec<Value>,
    /// Losses that the status is to be asked for.
    losses: Vec<Value>,
}

impl AgentDialogue {
    /// Begins a dialogue.
    pub(super) fn new(server: Server) -> Self {
        Self {
            reread: reread(&server.to_string()),
            follower: Follower::without_list(server, KINDS, Vec::new(), MAX_EVENT),
            is_older: false,
            is_read: false,
            is_gap: true,
            is_counted: false,
            read_at: Instant::now(),
            reread_at: Instant::now(),
            queue: VecDeque::new(),
            findings: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Opens the stream. An agent that refuses the kinds is asked for fewer.
    async fn open(&mut self) -> Result<(), QueryError> {
        self.is_read = false;
        self.is_gap = true;
        self.queue.clear();
        self.findings.clear();
        self.losses.clear();
        match self.follower.next().await {
            Err(QueryError::Refused { status: 400, .. }) if !self.is_older => {
                self.is_older = true;
                let server = self.follower.server().clone();
                self.follower = Follower::without_list(server, OLDER_KINDS, Vec::new(), MAX_EVENT);
                Ok(())
            }
            opened => opened.map(drop),
        }
    }

    async fn read(&mut self) -> Result<Told, QueryError> {
        let answer = Box::new(node_answer::read(self.follower.server()).await?);
        // Of a node that is not known in full, more is known soon.
        let pause = if answer.incomplete.is_some() { REREAD_SOON } else { self.reread };
        self.note_reading(&answer.chart, pause);
        let findings = std::mem::take(&mut self.findings);
        Ok(Told::Read { answer, findings, is_gap: std::mem::take(&mut self.is_gap) })
    }

    /// Notes that everything was read, to be read again after a pause.
    fn note_reading(&mut self, chart: &Chart, pause: Duration) {
        self.is_read = true;
        self.is_counted =
            chart.totals.unlisted > 0 || chart.totals.unjudged > 0 || !chart.declared.is_empty();
        self.read_at = Instant::now();
        self.reread_at = self.read_at + pause;
    }

    /// Asks for the rows of the findings that changed. The lists of an older agent are read whole, soon.
    async fn rows(&mut self) -> Result<Option<Told>, QueryError> {
        if self.is_older {
            self.is_read = false;
            return Ok(None);
        }
        let fingerprints: BTreeSet<String> = self.findings.iter().flat_map(fingerprints).collect();
        let pairs = [
            ("fingerprint", fingerprints.iter().cloned().collect::<Vec<_>>().join(",")),
            ("state", STATES.join(",")),
            ("declared", MAX_DECLARED.to_string()),
        ];
        let path = with_query(node_answer::CHART, &pairs);
        let server = self.follower.server();
        let chart = request::get_within(server, &path, node_answer::MAX_ANSWER).await?;
        let mut chart = Box::new(node_answer::checked(server, chart)?);
        chart.rows.retain(|row| fingerprints.contains(&row.fingerprint));
        Ok(Some(self.told_rows(fingerprints, chart)))
    }

    /// Tells the rows of the findings that changed.
    fn told_rows(&mut self, fingerprints: BTreeSet<String>, chart: Box<Chart>) -> Told {
        if self.is_counted {
            // A node on which something changes all the time is not read all the time.
            self.read_soon(REREAD_COUNTED);
        }
        Told::Rows { fingerprints, chart, findings: std::mem::take(&mut self.findings) }
    }

    /// Asks for the status, which counts the losses.
    async fn status(&mut self) -> Result<Told, QueryError> {
        let status =
            request::get_within(self.follower.server(), status::PATH, node_answer::MAX_ANSWER).await?;
        Ok(Told::Loss(Box::new(status), std::mem::take(&mut self.losses)))
    }

    /// Waits for news of a live stream, or for the time at which everything is read again.
    async fn listen(&mut self) -> Result<Option<Told>, QueryError> {
        let news = match self.queue.pop_front() {
            Some(news) => news,
            None => tokio::select! {
                news = self.follower.next() => news?,
                () = sleep_until(self.reread_at) => {
                    self.is_read = false;
                    return Ok(None);
                }
            },
        };
        match news {
            News::Change { kind: "Finding", item } => {
                self.findings.push(item);
                self.collect().await?;
                if self.is_older {
                    // Its lists are read whole: not more often than they can be read.
                    self.read_soon(Duration::ZERO);
                }
                Ok(None)
            }
            News::Change { kind: "Traffic", item } => Ok(Some(Told::Traffic(self.parsed(item)?))),
            News::Change { kind: "AgentStatus", item } => {
                Ok(Some(Told::Status(Box::new(self.parsed(item.clone())?), item)))
            }
            News::Change { item, .. } => {
                self.losses.push(item);
                Ok(None)
            }
            News::Gap(_) => {
                (self.is_read, self.is_gap) = (false, true);
                self.findings.clear();
                Ok(None)
            }
            News::Opened | News::Item(_) | News::Listed { .. } => Ok(None),
        }
    }

    /// Brings the time forward at which everything is read again, at least so long after the last reading.
    fn read_soon(&mut self, after: Duration) {
        let soon = (Instant::now() + REREAD_SOON).max(self.read_at + after);
        self.reread_at = self.reread_at.min(soon);
    }

    /// Collects the findings that change at about the same time.
    async fn collect(&mut self) -> Result<(), QueryError> {
        let end = Instant::now() + COLLECT;
        while self.findings.len() < MAX_COLLECTED && self.queue.len() < MAX_COLLECTED {
            match timeout_at(end, self.follower.next()).await {
                Err(_) => break,
                Ok(Err(error)) => return Err(error),
                Ok(Ok(News::Change { kind: "Finding", item })) => self.findings.push(item),
                Ok(Ok(news)) => self.queue.push_back(news),
            }
        }
        Ok(())
    }

    fn parsed<T: DeserializeOwned>(&self, item: Value) -> Result<T, QueryError> {
        serde_json::from_value(item).map_err(|error| QueryError::NotUnderstood {
            server: self.follower.server().to_string(),
            path: self.follower.path().to_owned(),
            reason: error.to_string(),
        })
    }

    /// Returns true if rows are to be asked for now.
    fn has_rows_to_ask(&self) -> bool {
        !self.findings.is_empty()
            && (!self.is_older || self.findings.len() >= MAX_COLLECTED || Instant::now() >= self.reread_at)
    }
}

/// Returns the time between two readings of an agent. It differs between agents.
fn reread(agent: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
    REREAD + Duration::from_millis(hasher.finish().checked_rem(spread).unwrap_or_default())
}

/// Returns the fingerprint of a finding, and the one that it had before, whose row has a finding less.
fn fingerprints(finding: &Value) -> impl Iterator<Item = String> {
    let of = |field: &str| finding.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let current = of("fingerprint").or_else(|| of("id"));
    [current, of("formerFingerprint")].into_iter().flatten().map(str::to_owned)
}

impl Dialogue for AgentDialogue {
    type Told = Told;
    // A stream through the API server is closed now and then, and opened again at once.
    const ATTEMPTS: u32 = 2;

    fn is_live(&self) -> bool {
        self.follower.is_live() && self.is_read && self.losses.is_empty() && !self.has_rows_to_ask()
    }

    async fn step(&mut self) -> Result<Option<Told>, QueryError> {
        let step = if !self.follower.is_live() {
            self.open().await.map(|()| None)
        } else if !self.is_read {
            self.read().await.map(Some)
        } else if self.has_rows_to_ask() {
            self.rows().await
        } else if !self.losses.is_empty() {
            self.status().await.map(Some)
        } else {
            self.listen().await
        };
        if step.is_err() {
            self.disconnect();
        }
        step
    }

    fn disconnect(&mut self) {
        self.follower.disconnect();
        self.is_read = false;
    }

    fn stream(&self) -> (&Server, &str) {
        (self.follower.server(), self.follower.path())
    }
}

#[cfg(test)]
mod tests {
    use portolan_report::chart::{ChartTotals, DeclaredPorts};

    use super::*;

    #[test]
    fn a_chart_that_only_counts_something_is_read_again_soon_after_a_change() {
        let unlisted =
            Chart { totals: ChartTotals { unlisted: 1, ..ChartTotals::default() }, ..Chart::default() };
        let unjudged =
            Chart { totals: ChartTotals { unjudged: 1, ..ChartTotals::default() }, ..Chart::default() };
        let declared = Chart { declared: vec![DeclaredPorts::default()], ..Chart::default() };
        for (chart, is_soon) in
            [(Chart::default(), false), (unlisted, true), (declared, true), (unjudged, true)]
        {
            let mut dialogue = AgentDialogue::new(Server::parse("localhost").expect("an address"));
            let later = Instant::now() + REREAD;
            dialogue.note_reading(&chart, REREAD);
            let told = dialogue.told_rows(["a".to_owned()].into(), Box::default());
            assert!(matches!(told, Told::Rows { .. }));
            assert_eq!(dialogue.reread_at < later, is_soon, "{chart:?}");
            assert!(dialogue.reread_at >= dialogue.read_at + REREAD_COUNTED, "not all the time");
            dialogue.note_reading(&chart, REREAD);
            assert!(dialogue.reread_at >= later, "without a change there is no hurry");
        }
    }

    #[test]
    fn nodes_are_not_all_read_again_at_the_same_moment() {
        let times: BTreeSet<Duration> = (0..100).map(|node| reread(&format!("node-{node}"))).collect();
        assert!(times.len() > 50, "{times:?}");
        assert!(times.iter().all(|time| (REREAD..REREAD + SPREAD).contains(time)), "{times:?}");
    }
}
