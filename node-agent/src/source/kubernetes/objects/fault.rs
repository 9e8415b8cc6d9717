//! What is wrong with an object, and in which field. Describes the errors of the parser in the words of people who write
//! manifests.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Maximum length of a value that a message quotes, in characters.
const MAX_QUOTED: usize = 40;

/// The first fault of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The field, such as `spec.ports[0].port`; empty for the object as a whole.
    pub path: String,
    /// What is wrong with it, such as `is 70000: expected a number from 1 to 65535`.
    pub problem: String,
}

impl Fault {
    /// Makes the fault of one field.
    #[must_use]
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    /// Makes the fault of a field that has to be there.
    #[must_use]
    pub fn missing(path: impl Into<String>) -> Self {
        Self::new(path, "is missing")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the object" } else { &self.path };
        write!(f, "{path} {}", self.problem)
    }
}

/// Parses an object, or a part of one.
///
/// # Errors
/// The first field that does not have the expected form.
pub fn parse<'de, T, D>(deserializer: D) -> Result<T, Fault>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
    D::Error: fmt::Display,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        fault(if path == "." { "" } else { &path }, &error.into_inner().to_string())
    })
}

/// Makes the fault of an error of serde at a field.
fn fault(path: &str, error: &str) -> Fault {
    let error = error.rsplit_once(" at line ").map_or(error, |(message, _)| message);
    if let Some(field) = quoted_name(error, "missing field ") {
        let separator = if path.is_empty() { "" } else { "." };
        return Fault::missing(format!("{path}{separator}{field}"));
    }
    if let Some(field) = quoted_name(error, "duplicate field ") {
        return Fault::new(path, format!("has `{field}` twice: expected each key once"));
    }
    let mismatch = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "));
    if let Some((given, expected)) = mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        return Fault::new(path, format!("is {}: expected {}", value(given), form(expected)));
    }
    if error.starts_with("is ") || error.starts_with("has ") {
        return Fault::new(path, error);
    }
    Fault::new(path, format!("cannot be read: {error}"))
}

fn quoted_name<'a>(error: &'a str, before: &str) -> Option<&'a str> {
    error.strip_prefix(before)?.strip_prefix('`')?.strip_suffix('`')
}

/// Describes a value by serde's description, such as ``integer `5` ``.
fn value(given: &str) -> String {
    match given {
        "null" | "unit value" => return "empty".to_owned(),
        "sequence" => return "a list".to_owned(),
        "map" => return "keys with values".to_owned(),
        _ => {}
    }
    let literal = given.find(['`', '"']).and_then(|at| given.get(at..));
    shortened(literal.map_or(given, |literal| literal.trim_matches('`')))
}

/// Describes the expected form by serde's description.
fn form(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "keys with values",
        other => other,
    }
}

/// Returns the beginning of a text, for a message.
#[must_use]
pub fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let begin: String = characters.by_ref().take(MAX_QUOTED).collect();
    if characters.next().is_some() { format!("{begin}…") } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::object::Object;
    use crate::source::kubernetes::objects::pod::{PodSpec, PodStatus};

    #[test]
    fn every_fault_names_the_field_and_what_was_expected() {
        for (spec, then) in [
            ("5", "spec is 5: expected keys with values"),
            ("[]", "spec is a list: expected keys with values"),
            ("{}", "spec.containers is missing"),
            (r#"{"containers":[]}"#, "spec.containers is empty: expected at least one container"),
            (r#"{"containers":{}}"#, "spec.containers is keys with values: expected a list"),
            (r#"{"containers":[{}]}"#, "spec.containers[0].name is missing"),
            (r#"{"containers":[null]}"#, "spec.containers[0].name is missing"),
            (r#"{"containers":[{"name":""}]}"#, "spec.containers[0].name is empty: expected a name"),
            (r#"{"hostNetwork":"yes"}"#, "spec.hostNetwork is \"yes\": expected true or false"),
            (
                r#"{"containers":[{"name":"a","ports":[{"containerPort":80},{"containerPort":70000}]}]}"#,
                "spec.containers[0].ports[1].containerPort is 70000: expected a number from 1 to 65535",
            ),
            (
                r#"{"containers":[{"name":"a","ports":[{"containerPort":"many"}]}]}"#,
                "spec.containers[0].ports[0].containerPort is \"many\": expected a number from 1 to 65535",
            ),
            (
                r#"{"containers":[{"name":"a","livenessProbe":{"httpGet":{"port":true}}}]}"#,
                "spec.containers[0].livenessProbe.httpGet.port is true: expected a number from 1 to 65535 or a port's name",
            ),
        ] {
            let text = format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#);
            let read = parse::<Object<PodSpec, PodStatus>, _>(&mut serde_json::Deserializer::from_str(&text));
            assert_eq!(read.map(drop).map_err(|fault| fault.to_string()), Err(then.to_owned()), "{spec}");
            let value: serde_json::Value = serde_json::from_str(&text).expect("json");
            let read = parse::<Object<PodSpec, PodStatus>, _>(&value);
            assert_eq!(read.map(drop).map_err(|fault| fault.to_string()), Err(then.to_owned()), "{spec}");
        }
    }
}
