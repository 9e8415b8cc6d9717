//! Checks that values.yaml, its schema and the README agree. The comments of values.yaml document the values; schema and
//! README are compared with them. `PORTOLAN_BLESS=1` writes the README's table.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Case;
use crate::helm::{chart, read};
use crate::objects::keys;

pub const CASES: &[Case] = &[
    ("every value is documented, and the schema says the same", documented),
    ("the schema is strict", strict),
    ("the README's table is that of the values", readme),
];

const BEGIN: &str = "<!-- begin: values, written by the chart tier with PORTOLAN_BLESS=1 -->\n";
const END: &str = "<!-- end -->";
/// Values that helm passes to every subchart.
const OF_PARENTS: [&str; 2] = ["enabled", "global"];
/// Values that are objects of Kubernetes, or maps with keys of the user's choice.
const OPEN: [&str; 15] = [
    "affinity",
    "annotations",
    "commonLabels",
    "dashboard.annotations",
    "dashboard.labels",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "podMonitor.labels",
    "prometheusRule.alertLabels",
    "prometheusRule.labels",
    "resources.limits",
    "resources.requests",
    "service.annotations",
    "serviceAccount.annotations",
];

/// A documented value: path, comment and default.
struct Documented {
    path: String,
    comment: String,
    default: Value,
}

/// Returns path and comment of every key of values.yaml with a comment above it, in the order of the file.
fn comments() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut above: Vec<String> = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in read("values.yaml").lines() {
        let text = line.trim_start();
        if let Some(comment) = text.strip_prefix('#') {
            above.push(comment.trim().to_owned());
            continue;
        }
        let key =
            text.split_once(':').map(|(key, _)| key).filter(|key| key.chars().all(char::is_alphanumeric));
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            let depth = line.len() - text.len();
            open.retain(|(other, _)| *other < depth);
            open.push((depth, key.to_owned()));
            if !above.is_empty() {
                let path = open.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
                found.push((path, above.join(" ")));
            }
        }
        above.clear();
    }
    found
}

fn at<'a>(values: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(values, |value, key| &value[key])
}

fn values() -> Value {
    serde_saphyr::from_str(&read("values.yaml")).expect("YAML")
}

fn schema() -> Value {
    serde_json::from_str(&read("values.schema.json")).expect("JSON")
}

fn table() -> Vec<Documented> {
    let values = values();
    let of = |(path, comment): (String, String)| {
        let default = at(&values, &path).clone();
        Documented { path, comment, default }
    };
    comments().into_iter().map(of).collect()
}

/// Collects the paths of all leaves below `value`: values that are not objects, and empty objects.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    let inner = value.as_object().filter(|object| !object.is_empty());
    let Some(object) = inner else { return found.push(path.to_owned()) };
    for (key, value) in object {
        leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
    }
}

fn documented() {
    let table: BTreeMap<String, String> =
        table().into_iter().map(|value| (value.path, value.comment)).collect();
    let mut all = Vec::new();
    leaves(&values(), "", &mut all);
    for leaf in &all {
        // The comment is above the value, or above an object that contains it.
        let mut path = leaf.as_str();
        while !table.contains_key(path) {
            path = path.rsplit_once('.').unwrap_or_else(|| panic!("{leaf} has no comment")).0;
        }
    }
    let schema = schema();
    for (path, comment) in &table {
        let node = path.split('.').fold(&schema, |node, key| &node["properties"][key]);
        assert!(node.is_object(), "{path} is not in values.schema.json");
        assert_eq!(node["description"].as_str(), Some(comment.as_str()), "{path}");
    }
    for leaf in &all {
        let is_open = OPEN.iter().any(|open| leaf.starts_with(open));
        let node = leaf.split('.').fold(&schema, |node, key| &node["properties"][key]);
        assert!(is_open || node.is_object(), "{leaf} is not in values.schema.json");
    }
}

fn closed(node: &Value, path: &str, values: &Value) {
    if node.get("properties").is_none() {
        let is_object = node["type"] == "object";
        assert!(!is_object || OPEN.contains(&path) || path.is_empty(), "{path} takes anything");
        return;
    }
    assert_eq!(node["additionalProperties"], false, "{path}");
    for key in keys(&node["properties"]) {
        if path.is_empty() && OF_PARENTS.contains(&key) {
            continue;
        }
        let inner = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let known = at(values, &inner);
        // Fields of Kubernetes objects, which have their defaults there.
        let is_optional =
            ["probes.", "securityContext.", "updateStrategy."].iter().any(|p| inner.starts_with(p));
        assert!(!known.is_null() || is_optional, "{inner} is in values.schema.json, and not in values.yaml");
        closed(&node["properties"][key], &inner, values);
    }
}

fn strict() {
    closed(&schema(), "", &values());
}

fn markdown() -> String {
    let mut text = "| value | default | |\n|---|---|---|\n".to_owned();
    for value in table() {
        let default = match &value.default {
            Value::Object(object) if !object.is_empty() => "see values.yaml".to_owned(),
            Value::Array(list) if list.iter().any(Value::is_object) => "see values.yaml".to_owned(),
            default => format!("`{default}`"),
        };
        let comment = value.comment.replace('|', "\\|");
        text.push_str(&format!("| `{}` | {default} | {comment} |\n", value.path));
    }
    text
}

fn readme() {
    let path = chart().join("README.md");
    let text = std::fs::read_to_string(&path).expect("README.md");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where it ends");
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", markdown())).expect("writes");
        return;
    }
    assert_eq!(table, markdown(), "run with PORTOLAN_BLESS=1");
}
