//! Tables of findings, listeners and connections in kubectl's layout: upper-case headers, no borders, one line per row.
//!
//! Every cell is escaped, because pods choose much of the content. Colours are added after the layout.

use std::cmp::Reverse;

use comfy_table::{ContentArrangement, Table, presets};
use portolan_engine::model::finding_code::Severity;

use crate::cells::{self, NONE};
use crate::escape::terminal;
use crate::wire::{Connection, Finding, Listener};

/// Set of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// The basic columns.
    #[default]
    Narrow,
    /// The basic columns and the node.
    Cluster,
    /// All columns.
    Wide,
}

impl Width {
    /// Returns the headers of the columns beyond the basic ones; `wide` are those after the node.
    pub(crate) fn columns(self, wide: &[&'static str]) -> Vec<&'static str> {
        match self {
            Self::Narrow => Vec::new(),
            Self::Cluster => vec!["NODE"],
            Self::Wide => std::iter::once("NODE").chain(wide.iter().copied()).collect(),
        }
    }

    /// Returns the cells of those columns.
    pub(crate) fn cells(self, node: &str, wide: impl FnOnce() -> Vec<String>) -> Vec<String> {
        match self {
            Self::Narrow => Vec::new(),
            Self::Cluster => vec![node.to_owned()],
            Self::Wide => std::iter::once(node.to_owned()).chain(wide()).collect(),
        }
    }
}

/// Colouring of severities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// No colours.
    #[default]
    Plain,
    /// ANSI escape sequences.
    Ansi,
}

impl Colour {
    /// Returns the colouring for standard output: colours only on a terminal, and never if NO_COLOR is set and not empty.
    /// `no_color` is the value of that environment variable.
    #[must_use]
    pub fn for_stdout(no_color: Option<&std::ffi::OsStr>) -> Self {
        use std::io::IsTerminal;
        let refused = no_color.is_some_and(|value| !value.is_empty());
        if !refused && std::io::stdout().is_terminal() { Self::Ansi } else { Self::Plain }
    }
}

/// Returns what to say instead of a table without open findings, where `suppressed` others are suppressed by exceptions.
#[must_use]
pub fn no_open_findings(suppressed: usize) -> String {
    match suppressed {
        0 => "No findings: no listening port differs from its manifest. \
              `portolan listeners` shows every port, `portolan status` what the agent can see."
            .to_owned(),
        count => format!("No open findings. {}", suppressed_note(count)),
    }
}

/// Returns how many findings are suppressed, and how to see them.
#[must_use]
pub fn suppressed_note(count: usize) -> String {
    let (what, them) = if count == 1 {
        ("finding is suppressed by an exception", "it")
    } else {
        ("findings are suppressed by exceptions", "them")
    };
    format!("{count} {what}: --state suppressed shows {them}.")
}

/// Formats findings as a table, the most severe first. Ages are relative to the `time` of each finding. Returns a sentence
/// instead if there are no findings.
#[must_use]
pub fn findings(findings: &[Finding], width: Width, colour: Colour) -> String {
    if findings.is_empty() {
        return no_open_findings(0) + "\n";
    }
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_cached_key(|finding| {
        (Reverse(Severity::parse(&finding.severity)), location(finding), port(finding), finding.id.clone())
    });
    let mut header = vec!["SEVERITY", "CODE", "POD", "PORT", "PROCESS", "TRAFFIC", "PEERS", "AGE"];
    header.extend(width.columns(&["STATE", "ADDRESSES", "CONTAINER", "WORKLOAD", "ID", "MESSAGE"]));
    // Lists of open findings have no exceptions, and need no empty columns for them.
    let with_exceptions = sorted.iter().any(|finding| finding.suppressed_by.is_some());
    if with_exceptions {
        header.extend(["SUPPRESSED-BY", "REASON"]);
    }
    let rows = sorted.iter().map(|finding| {
        let mut row = finding_row(finding, width);
        if with_exceptions {
            row.extend(suppression_cells(finding));
        }
        row
    });
    coloured(lay_out(&header, rows), colour)
}

/// Returns the name and the reason of the exception that suppresses a finding.
pub(crate) fn suppression_cells(finding: &Finding) -> [String; 2] {
    let by = finding.suppressed_by.as_ref();
    by.map_or_else(|| [NONE.to_owned(), NONE.to_owned()], |by| [by.rule.clone(), by.reason.clone()])
}

fn finding_row(finding: &Finding, width: Width) -> Vec<String> {
    let listener = finding.listener.as_deref();
    let mut row = vec![
        finding.severity.clone(),
        finding.code.clone(),
        location(finding),
        port(finding).map_or_else(|| NONE.to_owned(), |(port, protocol)| format!("{port}/{protocol}")),
        listener.map_or_else(|| NONE.to_owned(), cells::server),
        listener.map_or_else(
            || cells::traffic(&finding.traffic),
            |listener| cells::traffic_of(listener, &finding.traffic),
        ),
        cells::peers(&finding.traffic),
        cells::age(&finding.first_seen, &finding.envelope.time),
    ];
    row.extend(width.cells(&finding.envelope.node, || {
        let workload = finding.pod.as_ref().and_then(|pod| pod.workload.as_ref());
        vec![
            finding.state.clone(),
            listener.map_or_else(|| NONE.to_owned(), |listener| cells::list(&listener.addresses)),
            finding.container.as_ref().map_or_else(|| NONE.to_owned(), |container| container.name.clone()),
            workload.map_or_else(|| NONE.to_owned(), |w| format!("{}/{}", w.kind, w.name)),
            finding.id.clone(),
            finding.message.clone(),
        ]
    }));
    row
}

fn location(finding: &Finding) -> String {
    match (&finding.pod, &finding.listener) {
        (None, Some(listener)) => cells::location(listener),
        (pod, _) => cells::pod(pod.as_ref()),
    }
}

fn port(finding: &Finding) -> Option<(u16, &str)> {
    finding.port.zip(finding.protocol.as_deref())
}

/// Formats listeners as a table, sorted by pod and port. Returns a sentence instead if there are no listeners.
#[must_use]
pub fn listeners(listeners: &[Listener], width: Width) -> String {
    if listeners.is_empty() {
        return "No listeners: no port is listened on in any network namespace that the agent sees. \
                `portolan status` shows how many those are.\n"
            .to_owned();
    }
    let mut sorted: Vec<&Listener> = listeners.iter().collect();
    sorted.sort_by_cached_key(|l| (cells::location(l), l.protocol.clone(), l.port, l.id.clone()));
    let mut header = vec!["PROTOCOL", "PORT", "ADDRESSES", "POD", "PROCESS", "DECLARATION", "TRAFFIC"];
    header.extend(width.columns(&["PEERS", "STATE", "SOCKETS", "CONTAINER", "DECLARED-BY", "AGE", "ID"]));
    lay_out(&header, sorted.iter().map(|listener| listener_row(listener, width)))
}

fn listener_row(listener: &Listener, width: Width) -> Vec<String> {
    let mut row = vec![
        listener.protocol.clone(),
        listener.port.to_string(),
        cells::list(&listener.addresses),
        cells::location(listener),
        cells::server(listener),
        cells::declaration(listener),
        cells::traffic_of(listener, &listener.traffic),
    ];
    row.extend(width.cells(&listener.envelope.node, || {
        let age = |since: &String| cells::age(since, &listener.envelope.time);
        vec![
            cells::peers(&listener.traffic),
            listener.state.clone(),
            listener.sockets.to_string(),
            listener.container.as_ref().map_or_else(|| NONE.to_owned(), |container| container.name.clone()),
            cells::list(&listener.declaration.declared_by),
            listener.opened_at.as_ref().map_or_else(|| NONE.to_owned(), age),
            listener.id.clone(),
        ]
    }));
    row
}

/// Formats connections as a table, in the given order. Returns a sentence instead if there are no connections.
#[must_use]
pub fn connections(connections: &[Connection], width: Width) -> String {
    if connections.is_empty() {
        return "No connections are recorded. The agent records those to undeclared ports \
                (`portolan agent --record all`: to every port).\n"
            .to_owned();
    }
    let mut header = vec!["POD", "PORT", "FROM", "ORIGIN", "STATE", "IN", "OUT", "AGE"];
    header.extend(width.columns(&["LOCAL", "REMOTE", "OPENED", "CLOSED", "LISTENER"]));
    lay_out(&header, connections.iter().map(|connection| connection_row(connection, width)))
}

fn connection_row(connection: &Connection, width: Width) -> Vec<String> {
    let remote = &connection.remote;
    let mut row = vec![
        cells::pod(connection.pod.as_ref()),
        format!("{}/{}", connection.local.port, connection.protocol),
        remote.reference.clone().unwrap_or_else(|| remote.address.clone()),
        remote.origin.clone(),
        if connection.closed_at.is_some() { "closed" } else { "open" }.to_owned(),
        cells::size(connection.bytes_in),
        cells::size(connection.bytes_out),
        cells::age(&connection.opened_at, &connection.envelope.time),
    ];
    row.extend(width.cells(&connection.envelope.node, || {
        vec![
            format!("{} port {}", connection.local.address, connection.local.port),
            format!("{} port {}", remote.address, remote.port),
            connection.opened_at.clone(),
            connection.closed_at.clone().unwrap_or_else(|| NONE.to_owned()),
            connection.id.clone(),
        ]
    }));
    row
}

/// Lays out rows under a header, with three spaces between columns and no trailing spaces. Escapes each cell.
#[must_use]
pub fn lay_out(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| terminal(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Colours the severity at the start of each line, if colours are wanted.
pub(crate) fn coloured(text: String, colour: Colour) -> String {
    if colour == Colour::Plain {
        return text;
    }
    let colours = Severity::ALL.map(|severity| (severity.as_str(), colour_of(severity)));
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        let found = colours.iter().find_map(|(word, colour)| Some((word, colour, line.strip_prefix(word)?)));
        match found {
            Some((word, colour, rest)) => out.push_str(&format!("\u{1b}[{colour}m{word}\u{1b}[0m{rest}\n")),
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

const fn colour_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "1;31",
        Severity::High => "31",
        Severity::Medium => "33",
        Severity::Low => "36",
        Severity::Info => "2",
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
