//! `portolan top`: the ports with the most traffic. The pods of a workload count together.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use portolan_report::cells;
use portolan_report::escape::terminal;
use portolan_report::table::lay_out;
use portolan_report::wire::{Listener, SCHEMA};
use serde_json::{Value, json};

use super::console::Console;
use super::error::QueryError;
use super::filters::Scope;
use super::outcome::{end, formatted, list_completeness};
use super::pages;
use super::server::Server;
use super::show::{self, FormatError, Subject};
use crate::args::{FilterArgs, Format, NodeTopArgs, TopArgs, TopOrder};
use crate::exit::Exit;

/// Runs `portolan top`.
pub async fn top(args: &NodeTopArgs, console: &mut Console<'_>) -> Exit {
    let result = print(args, console).await;
    end(result, console)
}

async fn print(args: &NodeTopArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.server.agent.server)?;
    let path = Subject::Listeners.path();
    let list = pages::gather(&server, path, &args.filter.open_pairs()).await?;
    let text = formatted(&server, path, show(&list.items, &args.top, args.server.output))?;
    console.write(&text)?;
    if text.is_empty() {
        console.message(&nothing_found(&args.filter, &args.top, Scope::OneNode))?;
    }
    list_completeness(&server, &list, console).await
}

/// Returns the message for an empty answer.
#[must_use]
pub fn nothing_found(filter: &FilterArgs, args: &TopArgs, scope: Scope) -> String {
    filter.nothing_found("port that is listened on", args.undeclared, scope)
}

/// Sums over one port of a workload, or of a pod without a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    declaration: String,
    processes: Vec<String>,
    nodes: Vec<String>,
    pods: Vec<String>,
    attempts: u64,
    connections: u64,
    packets: u64,
    bytes: u64,
    /// Number of connections by caller; a caller without connections counts as one.
    callers: BTreeMap<String, u64>,
    truncated: bool,
}

/// Namespace, workload, port and protocol of a row.
type Key = (String, String, u16, String);

/// Formats the busiest ports of all listeners. Returns an empty text instead of a table without rows.
///
/// # Errors
/// [`FormatError`] if a listener lacks a needed field.
pub fn show(listeners: &[Value], args: &TopArgs, output: Format) -> Result<String, FormatError> {
    let listeners: Vec<Listener> = show::typed(Subject::Listeners, listeners)?;
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for listener in listeners.iter().filter(|l| !args.undeclared || l.declaration.status != "declared") {
        add(rows.entry(key(listener)).or_default(), listener);
    }
    let mut rows: Vec<(Key, Row)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| Reverse((amount(row, args.by), row.connections, row.bytes)));
    rows.truncate(args.limit);
    match output {
        Format::Json => Ok(show::pretty(&rows_object(&rows))),
        Format::Yaml => show::yaml(&rows_object(&rows)),
        Format::Name => Ok(rows.iter().map(|(key, _)| format!("{}\n", terminal(&name(key)))).collect()),
        Format::Table | Format::Wide => Ok(table(&rows, output)),
    }
}

fn key(listener: &Listener) -> Key {
    let (namespace, name) = match &listener.pod {
        Some(pod) => {
            let name = pod.workload.as_ref().map(|workload| format!("{}/{}", workload.kind, workload.name));
            (pod.namespace.clone(), name.unwrap_or_else(|| format!("Pod/{}", pod.name)))
        }
        None => (String::new(), format!("{} on {}", cells::location(listener), listener.envelope.node)),
    };
    (namespace, name, listener.port, listener.protocol.clone())
}

fn name((namespace, workload, port, protocol): &Key) -> String {
    let place = if namespace.is_empty() { workload.clone() } else { format!("{namespace}/{workload}") };
    format!("{place}:{port}/{protocol}")
}

fn amount(row: &Row, order: TopOrder) -> u64 {
    match order {
        TopOrder::Connections => row.connections,
        TopOrder::Bytes => row.bytes,
        TopOrder::Packets => row.packets,
        TopOrder::Attempts => row.attempts,
    }
}

fn add(row: &mut Row, listener: &Listener) {
    // A row is declared only if all its listeners are.
    if row.declaration.is_empty() || row.declaration == "declared" {
        row.declaration.clone_from(&listener.declaration.status);
    }
    let note = |list: &mut Vec<String>, item: String| {
        if !list.contains(&item) {
            list.push(item);
        }
    };
    note(&mut row.nodes, listener.envelope.node.clone());
    note(&mut row.pods, cells::location(listener));
    match &listener.process {
        Some(process) => note(&mut row.processes, process.name.clone()),
        None if listener.served_by != "process" => note(&mut row.processes, cells::server(listener)),
        None => {}
    }
    let traffic = &listener.traffic;
    row.attempts = row.attempts.saturating_add(traffic.attempts);
    row.connections = row.connections.saturating_add(traffic.connections);
    row.packets = row.packets.saturating_add(traffic.packets);
    row.bytes = row.bytes.saturating_add(traffic.bytes);
    row.truncated |= traffic.truncated;
    for peer in &traffic.peers {
        let caller =
            peer.reference.clone().or_else(|| peer.caller_node.as_ref().map(|node| format!("node {node}")));
        let caller = caller.unwrap_or_else(|| format!("{} ({})", peer.address, peer.origin));
        let calls = row.callers.entry(caller).or_default();
        *calls = calls.saturating_add(peer.connections.max(1));
    }
}

fn callers(row: &Row) -> Vec<&str> {
    let mut callers: Vec<_> = row.callers.iter().collect();
    callers.sort_by_key(|(name, calls)| (Reverse(**calls), *name));
    callers.into_iter().map(|(name, _)| name.as_str()).collect()
}

fn table(rows: &[(Key, Row)], output: Format) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut header =
        vec!["NAMESPACE", "WORKLOAD", "PORT", "DECLARATION", "CONNECTIONS", "BYTES", "PODS", "TOP CALLER"];
    if output == Format::Wide {
        header.extend(["ATTEMPTS", "PACKETS", "PROCESSES", "NODES"]);
    }
    let cells = rows.iter().map(|((namespace, workload, port, protocol), row)| {
        let callers = callers(row);
        let mut top = callers.first().map_or_else(|| cells::NONE.to_owned(), |caller| (*caller).to_owned());
        if callers.len() > 1 || row.truncated {
            top = format!(
                "{top} +{}{}",
                callers.len().saturating_sub(1),
                if row.truncated { " and more" } else { "" }
            );
        }
        let mut cells = vec![
            if namespace.is_empty() { cells::NONE.to_owned() } else { namespace.clone() },
            workload.clone(),
            format!("{port}/{protocol}"),
            row.declaration.clone(),
            row.connections.to_string(),
            cells::size(row.bytes),
            row.pods.len().to_string(),
            top,
        ];
        if output == Format::Wide {
            cells.extend([
                row.attempts.to_string(),
                row.packets.to_string(),
                cells::list(&row.processes),
                cells::list(&row.nodes),
            ]);
        }
        cells
    });
    lay_out(&header, cells)
}

fn rows_object(rows: &[(Key, Row)]) -> Value {
    let items: Vec<Value> = rows
        .iter()
        .map(|((namespace, workload, port, protocol), row)| {
            json!({
                "namespace": if namespace.is_empty() { None } else { Some(namespace) },
                "workload": workload, "port": port, "protocol": protocol, "declaration": row.declaration,
                "attempts": row.attempts, "connections": row.connections, "packets": row.packets,
                "bytes": row.bytes, "pods": row.pods, "nodes": row.nodes, "processes": row.processes,
                "callers": callers(row), "truncated": row.truncated,
            })
        })
        .collect();
    json!({ "schema": SCHEMA, "items": items })
}
