//! Formats the remarks of drafts: one line each, with the text that a pod chose escaped.

use std::fmt::Write;

use portolan_engine::read::plain_text::escape;
use portolan_report::name_list::first_names;

/// Maximum number of characters of a remark.
const MAX_CHARS: usize = 400;
/// Maximum number of names that a remark lists.
const MAX_NAMES: usize = 8;
/// Maximum number of lines under one heading.
const MAX_LISTED: usize = 64;

/// Escapes all characters that could end a YAML comment, change a terminal's state, or are not allowed in a YAML comment.
/// Truncates the text to [`MAX_CHARS`].
pub(crate) fn escape_remark(text: &str) -> String {
    let text = escape(text);
    let mut out = String::with_capacity(text.len());
    for (number, c) in text.chars().enumerate() {
        if number == MAX_CHARS {
            out.push('…');
            break;
        }
        if c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && c.is_alphanumeric()) {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}

/// Lists distinct names in alphabetical order: `a, b and 3 more`.
pub(crate) fn list_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let all: std::collections::BTreeSet<&str> = names.into_iter().collect();
    first_names(all, MAX_NAMES)
}

/// Appends a heading with its lines, if there are any.
pub(crate) fn list_some(remarks: &mut Vec<String>, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    remarks.push(heading.to_owned());
    remarks.extend(lines.iter().take(MAX_LISTED).cloned());
    let more = lines.len().saturating_sub(MAX_LISTED);
    remarks.extend((more > 0).then(|| format!("  and {more} more")));
}
