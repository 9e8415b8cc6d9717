//! The commands that ask a running agent over its HTTP API and show the answer.

mod baseline;
pub mod console;
pub mod error;
pub mod explain;
pub mod pages;
pub mod policy;
pub mod request;
pub mod server;
pub mod show;
pub mod sse;
pub mod top;
pub mod url;
mod watch;

use portolan_engine::model::finding_code::Severity;
use serde_json::Value;

use crate::args::{
    FilterArgs, FindingFilterArgs, FindingsArgs, Format, ListArgs, ServerArgs, StatusArgs, TopArgsOfNode,
};
use crate::exit::Exit;
pub use baseline::baseline;
use console::Console;
use error::QueryError;
use pages::Gathered;
use server::Server;
use show::{NotShown, Subject};

/// `portolan findings`.
pub async fn findings(args: &FindingsArgs, console: &mut Console<'_>) -> Exit {
    let fail_on = &args.findings.fail_on;
    let mut watched = args.filter.filters();
    watched.extend(args.findings.filters());
    let mut listed = watched.clone();
    let is_narrowed = !listed.is_empty() || args.state != ["open"];
    listed.extend(alternatives("state", args.state.clone()));
    // Who follows what is open wants to see it resolved, too.
    if args.state != ["open"] {
        watched.extend(alternatives("state", args.state.clone()));
    }
    let request = Request { subject: Subject::Findings, listed, watched, is_narrowed, fail_on: *fail_on };
    run(&args.server, request, args.watch, console).await
}

/// `portolan listeners`.
pub async fn listeners(args: &ListArgs, console: &mut Console<'_>) -> Exit {
    let watched = args.filter.filters();
    let is_narrowed = !watched.is_empty();
    let mut listed = watched.clone();
    listed.push(("state", "open".to_owned()));
    let request = Request { subject: Subject::Listeners, listed, watched, is_narrowed, fail_on: None };
    run(&args.server, request, args.watch, console).await
}

/// `portolan connections`.
pub async fn connections(args: &ListArgs, console: &mut Console<'_>) -> Exit {
    let watched = args.filter.filters();
    let is_narrowed = !watched.is_empty();
    let listed = watched.clone();
    let request = Request { subject: Subject::Connections, listed, watched, is_narrowed, fail_on: None };
    run(&args.server, request, args.watch, console).await
}

/// `portolan status`.
pub async fn status(args: &StatusArgs, console: &mut Console<'_>) -> Exit {
    let result = show_status(args, console).await;
    end(result, console)
}

/// `portolan top`.
pub async fn top(args: &TopArgsOfNode, console: &mut Console<'_>) -> Exit {
    let result = show_top(args, console).await;
    end(result, console)
}

/// Names and values of a URL's query.
pub type Pairs = Vec<(&'static str, String)>;

/// What a command wants, before the server is known.
struct Request {
    subject: Subject,
    /// Filters of the list.
    listed: Pairs,
    /// Filters of the stream.
    watched: Pairs,
    /// The user filtered: an empty answer does not mean that there is nothing.
    is_narrowed: bool,
    fail_on: Option<Severity>,
}

/// A question to one agent, and how its answer is shown.
struct Asked<'a> {
    server: Server,
    subject: Subject,
    listed: Pairs,
    watched: &'a Pairs,
    is_narrowed: bool,
    format: Format,
    fail_on: Option<Severity>,
}

impl Asked<'_> {
    async fn gather(&self) -> Result<Gathered, QueryError> {
        pages::gather(&self.server, self.subject.path(), &self.listed).await
    }

    fn is_tabular(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    fn reaches_fail_on(&self, item: &Value) -> bool {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let severity = text("severity").and_then(Severity::parse);
        !matches!(text("state"), Some("resolved" | "suppressed"))
            && self.fail_on.is_some_and(|bad| severity.is_some_and(|severity| severity >= bad))
    }
}

async fn run(server: &ServerArgs, request: Request, is_followed: bool, console: &mut Console<'_>) -> Exit {
    let result = match Server::parse(&server.server) {
        Ok(parsed) => {
            let asked = Asked {
                server: parsed,
                subject: request.subject,
                listed: request.listed,
                watched: &request.watched,
                is_narrowed: request.is_narrowed,
                format: server.output,
                fail_on: request.fail_on,
            };
            if is_followed { watch::follow(&asked, console).await } else { once(&asked, console).await }
        }
        Err(error) => Err(error),
    };
    end(result, console)
}

async fn once(asked: &Asked<'_>, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let list = asked.gather().await?;
    let fails = list.items.iter().any(|item| asked.reaches_fail_on(item));
    match console.list(asked, &list) {
        // The verdict stands, whether the reader waited for the whole list or not.
        Err(error) if fails && error.is_closed_pipe() => return Ok(Exit::FailOn),
        shown => shown?,
    }
    let exit = completeness(&asked.server, &list, console).await?;
    Ok(if fails { Exit::FailOn } else { exit })
}

/// Says where a list is not, or may not be, the whole one; the exit code that follows.
async fn completeness(
    server: &Server,
    list: &Gathered,
    console: &mut Console<'_>,
) -> Result<Exit, QueryError> {
    if let Some(error) = &list.broken {
        console.say(&format!("the answer is partial: {error}"))?;
        return Ok(Exit::Partial);
    }
    if let Err(QueryError::Refused { status: 503, .. }) = request::get_bytes(server, "/readyz").await {
        console.say(
            "the answer may be partial: the agent is not ready; `portolan status` says what it waits for",
        )?;
        return Ok(Exit::Partial);
    }
    Ok(Exit::Fine)
}

async fn show_status(args: &StatusArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.server)?;
    let status: Value = request::get(&server, "/v1/status").await?;
    console.write(&understood(&server, "/v1/status", show::status(&status, args.server.output))?)?;
    Ok(Exit::Fine)
}

async fn show_top(args: &TopArgsOfNode, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.server)?;
    let path = Subject::Listeners.path();
    let mut filters = args.filter.filters();
    filters.push(("state", "open".to_owned()));
    let list = pages::gather(&server, path, &filters).await?;
    let text = understood(&server, path, top::show(&list.items, &args.top, args.server.output))?;
    console.write(&text)?;
    if text.is_empty() {
        console.say(&args.filter.none_of(
            "port that is listened on",
            args.top.undeclared,
            Seen::ByOneNode,
        ))?;
    }
    completeness(&server, &list, console).await
}

/// Says what went wrong; the exit code that follows.
fn end(result: Result<Exit, QueryError>, console: &mut Console<'_>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Fine,
        Err(error) => {
            // Nobody is left to tell if stderr is gone too.
            let _ = console.say(&error.to_string());
            error.exit()
        }
    }
}

fn understood(server: &Server, path: &str, text: Result<String, NotShown>) -> Result<String, QueryError> {
    text.map_err(|error| QueryError::NotUnderstood {
        server: server.to_string(),
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// How much of a cluster was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    ByOneNode,
    ByAllNodes,
}

impl FilterArgs {
    /// That there is nothing, what was asked for, and what to do. `what`: a singular. `undeclared`: only such ports.
    #[must_use]
    pub fn none_of(&self, what: &str, undeclared: bool, seen: Seen) -> String {
        let undeclared = if undeclared { "undeclared " } else { "" };
        let place = if seen == Seen::ByOneNode { " on this node" } else { "" };
        let labels = self.selector.as_ref().map(|selector| format!(" of pods with the labels {selector}"));
        let namespace = self.namespace.as_ref().map(|name| format!(" in namespace {name:?}"));
        let elsewhere = match seen {
            Seen::ByOneNode => "; an agent sees its own node only, `kubectl portolan` asks all",
            Seen::ByAllNodes => "",
        };
        let advice = match (&namespace, &labels) {
            (Some(_), _) => {
                format!(
                    ": is the name right (`kubectl get namespaces`)? Without -n all of them are shown{elsewhere}"
                )
            }
            (None, Some(_)) => format!(": without -l all of them are shown{elsewhere}"),
            (None, None) => String::new(),
        };
        let all = [labels, namespace].into_iter().flatten().collect::<String>();
        format!("No {undeclared}{what} is known{all}{place}{advice}.")
    }

    /// As the HTTP API takes them.
    #[must_use]
    pub fn filters(&self) -> Pairs {
        let namespace = self.namespace.iter().map(|namespace| ("namespace", namespace.clone()));
        let selector = self.selector.iter().map(|selector| ("labels", selector.to_string()));
        namespace.chain(selector).collect()
    }
}

impl FindingFilterArgs {
    /// As the HTTP API takes them.
    #[must_use]
    pub fn filters(&self) -> Pairs {
        let severities = self.severity.iter().map(|severity| severity.as_str().to_owned()).collect();
        alternatives("code", self.code.clone())
            .into_iter()
            .chain(alternatives("severity", severities))
            .collect()
    }
}

fn alternatives(name: &'static str, values: Vec<String>) -> Option<(&'static str, String)> {
    (!values.is_empty()).then(|| (name, values.join(",")))
}
