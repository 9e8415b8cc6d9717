//! Text form of the agent's status: version, hooks, sources, limits and losses.

use std::fmt::Write;

use crate::escape::terminal;
use crate::table::lay_out;
use crate::wire::AgentStatus;

/// Formats the status: first the agent's properties, then one table each for hooks, sources, limits and losses.
#[must_use]
pub fn status(status: &AgentStatus) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("Node", status.envelope.node.clone()),
        ("Version", status.version.clone()),
        ("Kernel", status.kernel.clone()),
        ("Namespaces", status.namespaces.to_string()),
        ("Listeners", status.listeners.to_string()),
    ] {
        let _ = writeln!(text, "{:<13}{}", format!("{name}:"), terminal(&value));
    }
    let hooks = status
        .hooks
        .iter()
        .map(|hook| vec![hook.name.clone(), hook.state.clone(), or_dash(hook.reason.as_ref())]);
    append_table(&mut text, &["HOOK", "STATE", "REASON"], hooks);
    let sources = status.sources.iter().map(|source| {
        vec![source.name.clone(), source.state.clone(), source.since.clone(), or_dash(source.reason.as_ref())]
    });
    append_table(&mut text, &["SOURCE", "STATE", "SINCE", "REASON"], sources);
    let limits = status.limits.iter().map(|(name, limit)| {
        let percent = limit.used.saturating_mul(100).checked_div(limit.max).unwrap_or(0);
        vec![name.clone(), limit.used.to_string(), limit.max.to_string(), format!("{percent}%")]
    });
    append_table(&mut text, &["LIMIT", "USED", "MAX", "FULL"], limits);
    if status.lost.values().all(|count| *count == 0) {
        text.push_str("\nNothing was lost.\n");
    } else {
        let lost = status.lost.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]);
        append_table(&mut text, &["LOST", "COUNT"], lost);
    }
    text
}

/// Appends a blank line and a table, unless the table has no rows.
fn append_table(text: &mut String, header: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    if rows.len() > 0 {
        text.push('\n');
        text.push_str(&lay_out(header, rows));
    }
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| crate::cells::NONE.to_owned())
}
