//! Fields that several kinds of objects in a manifest share: ports, protocols, labels, annotations.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::pod::PortRef;
use serde_saphyr::Spanned;

use super::invalid::{Invalid, invalid};
use super::schema::{Meta, NumberOrName};

/// Prefixes of the annotations that the agent reads.
const READ_ANNOTATIONS: [&str; 2] = ["prometheus.io/", "portolan.dev/"];
/// Maximum length of an annotation's value, in characters.
const MAX_ANNOTATION: usize = 1024;
/// Maximum length of a value that a message quotes, in characters.
const MAX_QUOTED: usize = 40;

/// Identity of an object, and its line for faults of the object as a whole.
#[derive(Clone, Debug)]
pub struct Named {
    pub namespace: String,
    pub name: String,
    pub line: u64,
}

/// Parses a protocol; none means TCP.
pub fn protocol_of(text: Option<&Spanned<String>>) -> Result<Protocol, Invalid> {
    let Some(text) = text else { return Ok(Protocol::Tcp) };
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text.value).ok_or_else(|| Invalid {
        line: text.referenced.line(),
        problem: format!("protocol is {:?}: expected TCP, UDP or SCTP", quoted(&text.value)),
    })
}

/// Parses a port that may be missing; kubectl prints 0 for a missing one.
pub fn optional_port(field: &str, number: Option<&Spanned<i64>>) -> Result<Option<NonZeroU16>, Invalid> {
    number.filter(|number| number.value != 0).map(|number| port_number(field, number)).transpose()
}

/// Parses a reference to a port: a number, also if it is written as a string, or a name.
pub fn port_ref(field: &str, port: &Spanned<NumberOrName>) -> Result<PortRef, Invalid> {
    let line = port.referenced.line();
    let number = match &port.value {
        NumberOrName::Number(number) => Some(*number),
        NumberOrName::Name(name) => name.parse().ok(),
    };
    match (&port.value, number) {
        (_, Some(number)) => port_in_range(field, number, line).map(PortRef::Number),
        (NumberOrName::Name(name), None) if !name.is_empty() => Ok(PortRef::Name(name.clone())),
        _ => invalid(line, format!("{field} is empty: expected a number from 1 to 65535 or a port's name")),
    }
}

/// Parses a port number.
pub fn port_number(field: &str, number: &Spanned<i64>) -> Result<NonZeroU16, Invalid> {
    port_in_range(field, number.value, number.referenced.line())
}

fn port_in_range(field: &str, number: i64, line: u64) -> Result<NonZeroU16, Invalid> {
    let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
    port.ok_or_else(|| Invalid {
        line,
        problem: format!("{field} is {number}: expected a number from 1 to 65535"),
    })
}

/// Returns the beginning of a value, for a message.
pub fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// Returns a map of strings; a key without a value gets an empty one.
pub fn strings(map: Option<&BTreeMap<String, Option<String>>>) -> BTreeMap<String, String> {
    let pairs = map.into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect()
}

/// Returns the annotations that the agent reads, shortened to [`MAX_ANNOTATION`] characters each.
pub fn annotations(meta: &Meta) -> BTreeMap<String, String> {
    let is_read = |key: &str| READ_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
    let all = meta.annotations.iter().flatten().filter(|(key, _)| is_read(key));
    all.map(|(key, value)| {
        let value = value.iter().flat_map(|value| value.chars()).take(MAX_ANNOTATION).collect();
        (key.clone(), value)
    })
    .collect()
}
