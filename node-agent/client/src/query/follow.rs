//! Follows one agent: its list, then every change, over a stream that is resumed where it broke off.
//!
//! The stream is opened before the list is requested, so that no change is missed between the two. The follower is asked for one
//! piece of news after the other: who reads slowly slows the stream, and the agent then says how much was missed.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::error::QueryError;
use super::filters::Pairs;
use super::pages;
use super::request::{next_piece, open};
use super::server::Server;
use super::show::Subject;
use super::sse::{self, Event, Reader};
use super::url::with_query;

/// Time without any byte after which the connection counts as dead. The agent sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// Delay before the first attempt to reconnect; doubles with each attempt.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Delays between attempts to reconnect. Each is twice the one before it, up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Creates delays of at most `longest`.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { next: FIRST_DELAY, longest }
    }

    /// Begins with the shortest delay again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_DELAY;
    }

    /// Waits for the next delay.
    pub(crate) async fn wait(&mut self) {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        tokio::time::sleep(delay).await;
    }
}

/// What an agent is followed for.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Type of the objects.
    pub(crate) subject: Subject,
    /// Filters of the list.
    pub(crate) list_filters: Pairs,
    /// Filters of the stream.
    pub(crate) watch_filters: Pairs,
}

/// One piece of news of an agent.
#[derive(Debug)]
pub(crate) enum News {
    /// The stream is open. If it was resumed, changes follow; otherwise the list does.
    Opened,
    /// An object of the list.
    Item(Value),
    /// The list is complete, with the generation of its last page; changes follow.
    Listed { generation: u64 },
    /// An object that changed, of one of the kinds that are followed.
    Change { kind: &'static str, item: Value },
    /// Changes are missing. The list, if there is one, follows anew.
    Gap(Gap),
}

/// Why changes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Gap {
    /// The agent cannot resume the stream.
    #[error("the agent was restarted or has forgotten what came since: listing anew")]
    Reset,
    /// The stream was read too slowly.
    #[error("{missed} changes came faster than they were read: listing anew")]
    Lost {
        /// Number of changes, of any kind.
        missed: u64,
    },
}

/// Follows one agent. Outlives its connections.
pub(crate) struct Follower {
    server: Server,
    /// Kinds of the objects that are followed.
    kinds: &'static [&'static str],
    /// Path and filters of the list that precedes the changes; `None` if there is none.
    list_of: Option<(&'static str, Pairs)>,
    /// Path and query of the stream.
    path: String,
    /// Maximum number of bytes of an event.
    max_event: usize,
    stream: Option<Stream>,
    /// Id of the last event, from which the stream is resumed.
    last: Option<String>,
    /// True if the list was fetched, and no change is missing since.
    is_listed: bool,
    list: List,
}

/// An open stream.
struct Stream {
    response: Response<Incoming>,
    reader: Reader,
    /// Events that arrived and were not taken yet.
    events: VecDeque<Event>,
}

/// A list that is fetched page by page. Holds one page.
#[derive(Default)]
struct List {
    items: VecDeque<Value>,
    /// Key after which the next page begins.
    after: Option<String>,
    /// Generation of the last page.
    generation: u64,
    /// True if the last page was fetched.
    is_whole: bool,
}

impl Follower {
    /// Creates a follower. Opens no connection yet.
    pub(crate) fn new(server: Server, topic: Topic) -> Self {
        let kinds = topic.subject.kinds();
        let list_of = Some((topic.subject.path(), topic.list_filters));
        Self { list_of, ..Self::without_list(server, kinds, topic.watch_filters, sse::MAX_OBJECT) }
    }

    /// Creates a follower of the changes alone: what there is before them is read by who follows. Opens no connection yet.
    pub(crate) fn without_list(
        server: Server,
        kinds: &'static [&'static str],
        filters: Pairs,
        max_event: usize,
    ) -> Self {
        let pairs: Pairs = [("kind", kinds.join(","))].into_iter().chain(filters).collect();
        let path = with_query("/v1/watch", &pairs);
        Self {
            server,
            kinds,
            list_of: None,
            path,
            max_event,
            stream: None,
            last: None,
            is_listed: false,
            list: List::default(),
        }
    }

    /// Returns the path and query of the stream.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the agent's address.
    #[cfg(feature = "cluster")]
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns true while only changes are awaited: the stream is open, and no list is being fetched.
    pub(crate) fn is_live(&self) -> bool {
        self.stream.is_some() && self.is_listed
    }

    /// Waits for the next piece of news. After an error, the next call connects again. Unless the follower is live, a call may be
    /// given up only together with the connection ([`Self::disconnect`]).
    ///
    /// # Errors
    /// If the agent cannot be reached, refuses, or breaks off.
    pub(crate) async fn next(&mut self) -> Result<News, QueryError> {
        let news = self.advance().await;
        if news.is_err() {
            self.disconnect();
        }
        news
    }

    /// Closes the connection.
    pub(crate) fn disconnect(&mut self) {
        self.stream = None;
        self.list = List::default();
    }

    async fn advance(&mut self) -> Result<News, QueryError> {
        loop {
            let Some(stream) = &mut self.stream else { return self.open().await };
            // Events from before a list are shown before it: they are older.
            if let Some(event) = stream.events.pop_front() {
                if let Some(news) = self.news(event)? {
                    return Ok(news);
                }
                continue;
            }
            if let Some(id) = stream.reader.last_id() {
                self.last = Some(id.to_owned());
            }
            if !self.is_listed {
                return self.list_on().await;
            }
            let piece = next_piece(&self.server, &self.path, &mut stream.response, SILENCE).await?;
            let read = piece.map(|piece| stream.reader.read(&piece));
            match read {
                None => return Err(self.broken("the agent ended the stream".to_owned())),
                Some(Err(error)) => return Err(self.broken(error.to_string())),
                Some(Ok(events)) => stream.events.extend(events),
            }
        }
    }

    async fn open(&mut self) -> Result<News, QueryError> {
        let response = open(&self.server, &self.path, self.last.as_deref()).await?;
        self.stream = Some(Stream { response, reader: Reader::new(self.max_event), events: VecDeque::new() });
        // Without an id to resume from, changes may have been missed while there was no connection.
        self.is_listed = self.list_of.is_none() || (self.is_listed && self.last.is_some());
        Ok(News::Opened)
    }

    /// Returns the next object of the list, or its end.
    async fn list_on(&mut self) -> Result<News, QueryError> {
        loop {
            if let Some(item) = self.list.items.pop_front() {
                return Ok(News::Item(item));
            }
            if self.list.is_whole {
                let generation = std::mem::take(&mut self.list).generation;
                self.is_listed = true;
                return Ok(News::Listed { generation });
            }
            let Some((path, filters)) = &self.list_of else {
                self.list.is_whole = true;
                continue;
            };
            let page = pages::page(&self.server, path, filters, self.list.after.take()).await?;
            self.list = List {
                items: page.items.into(),
                generation: page.generation,
                is_whole: page.r#continue.is_none(),
                after: page.r#continue,
            };
        }
    }

    /// Returns what an event says; `None` for events of other kinds.
    fn news(&mut self, event: Event) -> Result<Option<News>, QueryError> {
        let gap = match event.name.as_str() {
            "reset" => Gap::Reset,
            "lost" => {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({}));
                Gap::Lost { missed: data.get("missed").and_then(Value::as_u64).unwrap_or(0) }
            }
            name => {
                let Some(kind) = self.kinds.iter().copied().find(|kind| *kind == name) else {
                    return Ok(None);
                };
                let item =
                    serde_json::from_str(&event.data).map_err(|error| self.broken(error.to_string()))?;
                self.last = event.id.or(self.last.take());
                return Ok(Some(News::Change { kind, item }));
            }
        };
        self.is_listed = self.list_of.is_none();
        Ok(Some(News::Gap(gap)))
    }

    fn broken(&self, reason: String) -> QueryError {
        QueryError::BrokenOff { server: self.server.to_string(), path: self.path.clone(), reason }
    }
}
