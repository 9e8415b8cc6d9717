//! Makes text that a workload chose safe for a terminal, and bounds its length.

use std::borrow::Cow;
use std::fmt::Write;

use portolan_engine::read::plain_text::{escape, is_unsafe};

/// Maximum number of bytes that JSON needs for one byte of text: `\u001b`.
const MAX_JSON_PER_BYTE: usize = 6;

/// Escapes control characters, bidi marks and other characters that could change a terminal's state: see
/// [`escape`].
#[must_use]
pub fn terminal(text: &str) -> String {
    escape(text)
}

/// Makes JSON text safe for a terminal without changing its meaning. Writes the unsafe characters that JSON allows
/// unescaped (DEL, C1, bidi marks, …) as `\uXXXX`.
#[must_use]
pub fn json_text(json: &str) -> Cow<'_, str> {
    let is_safe = |c: char| c.is_ascii() && c != '\u{7f}' || !is_unsafe(c);
    let is_plain = json.bytes().all(|byte| byte.is_ascii() && byte != 0x7f);
    if is_plain || json.chars().all(is_safe) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_safe(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.into()
}

/// Truncates `text` so that its JSON form takes at most `max` bytes. Returns the text and whether it was truncated.
///
/// Cuts at character boundaries. Control characters count with their escapes, so a name made of them becomes shorter and
/// cannot make a line longer.
#[must_use]
pub fn bounded(text: &str, max: usize) -> (String, bool) {
    if text.len().saturating_mul(MAX_JSON_PER_BYTE) <= max {
        return (text.to_owned(), false);
    }
    let mut written = 0;
    for (at, c) in text.char_indices() {
        written += json_len(c);
        if written > max {
            return (text.get(..at).unwrap_or_default().to_owned(), true);
        }
    }
    (text.to_owned(), false)
}

/// Returns the number of bytes that JSON needs for `c`.
fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bounded, json_text, terminal};
    use portolan_engine::read::plain_text::is_unsafe;
    use proptest::prelude::*;

    #[test]
    fn what_moves_a_terminal_is_written_out() {
        for (given, then) in [
            ("python3", "python3"),
            ("a\\b", "a\\b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("a\\\n", "a\\\\\\n"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("evil\u{202e}txt", "evil\\u{202e}txt"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("\u{200e}\u{200f}", "\\u{200e}\\u{200f}"),
            ("nul\0", "nul\\u{0}"),
            ("Grüße 港", "Grüße 港"),
        ] {
            assert_eq!(terminal(given), then, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_unsafe_remains(text in any::<String>()) {
            prop_assert!(!terminal(&text).chars().any(is_unsafe));
        }

        #[test]
        fn escaped_json_is_the_same_json(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("json");
            let json = json_text(&json);
            prop_assert!(!json.chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("json"), text);
        }

        #[test]
        fn a_cut_is_a_prefix(text in any::<String>(), max in 0_usize..64) {
            let (cut, was_cut) = bounded(&text, max);
            let json = serde_json::to_string(&cut).expect("json");
            prop_assert!(json.len() - 2 <= max && text.starts_with(&cut));
            prop_assert_eq!(was_cut, cut.len() != text.len());
        }
    }
}
