//! `--watch` for one agent: shows the list, then every change. A connection that breaks off is opened again.

use std::time::Duration;

use serde_json::Value;

use super::agent_query::AgentQuery;
use super::console::Console;
use super::error::QueryError;
use super::filters::Scope;
use super::follow::{Backoff, Follower, News, Topic};
use super::outcome::formatted;
use super::pages::Gathered;
use super::show;
use crate::exit::Exit;

/// Maximum delay between attempts to reconnect.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Follows the agent until a finding at or above `--fail-on` is shown, or without end. Reconnects if the connection breaks,
/// but fails if the first connection fails.
pub(super) async fn follow(query: &AgentQuery, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let topic = Topic {
        subject: query.query.subject,
        list_filters: query.query.list_filters.clone(),
        watch_filters: query.query.watch_filters.clone(),
    };
    let mut follower = Follower::new(query.server.clone(), topic);
    let mut backoff = Backoff::new(LONGEST_DELAY);
    let mut shown = Shown { query, path: follower.path().to_owned(), list: Vec::new() };
    let (mut was_opened, mut is_broken) = (false, false);
    loop {
        let news = match follower.next().await {
            Ok(news) => news,
            Err(error) if error.is_refusal() || !was_opened => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut is_broken, true) {
                    if !shown.list.is_empty() && shown.show_list(0, console).await? {
                        return Ok(Exit::FailOn);
                    }
                    console.message(&format!("{error}; trying again"))?;
                }
                backoff.wait().await;
                continue;
            }
        };
        was_opened = true;
        // An open stream is not enough: a list that breaks off each time would be asked for, and shown, again and again.
        if follower.is_live() {
            is_broken = false;
            backoff.reset();
        }
        if shown.show(news, console).await? {
            return Ok(Exit::FailOn);
        }
    }
}

/// What was received and is to be shown.
struct Shown<'a> {
    query: &'a AgentQuery,
    /// Path and query of the stream.
    path: String,
    /// Objects of a list that is not complete yet.
    list: Vec<Value>,
}

impl Shown<'_> {
    /// Shows a piece of news. Returns true if `--fail-on` is reached.
    async fn show(&mut self, news: News, console: &mut Console<'_>) -> Result<bool, QueryError> {
        match news {
            News::Opened => self.list.clear(),
            News::Item(item) => self.list.push(item),
            News::Listed { generation } => return self.show_list(generation, console).await,
            News::Gap(gap) => console.message(&gap.to_string())?,
            News::Change { item, .. } => {
                return unless_closed(self.show_change(&item, console), self.query.reaches_fail_on(&item));
            }
        }
        Ok(false)
    }

    /// Shows the list, or the part of it that came before the connection broke. Returns true if `--fail-on` is reached.
    async fn show_list(&mut self, generation: u64, console: &mut Console<'_>) -> Result<bool, QueryError> {
        let fails = self.list.iter().any(|item| self.query.reaches_fail_on(item));
        unless_closed(self.write_list(generation, console).await, fails)
    }

    async fn write_list(&mut self, generation: u64, console: &mut Console<'_>) -> Result<(), QueryError> {
        let list = Gathered { items: std::mem::take(&mut self.list), generation, broken: None };
        if self.query.is_tabular() || list.items.is_empty() {
            let suppressed = self.query.suppressed_instead(&list).await;
            return self.query.write_list(&list, suppressed, console);
        }
        list.items.iter().try_for_each(|item| self.show_change(item, console))
    }

    fn show_change(&self, item: &Value, console: &mut Console<'_>) -> Result<(), QueryError> {
        let text = show::change(self.query.query.subject, item, self.query.format, Scope::OneNode);
        console.write(&formatted(&self.query.server, &self.path, text)?)
    }
}

/// Returns whether `--fail-on` is reached. The exit code of --fail-on holds even if the reader closed the pipe.
fn unless_closed(shown: Result<(), QueryError>, fails: bool) -> Result<bool, QueryError> {
    match shown {
        Err(error) if fails && error.is_closed_pipe() => Ok(true),
        shown => shown.map(|()| fails),
    }
}
