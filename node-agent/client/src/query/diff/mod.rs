//! `diff`: what is new, worse, better or gone since earlier findings, by fingerprint.

pub mod args;
pub(crate) mod changes;
pub(crate) mod file;
mod identity;
mod node;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use portolan_report::cells::NONE;
use portolan_report::escape::terminal;
use portolan_report::table::lay_out;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};

use super::console::Console;
use super::error::QueryError;
use super::filters::Pairs;
use super::show::{self, Subject};
use crate::exit::Exit;
use args::{DiffArgs, DiffFormat};
use changes::{Change, Kind};
pub use node::run;
use snapshot::{Snapshot, Worst};

/// Reads the sides that are files. The new one is `None` if it is to be asked for.
///
/// # Errors
/// [`QueryError::BadFile`] if a file cannot be read, has no findings, or stdin is both sides.
pub(crate) fn sides(args: &DiffArgs) -> Result<(Snapshot, Option<Snapshot>), QueryError> {
    if file::are_both_stdin(&args.old, args.new.as_deref()) {
        let reason = "it is OLD and NEW: stdin can be one side only".to_owned();
        return Err(QueryError::BadFile { path: "stdin".to_owned(), reason });
    }
    let namespace = args.namespace.as_deref();
    let old = file::read(&args.old, namespace)?;
    let new = args.new.as_ref().map(|path| file::read(path, namespace)).transpose()?;
    Ok((old, new))
}

/// Returns the filters of the findings that are asked for.
pub(crate) fn filters(namespace: Option<&str>) -> Pairs {
    let mut filters = vec![("state", "open,suppressed".to_owned())];
    filters.extend(namespace.map(|name| ("namespace", name.to_owned())));
    filters
}

/// Returns the snapshot of what agents answered. `missing` are the nodes about which nothing, or not all, is known.
///
/// # Errors
/// [`QueryError::NotUnderstood`] of `server` if an object is not a finding.
pub(crate) fn answered(
    items: &[Value],
    missing: BTreeSet<String>,
    namespace: Option<&str>,
    server: &str,
) -> Result<Snapshot, QueryError> {
    Snapshot::of(items, missing, namespace).map_err(|error| QueryError::NotUnderstood {
        server: server.to_owned(),
        path: Subject::Findings.path().to_owned(),
        reason: error.to_string(),
    })
}

/// Shows what changed, says what could not be compared, and returns the exit code. That of a change which fails holds even if the
/// reader closes the pipe before the end.
pub(crate) fn show_changes(
    old: &Snapshot,
    new: &Snapshot,
    output: DiffFormat,
    console: &mut Console<'_>,
) -> Result<Exit, QueryError> {
    let changes = changes::between(old, new);
    let exit = if changes.iter().any(|change| change.kind.fails()) {
        Exit::FailOn
    } else if new.missing.is_empty() {
        Exit::Fine
    } else {
        Exit::Partial
    };
    match write_changes(&changes, old, new, output, console) {
        Err(error) if error.is_closed_pipe() => Ok(exit),
        written => written.map(|()| exit),
    }
}

fn write_changes(
    changes: &[Change],
    old: &Snapshot,
    new: &Snapshot,
    output: DiffFormat,
    console: &mut Console<'_>,
) -> Result<(), QueryError> {
    match output {
        DiffFormat::Json => console.write(&show::pretty(&object(changes, old, new)))?,
        DiffFormat::Table if changes.is_empty() => {
            console.message("No difference: the same ports have findings of the same severity.")?;
        }
        DiffFormat::Table => console.write(&table(changes))?,
    }
    if let Some(note) = other_cluster(old, new) {
        console.message(&note)?;
    }
    for (side, missing) in [("OLD", &old.missing), ("NEW", &new.missing)] {
        if !missing.is_empty() {
            let nodes: Vec<String> = missing.iter().map(|node| terminal(node)).collect();
            console.message(&format!("{side} is partial: it lacks the answer of {}", nodes.join(", ")))?;
        }
    }
    Ok(())
}

/// Says that the sides have findings of different clusters, if so.
fn other_cluster(old: &Snapshot, new: &Snapshot) -> Option<String> {
    let differ = !old.clusters.is_empty() && !new.clusters.is_empty() && old.clusters != new.clusters;
    let name = |name: &String| if name.is_empty() { "one without a name".to_owned() } else { terminal(name) };
    let list = |side: &Snapshot| side.clusters.iter().map(name).collect::<Vec<_>>().join(", ");
    differ.then(|| format!("OLD and NEW are of different clusters: {} and {}", list(old), list(new)))
}

fn severity(worst: Option<&Worst>) -> &'static str {
    worst.map_or(NONE, |worst| worst.severity.as_str())
}

fn table(changes: &[Change]) -> String {
    let header = ["CHANGE", "SEVERITY", "CODE", "NAMESPACE", "WORKLOAD", "CONTAINER", "PORT", "PODS", "NOTE"];
    let text = |text: Option<&String>| text.map_or_else(|| NONE.to_owned(), Clone::clone);
    let rows = changes.iter().map(|change| {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let severities = match (before, after) {
            (Some(_), Some(_)) if change.kind != Kind::Unknown => {
                format!("{} -> {}", severity(before), severity(after))
            }
            (Some(_), _) => severity(before).to_owned(),
            (None, _) => severity(after).to_owned(),
        };
        let code = match (before, after) {
            (Some(before), Some(after)) if before.code != after.code => {
                format!("{} -> {}", before.code, after.code)
            }
            (_, Some(worst)) | (Some(worst), None) => worst.code.clone(),
            (None, None) => NONE.to_owned(),
        };
        let place = &change.place;
        let port = place.port.map_or_else(
            || NONE.to_owned(),
            |port| format!("{port}/{}", place.protocol.as_deref().unwrap_or(NONE)),
        );
        vec![
            change.kind.as_str().to_owned(),
            severities,
            code,
            text(place.namespace.as_ref()),
            place.workload.clone(),
            text(place.container.as_ref()),
            port,
            change.pods.to_string(),
            text(change.note.as_ref()),
        ]
    });
    lay_out(&header, rows)
}

fn object(changes: &[Change], old: &Snapshot, new: &Snapshot) -> Value {
    let worst = |worst: Option<&Worst>| {
        worst.map(|worst| json!({ "severity": worst.severity.as_str(), "code": worst.code }))
    };
    let items: Vec<Value> = changes
        .iter()
        .map(|change| {
            let place = &change.place;
            json!({
                "change": change.kind.as_str(), "fingerprint": change.fingerprint,
                "old": worst(change.before.as_ref()), "new": worst(change.after.as_ref()),
                "namespace": place.namespace, "workload": place.workload, "container": place.container,
                "port": place.port, "protocol": place.protocol, "pods": change.pods, "note": change.note,
            })
        })
        .collect();
    json!({ "schema": SCHEMA, "items": items, "missing": { "old": old.missing, "new": new.missing } })
}
