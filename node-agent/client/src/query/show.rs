//! Formats objects as table, JSON, YAML or names.
//!
//! JSON and YAML contain everything that the agent wrote, including fields that this client does not know.

use portolan_report::escape::{json_text, terminal};
use portolan_report::explain_text;
use portolan_report::explanation::TargetExplanation;
use portolan_report::table::{self, Colour, Width};
use portolan_report::wire::{AgentStatus, Finding, Report, SCHEMA};
use portolan_report::workload_table::{self, PodTotals};
use portolan_report::{status_table, text};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::filters::Scope;
use super::pages::Gathered;
use crate::args::Format;

/// Type of the objects that a command lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `Finding` objects.
    Findings,
    /// `Listener` objects.
    Listeners,
    /// `Connection` objects.
    Connections,
}

impl Subject {
    /// Returns the path of the list in the agent's API.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Findings => "/v1/findings",
            Self::Listeners => "/v1/listeners",
            Self::Connections => "/v1/connections",
        }
    }

    /// Returns the `kind` of the objects.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Findings => "Finding",
            Self::Listeners => "Listener",
            Self::Connections => "Connection",
        }
    }

    /// Returns the `kind` of the objects, as the only one that is followed.
    pub(super) const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Findings => &["Finding"],
            Self::Listeners => &["Listener"],
            Self::Connections => &["Connection"],
        }
    }
}

/// Rows of a table of findings.
#[derive(Clone, Debug)]
pub enum FindingRows {
    /// One row for each pod's port.
    Pods,
    /// One row for each workload's port, with the number of its pods of all pods of the workload, where their number is known.
    Workloads(PodTotals),
}

impl FindingRows {
    /// Returns the rows that `--pods` asks for. The numbers of the workloads' pods are not known yet.
    #[must_use]
    pub fn wanted(pods: bool) -> Self {
        if pods { Self::Pods } else { Self::Workloads(PodTotals::new()) }
    }
}

fn finding_table(items: &[Finding], width: Width, rows: &FindingRows, colour: Colour) -> String {
    match rows {
        FindingRows::Pods => table::findings(items, width, colour),
        FindingRows::Workloads(totals) => workload_table::findings(items, totals, width, colour),
    }
}

/// Error of an object that lacks a field that the format needs.
#[derive(Debug, thiserror::Error)]
#[error("{kind} is not as expected: {reason}")]
pub struct FormatError {
    kind: &'static str,
    reason: String,
}

impl FormatError {
    /// Returns the error of an object of this kind.
    pub(crate) fn of(kind: &'static str, reason: &impl ToString) -> Self {
        Self { kind, reason: reason.to_string() }
    }
}

/// Formats a list.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn list(
    subject: Subject,
    list: &Gathered,
    format: Format,
    rows: &FindingRows,
    colour: Colour,
) -> Result<String, FormatError> {
    match format {
        Format::Json => Ok(pretty(&list_object(list))),
        Format::Yaml => yaml(&list_object(list)),
        Format::Name => names(subject, &list.items),
        Format::Table => table(subject, &list.items, Width::Narrow, rows, colour),
        Format::Wide => table(subject, &list.items, Width::Wide, rows, colour),
    }
}

/// Formats objects as a table.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn table(
    subject: Subject,
    items: &[Value],
    width: Width,
    rows: &FindingRows,
    colour: Colour,
) -> Result<String, FormatError> {
    Ok(match subject {
        Subject::Findings => finding_table(&typed(subject, items)?, width, rows, colour),
        Subject::Listeners => table::listeners(&typed(subject, items)?, width),
        Subject::Connections => table::connections(&typed(subject, items)?, width),
    })
}

/// Formats objects as names, one per line.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn names(subject: Subject, items: &[Value]) -> Result<String, FormatError> {
    items.iter().map(|item| name(subject, item)).collect()
}

/// Formats typed findings. For long JSON lists, [`portolan_report::json_list`] needs less memory.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn findings(
    items: &[Finding],
    format: Format,
    rows: &FindingRows,
    colour: Colour,
) -> Result<String, FormatError> {
    match format {
        Format::Table => Ok(finding_table(items, Width::Narrow, rows, colour)),
        Format::Wide => Ok(finding_table(items, Width::Wide, rows, colour)),
        Format::Json | Format::Yaml | Format::Name => {
            // As a report it has its `kind`, like the objects of the agents' lists.
            let kinded = items.iter().map(|item| serde_json::to_value(Report::Finding(item.clone())));
            let items = kinded.collect::<Result<_, _>>();
            let items = items.map_err(|error| FormatError { kind: "Finding", reason: error.to_string() })?;
            list(Subject::Findings, &Gathered { items, generation: 0, broken: None }, format, rows, colour)
        }
    }
}

/// Formats one object of the stream as a line, or as a YAML document. A line of text names the node if several are followed.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn change(subject: Subject, item: &Value, format: Format, scope: Scope) -> Result<String, FormatError> {
    match format {
        Format::Json => Ok(format!("{}\n", json_text(&item.to_string()))),
        Format::Yaml => Ok(format!("---\n{}", yaml(item)?)),
        Format::Name => name(subject, item),
        Format::Table | Format::Wide => {
            let report: Report = parsed(subject.kind(), item)?;
            Ok(match scope {
                Scope::OneNode => text::line(&report),
                Scope::AllNodes => text::line_with_node(&report),
            })
        }
    }
}

/// Formats the agent's status.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn status(status: &Value, format: Format) -> Result<String, FormatError> {
    match format {
        Format::Json => Ok(pretty(status)),
        Format::Yaml => yaml(status),
        Format::Name => {
            let status: AgentStatus = parsed("AgentStatus", status)?;
            Ok(format!("agent/{}\n", terminal(&status.envelope.node)))
        }
        Format::Table | Format::Wide => {
            let status: AgentStatus = parsed("AgentStatus", status)?;
            Ok(status_table::status(&status))
        }
    }
}

/// Formats an explanation as text of at most `width` columns. The format `name` lists the listeners at the ends.
///
/// # Errors
/// [`FormatError`] if an object lacks a needed field.
pub fn explanation(answer: &Value, format: Format, width: usize) -> Result<String, FormatError> {
    match format {
        Format::Json => return Ok(pretty(answer)),
        Format::Yaml => return yaml(answer),
        Format::Table | Format::Wide | Format::Name => {}
    }
    let explained: TargetExplanation = parsed("Explanation", answer)?;
    if format == Format::Name {
        let listeners = explained.ends.iter().filter_map(|end| end.listener.as_ref());
        return Ok(listeners.map(|listener| format!("listener/{}\n", terminal(&listener.id))).collect());
    }
    Ok(explain_text::explanation(&explained, width))
}

/// Returns the list as an object of the API.
fn list_object(list: &Gathered) -> Value {
    json!({ "schema": SCHEMA, "items": list.items, "continue": null, "generation": list.generation })
}

/// Formats a value as indented JSON that is safe for a terminal.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{}\n", json_text(&format!("{value:#}")))
}

/// Formats a value as YAML that is safe for a terminal.
pub(crate) fn yaml(value: &Value) -> Result<String, FormatError> {
    let text = serde_saphyr::to_string(&escaped(value))
        .map_err(|error| FormatError { kind: "the answer", reason: error.to_string() })?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// Escapes every text of a value for a terminal. YAML itself allows too many characters unescaped.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(terminal(text)),
        Value::Array(items) => items.iter().map(escaped).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (terminal(name), escaped(value))).collect()
        }
        other => other.clone(),
    }
}

/// Formats an object as `finding/ID`, `listener/ID` or `connection/LISTENER-ID/ADDRESS/PORT`.
fn name(subject: Subject, item: &Value) -> Result<String, FormatError> {
    let text = |pointer: &str| match item.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(FormatError { kind: subject.kind(), reason: format!("{pointer} is missing") }),
    };
    let name = match subject {
        Subject::Findings => format!("finding/{}", text("/id")?),
        Subject::Listeners => format!("listener/{}", text("/id")?),
        Subject::Connections => {
            format!("connection/{}/{}/{}", text("/id")?, text("/remote/address")?, text("/remote/port")?)
        }
    };
    Ok(format!("{}\n", terminal(&name)))
}

/// Returns the error of objects that cannot be written in a format.
pub(super) fn not_written(subject: Subject, error: &std::io::Error) -> FormatError {
    FormatError { kind: subject.kind(), reason: error.to_string() }
}

/// Parses objects into wire types.
pub(crate) fn typed<T: DeserializeOwned>(subject: Subject, items: &[Value]) -> Result<Vec<T>, FormatError> {
    items.iter().map(|item| parsed(subject.kind(), item)).collect()
}

fn parsed<T: DeserializeOwned>(kind: &'static str, item: &Value) -> Result<T, FormatError> {
    T::deserialize(item).map_err(|error| FormatError { kind, reason: error.to_string() })
}
