//! `portolan findings`, `listeners` and `connections`: a list, or with `--watch` the list and then its changes.

use portolan_engine::model::finding_code::Severity;

use super::console::Console;
use super::error::QueryError;
use super::filters::{Pairs, alternatives};
use super::outcome::{end, formatted, list_completeness};
use super::pages::{self, Gathered};
use super::server::Server;
use super::show::{self, Subject};
use super::watch;
use crate::args::{FindingsArgs, Format, ListArgs, ServerArgs};
use crate::exit::Exit;
use crate::fail_on::object_reaches;

/// Runs `portolan findings`.
pub async fn findings(args: &FindingsArgs, console: &mut Console<'_>) -> Exit {
    let mut watch_filters = args.filter.pairs();
    watch_filters.extend(args.findings.pairs());
    let mut list_filters = watch_filters.clone();
    let is_narrowed = !list_filters.is_empty() || args.state != ["open"];
    list_filters.extend(alternatives("state", &args.state));
    // --watch of open findings also shows when they are resolved.
    if args.state != ["open"] {
        watch_filters.extend(alternatives("state", &args.state));
    }
    let fail_on = args.findings.fail_on;
    let query = ListQuery { subject: Subject::Findings, list_filters, watch_filters, is_narrowed, fail_on };
    run(&args.server, query, args.watch, console).await
}

/// Runs `portolan listeners`.
pub async fn listeners(args: &ListArgs, console: &mut Console<'_>) -> Exit {
    let query = ListQuery {
        subject: Subject::Listeners,
        list_filters: args.filter.open_pairs(),
        watch_filters: args.filter.pairs(),
        is_narrowed: !args.filter.pairs().is_empty(),
        fail_on: None,
    };
    run(&args.server, query, args.watch, console).await
}

/// Runs `portolan connections`.
pub async fn connections(args: &ListArgs, console: &mut Console<'_>) -> Exit {
    let query = ListQuery {
        subject: Subject::Connections,
        list_filters: args.filter.pairs(),
        watch_filters: args.filter.pairs(),
        is_narrowed: !args.filter.pairs().is_empty(),
        fail_on: None,
    };
    run(&args.server, query, args.watch, console).await
}

/// Which objects a command lists or follows.
pub(super) struct ListQuery {
    pub(super) subject: Subject,
    /// Filters of the list.
    list_filters: Pairs,
    /// Filters of the stream.
    pub(super) watch_filters: Pairs,
    /// True if the user gave filters: an empty answer then does not mean that there is nothing.
    is_narrowed: bool,
    fail_on: Option<Severity>,
}

/// A list query to one agent, and the format of its answer.
pub(super) struct AgentQuery {
    pub(super) server: Server,
    pub(super) query: ListQuery,
    pub(super) format: Format,
}

impl AgentQuery {
    /// Fetches the list.
    pub(super) async fn gather(&self) -> Result<Gathered, QueryError> {
        pages::gather(&self.server, self.query.subject.path(), &self.query.list_filters).await
    }

    /// Returns true for the formats that show a table.
    pub(super) fn is_tabular(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Returns true if the object makes the command fail.
    pub(super) fn reaches_fail_on(&self, object: &serde_json::Value) -> bool {
        object_reaches(object, self.query.fail_on)
    }

    /// Writes a list. An empty table has no rows to write, so a message says that it is empty.
    pub(super) fn write_list(&self, list: &Gathered, console: &mut Console<'_>) -> Result<(), QueryError> {
        let subject = self.query.subject;
        let text = show::list(subject, list, self.format, console.colour());
        let text = formatted(&self.server, subject.path(), text)?;
        if !(list.items.is_empty() && self.is_tabular()) {
            return console.write(&text);
        }
        if self.query.is_narrowed {
            return console
                .message("Nothing matches what was asked; without these filters there may be more.");
        }
        console.message(text.trim_end_matches('\n'))
    }
}

async fn run(server: &ServerArgs, query: ListQuery, is_followed: bool, console: &mut Console<'_>) -> Exit {
    let result = match Server::parse(&server.server) {
        Ok(parsed) => {
            let query = AgentQuery { server: parsed, query, format: server.output };
            if is_followed { watch::follow(&query, console).await } else { once(&query, console).await }
        }
        Err(error) => Err(error),
    };
    end(result, console)
}

async fn once(query: &AgentQuery, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let list = query.gather().await?;
    let fails = list.items.iter().any(|item| query.reaches_fail_on(item));
    match query.write_list(&list, console) {
        // The exit code of --fail-on holds even if the reader closes the pipe before the end of the list.
        Err(error) if fails && error.is_closed_pipe() => return Ok(Exit::FailOn),
        shown => shown?,
    }
    let exit = list_completeness(&query.server, &list, console).await?;
    Ok(if fails { Exit::FailOn } else { exit })
}
