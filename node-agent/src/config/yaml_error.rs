//! Describes errors in YAML that people wrote: the line, what was expected there, and how to correct it. Formats the
//! parser's structured errors instead of its own messages, which name parser events.

use std::borrow::Cow;

use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::{ExternalMessageSource, Localizer};
use serde_saphyr::{Error, Location, MessageFormatter, SnippetMode, UserMessageFormatter};

use super::nearest_name::nearest_name;

/// Maximum length of one message, in characters.
const MAX_CHARS: usize = 300;

/// Returns the line of the error, counted from 1, if the parser knows it, and a message of one line without that number.
#[must_use]
pub fn fault(error: &Error, text: &str) -> (Option<u64>, String) {
    let location = error.location().map(|location| (location.line().max(1), location.column()));
    let message = error.render_with_options(serde_saphyr::render_options! {
        formatter: &ConfigMessages,
        snippets: SnippetMode::Off,
    });
    let key = location.and_then(|(line, column)| key_before(text, line, column));
    let message = match key.filter(|_| is_about_a_value(original(error))) {
        Some(key) => format!("{key}: {message}"),
        None => message,
    };
    (location.map(|(line, _)| line), message.chars().take(MAX_CHARS).collect())
}

/// The error itself, without the wrappers that add a snippet or the location of an alias.
fn original(mut error: &Error) -> &Error {
    while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } = error {
        error = inner;
    }
    error
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

/// Messages for people who write configuration and manifests.
struct ConfigMessages;

impl MessageFormatter for ConfigMessages {
    fn localizer(&self) -> &dyn Localizer {
        &WithoutLocation
    }

    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        Cow::Owned(match error {
            Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
            Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
            Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
            Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
                format!("{key} is there twice: expected each key once")
            }
            Error::Unexpected { expected, .. } => format!("expected {}", node_kind(expected)),
            Error::InvalidScalar { ty, .. } => format!("expected {}", scalar_type(ty)),
            Error::SerdeInvalidType { unexpected, expected, .. }
            | Error::SerdeInvalidValue { unexpected, expected, .. } => {
                format!("expected {expected}, not {}", node_kind(unexpected))
            }
            Error::InvalidBooleanStrict { .. } => return Cow::Borrowed("expected true or false"),
            Error::NullIntoString { .. } => return Cow::Borrowed("expected a text, but nothing is there"),
            Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
                return Cow::Borrowed(TOO_COMPLEX);
            }
            Error::UnknownAnchor { .. } => return Cow::Borrowed(UNKNOWN_ANCHOR),
            Error::MultipleDocuments { .. } => {
                return Cow::Borrowed("another document begins (`---`): expected one in this file");
            }
            Error::UnsupportedTag { .. }
            | Error::TaggedStructFieldName { .. }
            | Error::TaggedEnumMismatch { .. } => {
                return Cow::Borrowed(TAG);
            }
            Error::NonFiniteFloat { .. } => return Cow::Borrowed("expected a finite number"),
            Error::Eof { .. } => return Cow::Borrowed("it ends too early: expected a value"),
            Error::ExternalMessage { source, .. } => match source.as_ref() {
                ExternalMessageSource::Parser(error) => return syntax(error.kind()),
                _ => return UserMessageFormatter.format_message(error),
            },
            _ => return UserMessageFormatter.format_message(error),
        })
    }
}

/// Leaves out the location of the error, which callers show before the message.
struct WithoutLocation;

impl Localizer for WithoutLocation {
    fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        base
    }

    fn alias_used_at(&self, _: Location) -> String {
        String::new()
    }
}

const UNKNOWN_ANCHOR: &str =
    "expected a value: what begins with `*` refers to an anchor, and there is none; put it in quotes";
const TAG: &str = "not a tag that is known here: a text that begins with `!` must be quoted";
const TOO_COMPLEX: &str =
    "it is too long, nested too deeply, or repeats itself by aliases too often: split it, or write it out";
const TAB: &str = "a tab: expected blanks, YAML indents with nothing else";
const OPEN_BRACE: &str = "`{` is not closed: expected `}`, and commas between the keys";
const OPEN_BRACKET: &str = "`[` is not closed: expected `]`, and commas between the values";
const OPEN_QUOTE: &str = "a quote is not closed: expected the same quote at the end of the text";
const AFTER_QUOTE: &str = "text follows a closing quote: expected the end of the value there; a quote within the text \
                           must be doubled (`'`) or escaped (`\\\"`)";
const ESCAPE: &str =
    "not an escape of YAML: expected `\\\\` for a backslash, or single quotes around the text";
const MAPPING: &str =
    "expected `key: value` in the columns of its neighbours; a text with `: ` in it must be quoted";
const LIST_ITEM: &str = "expected `- value` in the columns of its neighbours";

/// Names how to correct the usual mistakes of syntax; the parser's own message stands for the rare ones.
fn syntax(kind: &ErrorKind) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => TAB,
        ErrorKind::UnclosedFlowCollection { open: '{' }
        | ErrorKind::MismatchedFlowCollectionEnd { open: '{', .. }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator => OPEN_BRACE,
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowSequenceSeparator => OPEN_BRACKET,
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::DocumentIndicatorInQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent => OPEN_QUOTE,
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            AFTER_QUOTE
        }
        ErrorKind::UnknownQuotedScalarEscape | ErrorKind::InvalidQuotedScalarHexEscape => ESCAPE,
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidSimpleKey
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::UnexpectedEofBlockMapping
        | ErrorKind::InvalidIndentation => MAPPING,
        ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::UnexpectedEofBlockSequence => LIST_ITEM,
        ErrorKind::RecursionLimitExceeded => TOO_COMPLEX,
        other => return Cow::Owned(format!("expected YAML: {other}")),
    })
}

/// Suggests the nearest known name, else lists all of them.
fn unknown(what: &str, given: &str, expected: &[&str]) -> String {
    match nearest_name(given, expected.iter().copied()) {
        Some(near) => format!("unknown {what} `{given}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{given}`: expected one of {}", expected.join(", ")),
    }
}

/// Describes a kind of node by how it is written; `event` is the parser's or serde's name of it.
fn node_kind(event: &str) -> &str {
    match event {
        "string scalar" | "scalar" => "a text",
        "mapping start" | "map" => "keys with values (`key: value`)",
        "sequence start" | "sequence" => "a list (`- …` or `[…]`)",
        "unit value" | "unit" => "nothing",
        // serde quotes the value, which may be a secret.
        other => other.split([' ', '`', '"']).next().map_or("another value", written_kind),
    }
}

/// Describes a kind of value by the first word of serde's description.
fn written_kind(word: &str) -> &str {
    match word {
        "string" | "character" => "a text",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        "" => "another value",
        other => other,
    }
}

/// Describes the values of a Rust type.
fn scalar_type(ty: &str) -> &str {
    match ty {
        "boolean" | "bool" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" | "float" => "a number",
        other => other,
    }
}

/// Returns the key whose value begins at this line and column, if both are on that line.
fn key_before(text: &str, line: u64, column: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let end = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let before = line.get(..end)?.trim_end().strip_suffix(':')?;
    let begin = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c)));
    let key = before.get(begin.map_or(0, |at| at + 1)..)?;
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::fault;
    use crate::config::file::FileConfig;

    fn said(text: &str) -> String {
        let error = serde_saphyr::from_str::<FileConfig>(text).expect_err(text);
        let (line, words) = fault(&error, text);
        format!("{}: {words}", line.unwrap_or(0))
    }

    #[test]
    fn what_is_too_much_to_read_is_said_in_plain_words() {
        let deep = format!("exceptions: {}1{}\n", "[".repeat(3_000), "]".repeat(3_000));
        let many = format!("exceptions:\n{}", "- &a {reason: x}\n".repeat(100_000));
        for text in [deep, many] {
            let said = said(&text);
            assert!(said.contains("it is too long") || said.contains("reason"), "{said}");
            assert!(!said.contains("budget") && !said.contains("recursion"), "{said}");
        }
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
            ("api: \"x\n", "1: a quote is not closed"),
            ("kinds: [finding\n", "1: `[` is not closed: expected `]`"),
            ("api: 'x' y\n", "1: text follows a closing quote"),
            ("api: \"C:\\x\"\n", "1: not an escape of YAML"),
            ("limits:\n\tpeers: 3\n", "2: a tab: expected blanks"),
            ("grace: 5s: 6s\n", "1: expected `key: value` in the columns of its neighbours"),
            ("grace: 5s\n api: off\n", "2: expected `key: value` in the columns of its neighbours"),
            (
                "nodeName: &n x\nlimits: {peers: *n}\n",
                "2: peers: expected a whole number that is not negative (defined at line 1, column 14)",
            ),
            ("grace: 5s\n---\ngrace: 6s\n", "3: another document begins"),
        ] {
            let said = said(text);
            assert!(said.starts_with(then), "{text:?}: {said}");
            assert!(!said.contains("scalar") && !said.contains("mapping start"), "{said}");
        }
    }
}
