//! Writes a list as indented JSON, item by item, so that the text of a long list is never in memory as a whole.
//!
//! Characters that could change a terminal's state are escaped, as in all output.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

use crate::escape::json_text;
use crate::wire::SCHEMA;

/// Writes `items` as a list object of the API, followed by a newline.
///
/// # Errors
/// The error of `out`, or of an item that cannot be serialized.
pub fn list<T: Serialize>(out: impl Write, items: impl Iterator<Item = T> + Clone) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, SafeFormatter::default());
    let list = List { r#continue: (), generation: 0, items: Sequence(items), schema: SCHEMA };
    list.serialize(&mut serializer).map_err(io::Error::from)?;
    serializer.into_inner().write_all(b"\n")
}

/// Returns some items as they are within the list, for [`list_of_parts`].
///
/// # Errors
/// The error of an item that cannot be serialized.
pub fn part<T: Serialize>(items: impl Iterator<Item = T>) -> io::Result<Vec<u8>> {
    let mut formatter = SafeFormatter::default();
    // An item is two levels deep.
    formatter.begin_object(&mut io::sink())?;
    formatter.begin_array(&mut io::sink())?;
    let mut text = Vec::new();
    for (number, item) in items.enumerate() {
        formatter.begin_array_value(&mut text, number == 0)?;
        item.serialize(&mut Serializer::with_formatter(&mut text, formatter.clone()))?;
    }
    Ok(text)
}

/// Writes what [`list`] writes, from the texts of its parts. No part may be empty.
///
/// # Errors
/// The error of `out`, or of a part.
pub fn list_of_parts(
    mut out: impl Write,
    mut parts: impl Iterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let mut frame = Vec::new();
    list(&mut frame, std::iter::empty::<()>())?;
    let end = frame.iter().position(|byte| *byte == b']').unwrap_or_default();
    let (head, tail) = frame.split_at(end);
    out.write_all(head)?;
    let mut is_first = true;
    while let Some(part) = parts.next().transpose()? {
        out.write_all(if is_first { b"" } else { b"," })?;
        out.write_all(&part)?;
        is_first = false;
    }
    out.write_all(if is_first { b"" } else { b"\n  " })?;
    out.write_all(tail)
}

#[derive(Serialize)]
struct List<I> {
    r#continue: (),
    generation: u64,
    items: I,
    schema: &'static str,
}

/// Serializes an iterator as a sequence.
struct Sequence<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Sequence<I> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// [`PrettyFormatter`] that escapes strings for a terminal.
#[derive(Clone, Default)]
struct SafeFormatter(PrettyFormatter<'static>);

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        out.write_all(json_text(fragment).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(out, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_list_is_that_of_the_api_and_holds_nothing_that_moves_a_terminal() {
        let names = ["plain", "del\u{7f}", "bidi \u{202e} \u{1b}[2J", "quote \" and \\"];
        let mut written = Vec::new();
        list(&mut written, names.iter().map(|name| json!({ "name": name, "list": [], "n": [1, 2] })))
            .expect("written");
        let text = String::from_utf8(written).expect("text");
        assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        let read: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(
            text,
            format!("{}\n", json_text(&format!("{read:#}"))),
            "indented as by the other commands"
        );
        assert_eq!(read["schema"], SCHEMA);
        assert_eq!(read["continue"], Value::Null);
        let back: Vec<&str> =
            read["items"].as_array().expect("list").iter().filter_map(|item| item["name"].as_str()).collect();
        assert_eq!(back, names);
    }

    #[test]
    fn a_list_of_parts_is_the_same_list() {
        let items: Vec<Value> =
            (0..5).map(|n| json!({ "n": n, "list": [n, {}], "name": "del\u{7f}" })).collect();
        for (count, size) in [(0, 1), (1, 1), (5, 2), (5, 5)] {
            let items = &items[..count];
            let (mut whole, mut pieced) = (Vec::new(), Vec::new());
            list(&mut whole, items.iter()).expect("written");
            list_of_parts(&mut pieced, items.chunks(size).map(|items| part(items.iter()))).expect("written");
            assert_eq!(String::from_utf8(pieced), String::from_utf8(whole), "{count} in parts of {size}");
        }
    }
}
