//! What is wrong with YAML that people wrote, in words for them: where, what was expected, and what would mend it. The
//! parser's own words are about its events.

use serde_saphyr::Error;

/// Characters of one message at most.
const MAX_CHARS: usize = 300;

/// The line, counted from 1, if the parser knows it, and one line of text without it.
#[must_use]
pub fn fault(error: &Error, text: &str) -> (Option<u64>, String) {
    let error = error.without_snippet();
    let place = error.location().map(|location| (location.line().max(1), location.column()));
    let what = words(error);
    let key = place.and_then(|(line, column)| key_before(text, line, column));
    let names_its_key = matches!(error, Error::SerdeUnknownField { .. } | Error::DuplicateMappingKey { .. });
    let said = match key.filter(|_| !names_its_key && is_about_a_value(error)) {
        Some(key) => format!("{key}: {what}"),
        None => what,
    };
    let plain = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
    (place.map(|(line, _)| line), plain)
}

fn is_about_a_value(error: &Error) -> bool {
    matches!(
        error,
        Error::Unexpected { .. }
            | Error::InvalidScalar { .. }
            | Error::InvalidBooleanStrict { .. }
            | Error::NullIntoString { .. }
            | Error::SerdeInvalidType { .. }
            | Error::SerdeInvalidValue { .. }
            | Error::SerdeUnknownVariant { .. }
            | Error::UnknownAnchor { .. }
    )
}

fn words(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
            format!("{key} is there twice: expected each key once")
        }
        Error::Unexpected { expected, .. } => format!("expected {}", kind(expected)),
        Error::InvalidScalar { ty, .. } => format!("expected {}", scalar(ty)),
        Error::InvalidBooleanStrict { .. } => "expected true or false".to_owned(),
        Error::NullIntoString { .. } => "expected a text, but nothing is there".to_owned(),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("expected {expected}, not {}", kind(unexpected))
        }
        Error::UnknownAnchor { .. } => {
            "expected a value: what begins with `*` refers to an anchor, and there is none; put it in quotes"
                .to_owned()
        }
        Error::MultipleDocuments { .. } => {
            "another document begins (`---`): expected one in this file".to_owned()
        }
        Error::Eof { .. } => "it ends too early: expected a value".to_owned(),
        other => scanner(&other.to_string()),
    }
}

/// The nearest known name, else all of them.
fn unknown(what: &str, given: &str, expected: &[&str]) -> String {
    match nearest(given, expected.iter().copied()) {
        Some(near) => format!("unknown {what} `{given}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{given}`: expected one of {}", expected.join(", ")),
    }
}

/// What the parser calls its events.
fn kind(event: &str) -> &str {
    match event {
        "string scalar" | "scalar" => "a text",
        "mapping start" | "map" => "keys with values (`key: value`)",
        "sequence start" | "sequence" => "a list (`- …` or `[…]`)",
        "unit value" | "unit" => "nothing",
        other => other,
    }
}

fn scalar(ty: &str) -> &str {
    match ty {
        "boolean" | "bool" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" | "float" => "a number",
        other => other,
    }
}

/// What does not even parse: the usual mistakes by what mends them, the rest without its place, which is said before it.
fn scanner(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = match line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message,
        None => line.rsplit_once(" at line ").map_or(line, |(message, _)| message),
    };
    let has = |part: &str| line.contains(part);
    if has("tab") {
        "a tab: expected blanks, YAML indents with nothing else".to_owned()
    } else if has("'{'") || has("flow mapping") {
        "`{` is not closed: expected `}`, and commas between the keys".to_owned()
    } else if has("'['") || has("flow sequence") {
        "`[` is not closed: expected `]`, and commas between the values".to_owned()
    } else if has("quoted scalar") {
        "a quote is not closed: expected the same quote at the end of the text".to_owned()
    } else if has("mapping values are not allowed") || has("simple key") || has("block mapping") {
        "expected `key: value` in the columns of its neighbours; a text with `: ` in it must be quoted"
            .to_owned()
    } else {
        format!("expected YAML: {line}")
    }
}

/// The key whose value begins at this place, as far as its line tells.
fn key_before(text: &str, line: u64, column: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let end = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let before = line.get(..end)?.trim_end().strip_suffix(':')?;
    let begin = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c)));
    let key = before.get(begin.map_or(0, |at| at + 1)..)?;
    (!key.is_empty()).then_some(key)
}

/// The known name that was meant, if one is near enough to what was written.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (far, near) = known.into_iter().map(|name| (distance(given, name), name)).min()?;
    (far <= 1 + given.len() / 3).then_some(near)
}

/// Levenshtein distance, capitals aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push((above_left + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{fault, nearest};
    use crate::config::file::FileConfig;

    fn said(text: &str) -> String {
        let error = serde_saphyr::from_str::<FileConfig>(text).expect_err(text);
        let (line, words) = fault(&error, text);
        format!("{}: {words}", line.unwrap_or(0))
    }

    #[test]
    fn every_usual_mistake_is_said_with_its_line_and_what_was_expected() {
        for (text, then) in [
            ("grace: [1, 2]\n", "1: grace: expected a text"),
            ("grace 5s\n", "1: expected keys with values (`key: value`)"),
            ("services: maybe\n", "1: services: expected true or false"),
            ("limits: 5\n", "1: limits: expected keys with values (`key: value`)"),
            ("limits: {peers: many}\n", "1: peers: expected a whole number that is not negative"),
            ("grace: 5s\nexceptions: {a: b}\n", "2: exceptions: expected a list (`- …` or `[…]`)"),
            ("grace: 5s\ngrace: 6s\n", "2: `grace` is there twice: expected each key once"),
            ("api: *x\n", "1: api: expected a value: what begins with `*` refers to an anchor"),
            ("traffic: ful\n", "1: traffic: unknown value `ful`: did you mean `full`?"),
            ("traffic: everything\n", "1: traffic: unknown value `everything`: expected one of full,"),
            ("grce: 5s\n", "1: unknown key `grce`: did you mean `grace`?"),
            ("{grace: 5s\n", "1: `{` is not closed: expected `}`"),
            ("api: \"x\n", "2: a quote is not closed"),
        ] {
            let said = said(text);
            assert!(said.starts_with(then), "{text:?}: {said}");
            assert!(!said.contains("scalar") && !said.contains("mapping start"), "{said}");
        }
    }

    #[test]
    fn only_what_is_near_is_called_meant() {
        assert_eq!(nearest("portolan.dev/nets", ["portolan.dev/netns", "other"]), Some("portolan.dev/netns"));
        assert_eq!(nearest("x", ["allow-ports", "netns"]), None);
    }
}
