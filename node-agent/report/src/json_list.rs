//! Indented JSON for people and scripts, written as it is made: a list of thousands is never held as a whole. What could
//! move a terminal is written as an escape, as everywhere.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

use crate::escape::json_text;
use crate::wire::SCHEMA;

/// Writes `items` in the shape of every list of the API, with a newline at the end.
///
/// # Errors
/// What `out` says.
pub fn list<T: Serialize>(out: impl Write, items: impl Iterator<Item = T> + Clone) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, Harmless::default());
    let list = List { r#continue: (), generation: 0, items: Each(items), schema: SCHEMA };
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

/// An iterator as a sequence.
struct Each<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Each<I> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// [`PrettyFormatter`] whose strings are safe for a terminal.
#[derive(Default)]
struct Harmless(PrettyFormatter<'static>);

impl Formatter for Harmless {
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
