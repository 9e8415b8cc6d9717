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
#[derive(Default)]
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
}
