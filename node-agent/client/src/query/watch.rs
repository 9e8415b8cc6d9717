//! `--watch`: the list, then every change. The stream is opened before the list is asked for, so that nothing falls
//! between them, and taken up again where it broke off.

use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::error::QueryError;
use super::request::{next_piece, open};
use super::show;
use super::sse::{Event, Reader};
use super::url::with_query;
use super::{Asked, Console, understood};
use crate::exit::Exit;

/// The agent sends a comment every 15 s: after this long the connection is dead.
const SILENCE: Duration = Duration::from_secs(40);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Follows until a finding at or above `--fail-on` is shown, or for ever. Only the first connection may fail.
pub async fn follow(asked: &Asked<'_>, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let mut pairs = vec![("kind", asked.subject.kind().to_owned())];
    pairs.extend(asked.watched.iter().cloned());
    let path = with_query("/v1/watch", &pairs);
    let mut session = Session { asked, path, last: None, is_listed: false };
    let mut delay = FIRST_DELAY;
    let mut stream = open(&asked.server, &session.path, None).await?;
    loop {
        let error = match session.run(&mut stream, console).await {
            Ok(exit) => return Ok(exit),
            Err(error @ (QueryError::Output(_) | QueryError::Refused { status: 400..500, .. })) => {
                return Err(error);
            }
            Err(error) => error,
        };
        console.say(&format!("{error}; trying again"))?;
        stream = loop {
            tokio::time::sleep(delay).await;
            match open(&asked.server, &session.path, session.last.as_deref()).await {
                Ok(stream) => break stream,
                Err(error @ QueryError::Refused { status: 400..500, .. }) => return Err(error),
                Err(_) => delay = (delay * 2).min(LONGEST_DELAY),
            }
        };
        delay = FIRST_DELAY;
    }
}

struct Session<'a> {
    asked: &'a Asked<'a>,
    path: String,
    /// Id of the last event, to go on from.
    last: Option<String>,
    /// The list was shown, and every change since was too.
    is_listed: bool,
}

impl Session<'_> {
    async fn run(
        &mut self,
        stream: &mut Response<Incoming>,
        console: &mut Console<'_>,
    ) -> Result<Exit, QueryError> {
        let server = &self.asked.server;
        let mut reader = Reader::default();
        // Without an id to go on from, changes may have been missed while nobody listened.
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

    /// Shows the list; true if `--fail-on` is reached.
    async fn list(&self, console: &mut Console<'_>) -> Result<bool, QueryError> {
        let list = self.asked.gather().await?;
        let fails = list.items.iter().any(|item| self.asked.reaches_fail_on(item));
        let shown = if self.asked.is_tabular() || list.items.is_empty() {
            console.list(self.asked, &list)
        } else {
            list.items.iter().try_for_each(|item| self.show(item, console))
        };
        match (shown, list.broken) {
            // The verdict stands, whether the reader waited for the whole list or not.
            (Err(error), _) if fails && error.is_closed_pipe() => Ok(true),
            (Err(error), _) | (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => Ok(fails),
        }
    }

    /// Shows a change; true if `--fail-on` is reached.
    fn event(&mut self, event: Event, console: &mut Console<'_>) -> Result<bool, QueryError> {
        match event.name.as_str() {
            "reset" => {
                console.say("the agent was restarted or has forgotten what came since: listing anew")?;
                self.is_listed = false;
                return Ok(false);
            }
            "lost" => {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({}));
                let missed = data.get("missed").and_then(Value::as_u64).unwrap_or(0);
                console.say(&format!("{missed} changes came faster than they were read: listing anew"))?;
                self.is_listed = false;
                return Ok(false);
            }
            kind if kind != self.asked.subject.kind() => return Ok(false),
            _ => {}
        }
        let item: Value =
            serde_json::from_str(&event.data).map_err(|error| self.broken(error.to_string()))?;
        self.last = event.id.or(self.last.take());
        let fails = self.asked.reaches_fail_on(&item);
        match self.show(&item, console) {
            Err(error) if fails && error.is_closed_pipe() => Ok(true),
            shown => shown.map(|()| fails),
        }
    }

    fn show(&self, item: &Value, console: &mut Console<'_>) -> Result<(), QueryError> {
        let text = show::change(self.asked.subject, item, self.asked.format);
        console.write(&understood(&self.asked.server, &self.path, text)?)
    }

    fn broken(&self, reason: String) -> QueryError {
        QueryError::BrokenOff { server: self.asked.server.to_string(), path: self.path.clone(), reason }
    }
}
