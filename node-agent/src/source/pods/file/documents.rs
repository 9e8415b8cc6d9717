//! Splits the text of a file into objects: YAML documents, JSON objects one after the other, and the items of lists, each as
//! one JSON value. A list is never in memory as a whole.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_saphyr::Spanned;

use crate::config::yaml_error;
use crate::source::kubernetes::objects::object_kind::ObjectKind;

/// Maximum depth of the parts of an object.
const MAX_DEPTH: usize = 100;
/// Maximum number of parts that the aliases of a document repeat.
const MAX_REPEATED: usize = 1_000_000;

/// One object as it is written, or what is wrong with the text.
#[derive(Debug)]
pub enum Written {
    Object { line: u64, value: Value, listed: Option<Listed> },
    Fault { line: u64, problem: String },
}

/// The kind of the items of a list such as a `PodList`, which do not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub api_version: Option<String>,
    pub kind: String,
}

/// How the items of a list name their kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Items {
    /// Each item names its own kind.
    Mixed,
    Of(Listed),
}

impl Items {
    /// Returns the form of the items of an object; `None` for an object that is no list of kinds that are read.
    #[must_use]
    pub fn of(api_version: Option<&str>, kind: &str) -> Option<Self> {
        let listed = kind.strip_suffix("List")?;
        if listed.is_empty() {
            return api_version.is_none_or(|version| !version.contains('/')).then_some(Self::Mixed);
        }
        ObjectKind::of(api_version, listed)?;
        Some(Self::Of(Listed { api_version: api_version.map(str::to_owned), kind: listed.to_owned() }))
    }

    /// Returns the kind of the items, unless they name their own.
    #[must_use]
    pub fn listed(self) -> Option<Listed> {
        match self {
            Self::Mixed => None,
            Self::Of(listed) => Some(listed),
        }
    }
}

/// What decides how the rest of a document is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

impl Head {
    fn items(&self) -> Option<Items> {
        Items::of(self.api_version.as_deref(), self.kind.as_deref()?)
    }
}

/// Reads a text; calls `each` with every object and fault, in order.
pub fn read(text: &str, mut each: impl FnMut(Written)) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for document in documents(text) {
        document.read(&mut each);
    }
}

/// One YAML document.
struct Document {
    text: String,
    /// Number of lines before the document.
    before: u64,
}

/// Splits the text at each line that begins with `---`, also within a block scalar, as kubectl does.
fn documents(text: &str) -> Vec<Document> {
    let mut documents = vec![Document { text: String::new(), before: 0 }];
    for (before, line) in (0..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if let Some(rest) = marker {
            documents.push(Document { text: format!("   {rest}"), before });
        } else if let Some(document) = documents.last_mut() {
            document.text.push_str(line);
        }
    }
    documents.retain(|document| !document.text.lines().all(is_empty));
    documents
}

/// True for a line without content.
fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "..."
}

impl Document {
    fn read(self, each: &mut dyn FnMut(Written)) {
        let first = self.text.lines().take_while(|line| is_empty(line)).count();
        let begin: usize = self.text.split_inclusive('\n').take(first).map(str::len).sum();
        let content = self.text.get(begin..).unwrap_or_default();
        let is_json = content.trim_start().starts_with('{');
        let first = self.before + u64::try_from(first).unwrap_or(0) + 1;
        if is_json && read_json(content, first, each) {
            return;
        }
        // JSON may be indented by tabs, which YAML does not allow everywhere. In a text of JSON a raw tab is not allowed.
        let text = if is_json { self.text.replace('\t', " ") } else { self.text };
        if let Err(error) = read_yaml(&text, self.before, first, each) {
            let (line, problem) = yaml_error::fault(&error, &text);
            each(Written::Fault { line: line.map_or(first, |line| line + self.before), problem });
        }
    }
}

/// Reads JSON objects one after the other; false if the text does not begin with one, of which nothing was read then. `line` is
/// that of the text's beginning. What follows an object that is no JSON cannot be told apart, and is one fault.
fn read_json(text: &str, line: u64, each: &mut dyn FnMut(Written)) -> bool {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut lines = Lines { text, at: 0, line };
    let mut is_first = true;
    while let Some(object) = objects.next() {
        let rest = text.get(objects.byte_offset()..).unwrap_or_default();
        let object = match object {
            Ok(object) => object,
            Err(_) if is_first => return false,
            // Comments, or the end of a YAML document.
            Err(_) if rest.lines().all(is_empty) => return true,
            Err(error) => {
                let within = u64::try_from(error.line()).unwrap_or(1);
                let problem = "expected a JSON object: this and what follows is not read".to_owned();
                each(Written::Fault { line: line + within.saturating_sub(1), problem });
                return true;
            }
        };
        is_first = false;
        let line = lines.of(object.get());
        match json_items(object.get()) {
            Some((items, listed)) => {
                for item in items {
                    let line = lines.of(item.get());
                    each(json_object(item.get(), line, listed.clone()));
                }
            }
            None => each(json_object(object.get(), line, None)),
        }
    }
    true
}

/// Returns the items of a list, and their kind; `None` for another object.
fn json_items(text: &str) -> Option<(Vec<&RawValue>, Option<Listed>)> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow, default)]
        items: Option<Vec<&'a RawValue>>,
    }
    let head: Head = serde_json::from_str(text).ok()?;
    let items = head.items()?;
    let list: List<'_> = serde_json::from_str(text).ok()?;
    Some((list.items.unwrap_or_default(), items.listed()))
}

fn json_object(text: &str, line: u64, listed: Option<Listed>) -> Written {
    match serde_json::from_str(text) {
        Ok(value) => Written::Object { line, value, listed },
        Err(error) => Written::Fault { line, problem: format!("expected JSON: {error}") },
    }
}

/// Line numbers of parts of a text that come in order.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Returns the line on which a part of the text begins.
    fn of(&mut self, part: &str) -> u64 {
        let at = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let between = self.text.as_bytes().get(self.at..at).unwrap_or_default();
        let breaks = between.iter().filter(|byte| **byte == b'\n').count();
        self.line += u64::try_from(breaks).unwrap_or(0);
        self.at = self.at.max(at);
        self.line
    }
}

fn read_yaml(
    text: &str,
    before: u64,
    first: u64,
    each: &mut dyn FnMut(Written),
) -> Result<(), serde_saphyr::Error> {
    let head: Option<Head> = serde_saphyr::from_str_with_options(text, options(text))?;
    let Some(head) = head else { return Ok(()) };
    let Some(items) = head.items() else {
        let value = serde_saphyr::from_str_with_options(text, options(text))?;
        each(Written::Object { line: first, value, listed: None });
        return Ok(());
    };
    let listed = items.listed();
    let mut each = |item: Spanned<Value>| {
        let line = item.referenced.line() + before;
        each(Written::Object { line, value: item.value, listed: listed.clone() });
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options(text), |list| {
        ListSeed(&mut each).deserialize(list)
    })
}

/// Returns limits that a text of this length cannot exceed by being long, only by repeating or nesting itself.
fn options(text: &str) -> serde_saphyr::Options {
    let parts = text.len().saturating_mul(2).saturating_add(MAX_REPEATED);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: parts,
            max_nodes: parts,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: text.len().saturating_mul(2).saturating_add(1 << 20),
            max_merge_keys: parts,
            enforce_alias_anchor_ratio: false,
        },
        with_snippet: false,
    }
}

/// Reads a list, and hands on each item.
struct ListSeed<'a>(&'a mut dyn FnMut(Spanned<Value>));

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(key) = list.next_key::<String>()? {
            if key == "items" {
                list.next_value_seed(ItemsSeed(&mut *self.0))?;
            } else {
                list.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads the items of a list.
struct ItemsSeed<'a>(&'a mut dyn FnMut(Spanned<Value>));

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Written, read};

    #[test]
    fn a_broken_secret_is_named_by_its_line_and_none_of_its_text() {
        let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n";
        for value in [
            "  token: s3cr3t: x\n",
            "  token: \"s3cr3t\n",
            "  token: 's3cr3t' s3cr3t\n",
            "  token: \"\\s3cr3t\"\n",
            "  token: {s3cr3t\n",
            "  token: [s3cr3t}\n",
            "  token: *s3cr3t\n",
            "  token: !s3cr3t!s3cr3t x\n",
            "  token: !<s3cr3t x\n",
            "  token: !!float s3cr3t\n",
            "  token: !!binary s3cr3t\n",
            "  token: @s3cr3t\n",
            "  token: %s3cr3t\n",
            "  token: &s3cr3t &s3cr3t x\n",
            "  token: |s3cr3t\n",
            "  token: a\n s3cr3t\n",
            "\ttoken: s3cr3t\n",
        ] {
            let text = format!("{head}{value}");
            let mut faults = Vec::new();
            read(&text, |written| {
                if let Written::Fault { problem, .. } = written {
                    faults.push(problem);
                }
            });
            assert!(!faults.iter().any(|fault| fault.contains("s3cr3t")), "{value}: {faults:?}");
        }
        let mut faults = 0;
        read(&format!("{head}  token: s3cr3t: x\n"), |written| {
            faults += usize::from(matches!(written, Written::Fault { line: 5, .. }));
        });
        assert_eq!(faults, 1);
        read("{\"kind\": \"Secret\", \"data\": {\"token\": \"s3cr3t\" \"s3cr3t\"}}", |written| {
            let said = format!("{written:?}");
            assert!(said.contains("Fault") && !said.contains("s3cr3t"), "{said}");
        });
    }
}
