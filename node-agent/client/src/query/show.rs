//! Objects as the user asked for them. Tables read only what they show; json and yaml give all that the agent wrote, also
//! fields that this client does not know.

use portolan_report::escape::{json_text, terminal};
use portolan_report::explain_text;
use portolan_report::explanation::TargetExplanation;
use portolan_report::table::{self, Colour, Width};
use portolan_report::wire::{AgentStatus, Finding, Report, SCHEMA};
use portolan_report::{status_table, text};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pages::Gathered;
use crate::args::Format;

/// What a command shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Findings,
    Listeners,
    Connections,
}

impl Subject {
    /// Its list.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Findings => "/v1/findings",
            Self::Listeners => "/v1/listeners",
            Self::Connections => "/v1/connections",
        }
    }

    /// `kind` of one.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Findings => "Finding",
            Self::Listeners => "Listener",
            Self::Connections => "Connection",
        }
    }
}

/// An object lacks what a table needs.
#[derive(Debug, thiserror::Error)]
#[error("{kind} is not as expected: {reason}")]
pub struct NotShown {
    kind: &'static str,
    reason: String,
}

/// The whole list.
///
/// # Errors
/// [`NotShown`].
pub fn list(subject: Subject, list: &Gathered, format: Format, colour: Colour) -> Result<String, NotShown> {
    match format {
        Format::Json => Ok(pretty(&whole(list))),
        Format::Yaml => yaml(&whole(list)),
        Format::Name => names(subject, &list.items),
        Format::Table => table(subject, &list.items, Width::Narrow, colour),
        Format::Wide => table(subject, &list.items, Width::Wide, colour),
    }
}

/// Objects as a table.
///
/// # Errors
/// [`NotShown`].
pub fn table(subject: Subject, items: &[Value], width: Width, colour: Colour) -> Result<String, NotShown> {
    Ok(match subject {
        Subject::Findings => table::findings(&typed(subject, items)?, width, colour),
        Subject::Listeners => table::listeners(&typed(subject, items)?, width),
        Subject::Connections => table::connections(&typed(subject, items)?, width),
    })
}

/// The name of each, a line each.
///
/// # Errors
/// [`NotShown`].
pub fn names(subject: Subject, items: &[Value]) -> Result<String, NotShown> {
    items.iter().map(|item| name(subject, item)).collect()
}

/// Findings that are at hand as what they are. JSON is not made here but written as it comes ([`portolan_report::json_list`]).
///
/// # Errors
/// [`NotShown`].
pub fn findings(items: &[Finding], format: Format, colour: Colour) -> Result<String, NotShown> {
    match format {
        Format::Table => Ok(table::findings(items, Width::Narrow, colour)),
        Format::Wide => Ok(table::findings(items, Width::Wide, colour)),
        Format::Json | Format::Yaml | Format::Name => {
            let items = items.iter().map(serde_json::to_value).collect::<Result<_, _>>();
            let items = items.map_err(|error| NotShown { kind: "Finding", reason: error.to_string() })?;
            list(Subject::Findings, &Gathered { items, generation: 0, broken: None }, format, colour)
        }
    }
}

/// One object of the stream: a line, or a YAML document.
///
/// # Errors
/// [`NotShown`].
pub fn change(subject: Subject, item: &Value, format: Format) -> Result<String, NotShown> {
    match format {
        Format::Json => Ok(format!("{}\n", json_text(&item.to_string()))),
        Format::Yaml => Ok(format!("---\n{}", yaml(item)?)),
        Format::Name => name(subject, item),
        Format::Table | Format::Wide => {
            let report: Report = parsed(subject.kind(), item)?;
            Ok(text::line(&report))
        }
    }
}

/// The agent's status.
///
/// # Errors
/// [`NotShown`].
pub fn status(status: &Value, format: Format) -> Result<String, NotShown> {
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

/// Which way traffic comes in, as a text of this width. `name`: the listeners at the ends.
///
/// # Errors
/// [`NotShown`].
pub fn explanation(answer: &Value, format: Format, width: usize) -> Result<String, NotShown> {
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

fn whole(list: &Gathered) -> Value {
    json!({ "schema": SCHEMA, "items": list.items, "continue": null, "generation": list.generation })
}

pub(crate) fn pretty(value: &Value) -> String {
    format!("{}\n", json_text(&format!("{value:#}")))
}

pub(crate) fn yaml(value: &Value) -> Result<String, NotShown> {
    let text = serde_saphyr::to_string(&harmless(value))
        .map_err(|error| NotShown { kind: "the answer", reason: error.to_string() })?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// The value with every text escaped for a terminal: YAML's own rules let too much through.
fn harmless(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(terminal(text)),
        Value::Array(items) => items.iter().map(harmless).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (terminal(name), harmless(value))).collect()
        }
        other => other.clone(),
    }
}

/// `finding/ID`, `listener/ID`, `connection/LISTENER-ID/ADDRESS/PORT`.
fn name(subject: Subject, item: &Value) -> Result<String, NotShown> {
    let text = |pointer: &str| match item.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(NotShown { kind: subject.kind(), reason: format!("{pointer} is missing") }),
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

pub(super) fn typed<T: DeserializeOwned>(subject: Subject, items: &[Value]) -> Result<Vec<T>, NotShown> {
    items.iter().map(|item| parsed(subject.kind(), item)).collect()
}

fn parsed<T: DeserializeOwned>(kind: &'static str, item: &Value) -> Result<T, NotShown> {
    T::deserialize(item).map_err(|error| NotShown { kind, reason: error.to_string() })
}
