//! `--watch`: shows the list, then every change.
//!
//! The stream is opened before the list is requested, so that no change is missed between the two. A stream that breaks off
//! is resumed.

use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::agent_query::AgentQuery;
use super::console::Console;
use super::error::QueryError;
use super::outcome::formatted;
use super::request::{next_piece, open};
use super::show;
use super::sse::{Event, Reader};
use super::url::with_query;
use crate::exit::Exit;

/// Time without any byte after which the connection counts as dead. The agent sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// Delay before the first attempt to reconnect; doubles with each attempt.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// Maximum delay between attempts to reconnect.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Follows the stream until a finding at or above `--fail-on` is shown, or without end. Reconnects if the connection breaks,
/// but fails if the first connection fails.
pub(super) async fn follow(query: &AgentQuery, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let mut pairs = vec![("kind", query.query.subject.kind().to_owned())];
    pairs.extend(query.query.watch_filters.iter().cloned());
    let path = with_query("/v1/watch", &pairs);
    let mut session = Session { query, path, last: None, is_listed: false };
    let mut delay = FIRST_DELAY;
    let mut stream = open(&query.server, &session.path, None).await?;
    loop {
        let error = match session.run(&mut stream, console).await {
            Ok(exit) => return Ok(exit),
            Err(error @ (QueryError::Output(_) | QueryError::Refused { status: 400..500, .. })) => {
                return Err(error);
            }
            Err(error) => error,
        };
        console.message(&format!("{error}; trying again"))?;
        stream = loop {
            tokio::time::sleep(delay).await;
            match open(&query.server, &session.path, session.last.as_deref()).await {
                Ok(stream) => break stream,
                Err(error @ QueryError::Refused { status: 400..500, .. }) => return Err(error),
                Err(_) => delay = (delay * 2).min(LONGEST_DELAY),
            }
        };
        delay = FIRST_DELAY;
    }
}

/// State that outlives one connection.
struct Session<'a> {
    query: &'a AgentQuery,
    /// Path and query of the stream.
    path: String,
    /// Id of the last event, from which the stream is resumed.
    last: Option<String>,
    /// True if the list and every change since then have been shown.
    is_listed: bool,
}

impl Session<'_> {
    /// Follows one connection until it breaks (an error), or until `--fail-on` is reached.
    async fn run(
        &mut self,
        stream: &mut Response<Incoming>,
        console: &mut Console<'_>,
    ) -> Result<Exit, QueryError> {
        let server = &self.query.server;
        let mut reader = Reader::default();
        // Without an id to resume from, changes may have been missed while there was no connection.
        self.is_listed &= self.last.is_some();
        loop {
            if !self.is_listed {
                if self.list(console).await? {
                    return Ok(Exit::FailOn);
                }
                self.is_listed = true;
            }
            let Some(piece) = next_piece(server, &self.path, stream, SILENCE).await? else {
                return Err(self.broken("the agent ended it".to_owned()));
            };
            for event in reader.read(&piece).map_err(|error| self.broken(error.to_string()))? {
                if self.event(event, console)? {
                    return Ok(Exit::FailOn);
                }
            }
            if let Some(id) = reader.last_id() {
                self.last = Some(id.to_owned());
            }
        }
    }

    /// Shows the list. Returns true if `--fail-on` is reached.
    async fn list(&self, console: &mut Console<'_>) -> Result<bool, QueryError> {
        let list = self.query.gather().await?;
        let fails = list.items.iter().any(|item| self.query.reaches_fail_on(item));
        let shown = if self.query.is_tabular() || list.items.is_empty() {
            self.query.write_list(&list, self.query.suppressed_instead(&list).await, console)
        } else {
            list.items.iter().try_for_each(|item| self.show(item, console))
        };
        match (shown, list.broken) {
            // The exit code of --fail-on holds even if the reader closes the pipe before the end of the list.
            (Err(error), _) if fails && error.is_closed_pipe() => Ok(true),
            (Err(error), _) | (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => Ok(fails),
        }
    }

    /// Shows a change. Returns true if `--fail-on` is reached.
    fn event(&mut self, event: Event, console: &mut Console<'_>) -> Result<bool, QueryError> {
        match event.name.as_str() {
            "reset" => {
                console.message("the agent was restarted or has forgotten what came since: listing anew")?;
                self.is_listed = false;
                return Ok(false);
            }
            "lost" => {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({}));
                let missed = data.get("missed").and_then(Value::as_u64).unwrap_or(0);
                console
                    .message(&format!("{missed} changes came faster than they were read: listing anew"))?;
                self.is_listed = false;
                return Ok(false);
            }
            kind if kind != self.query.query.subject.kind() => return Ok(false),
            _ => {}
        }
        let item: Value =
            serde_json::from_str(&event.data).map_err(|error| self.broken(error.to_string()))?;
        self.last = event.id.or(self.last.take());
        let fails = self.query.reaches_fail_on(&item);
        match self.show(&item, console) {
            Err(error) if fails && error.is_closed_pipe() => Ok(true),
            shown => shown.map(|()| fails),
        }
    }

    fn show(&self, item: &Value, console: &mut Console<'_>) -> Result<(), QueryError> {
        let text = show::change(self.query.query.subject, item, self.query.format);
        console.write(&formatted(&self.query.server, &self.path, text)?)
    }

    fn broken(&self, reason: String) -> QueryError {
        QueryError::BrokenOff { server: self.query.server.to_string(), path: self.path.clone(), reason }
    }
}
