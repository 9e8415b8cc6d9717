//! Recorded answers of a real API server, and the comparison of an answer with one of them.

use serde_json::Value;

/// Stands for any text in a recorded answer.
const ANY: &str = "*";
/// Stands for a field that must not be there.
const ABSENT: &str = "(absent)";

/// Returns all recorded exchanges.
///
/// # Panics
/// If a file is no list of exchanges.
#[must_use]
pub fn exchanges() -> Vec<Value> {
    let files = [
        include_str!("../../recorded/accept.json"),
        include_str!("../../recorded/lists.json"),
        include_str!("../../recorded/watches.json"),
    ];
    files.iter().flat_map(|text| serde_json::from_str::<Vec<Value>>(text).expect("exchanges")).collect()
}

/// Returns where an answer first differs from the recorded one.
///
/// # Errors
/// With the path of the field and both values.
pub fn compare(recorded: &Value, found: &Value, path: &str) -> Result<(), String> {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => recorded.iter().try_for_each(|(key, recorded)| {
            let path = format!("{path}.{key}");
            match found.get(key) {
                None if recorded == ABSENT => Ok(()),
                None => Err(format!("{path} is missing; recorded: {recorded}")),
                Some(found) if recorded == ABSENT => {
                    Err(format!("{path} is not in the recorded answer; found: {found}"))
                }
                Some(found) => compare(recorded, found, &path),
            }
        }),
        (Value::Array(recorded), Value::Array(found)) if recorded.len() == found.len() => {
            let both = recorded.iter().zip(found).enumerate();
            both.into_iter()
                .try_for_each(|(at, (recorded, found))| compare(recorded, found, &format!("{path}[{at}]")))
        }
        (Value::String(any), Value::String(_)) if any == ANY => Ok(()),
        _ if recorded == found => Ok(()),
        _ => Err(format!("{path} is {found}; recorded: {recorded}")),
    }
}
