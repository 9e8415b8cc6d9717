//! Words beside a manifest: one line each, and whatever a pod chose stays inside of it.

use std::fmt::Write;

use portolan_engine::read::plain_text::escape;

/// Characters of one remark at most.
const MAX_CHARS: usize = 400;
/// Names that one remark lists at most.
const MAX_NAMES: usize = 8;

/// The text with everything written out that could end a comment, steer a terminal, or that YAML does not let stand in a
/// comment.
pub fn harmless(text: &str) -> String {
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

/// `a, b and 3 more`, each once, in the order of names.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let all: std::collections::BTreeSet<&str> = names.into_iter().collect();
    let shown: Vec<&str> = all.iter().take(MAX_NAMES).copied().collect();
    let more = all.len().saturating_sub(MAX_NAMES);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
