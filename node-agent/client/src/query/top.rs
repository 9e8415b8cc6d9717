//! `top`: which ports carry the most traffic, the pods of a workload taken together.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use portolan_report::cells;
use portolan_report::escape::terminal;
use portolan_report::table::lay_out;
use portolan_report::wire::{Listener, SCHEMA};
use serde_json::{Value, json};

use super::show::{self, NotShown, Subject};
use crate::args::{Format, TopArgs, TopOrder};

/// A port of a workload, or of a pod that belongs to none.
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
    /// By connections, else packets.
    callers: BTreeMap<String, u64>,
    truncated: bool,
}

/// Namespace, workload, port, protocol.
type Key = (String, String, u16, String);

/// The rows of all listeners, busiest first. A table without rows is empty: what that means is the caller's to say.
///
/// # Errors
/// Where a listener is not as expected.
pub fn show(listeners: &[Value], args: &TopArgs, output: Format) -> Result<String, NotShown> {
    let listeners: Vec<Listener> = show::typed(Subject::Listeners, listeners)?;
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for listener in listeners.iter().filter(|l| !args.undeclared || l.declaration.status != "declared") {
        add(rows.entry(key(listener)).or_default(), listener);
    }
    let mut rows: Vec<(Key, Row)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| Reverse((amount(row, args.by), row.connections, row.bytes)));
    rows.truncate(args.limit);
    match output {
        Format::Json => Ok(show::pretty(&whole(&rows))),
        Format::Yaml => show::yaml(&whole(&rows)),
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
        None => (String::new(), format!("{} on {}", cells::place(listener), listener.envelope.node)),
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
    // The worst of them speaks for all.
    if row.declaration.is_empty() || row.declaration == "declared" {
        row.declaration.clone_from(&listener.declaration.status);
    }
    let note = |list: &mut Vec<String>, item: String| {
        if !list.contains(&item) {
            list.push(item);
        }
    };
    note(&mut row.nodes, listener.envelope.node.clone());
    note(&mut row.pods, cells::place(listener));
    if let Some(process) = &listener.process {
        note(&mut row.processes, process.name.clone());
    }
    let traffic = &listener.traffic;
    row.attempts = row.attempts.saturating_add(traffic.attempts);
    row.connections = row.connections.saturating_add(traffic.connections);
    row.packets = row.packets.saturating_add(traffic.packets);
    row.bytes = row.bytes.saturating_add(traffic.bytes);
    row.truncated |= traffic.truncated;
    for peer in &traffic.peers {
        let caller = peer.reference.clone().unwrap_or_else(|| format!("{} ({})", peer.address, peer.origin));
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

fn whole(rows: &[(Key, Row)]) -> Value {
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
