//! Attribute lists of records and resources. Unknown values are left out.

use crate::sink::convert::AgentIdentity;

use super::messages::{AnyValue, ArrayValue, KeyValue, KeyValueList, Resource, Scope, Value};

/// `service.name` and scope of every export.
const SERVICE: &str = "portolan";

/// Builder of an attribute list.
#[derive(Debug, Default)]
pub struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Adds a text.
    pub fn text(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.push(key.into(), Value::Text(value.into()));
    }

    /// Adds a text, if there is one.
    pub fn maybe(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Adds a number. Numbers above the range of i64, OTLP's integer, become its maximum.
    pub fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.push(key.to_owned(), Value::Int(value.try_into().unwrap_or(i64::MAX)));
    }

    /// Adds a boolean.
    pub fn truth(&mut self, key: &str, value: bool) {
        self.push(key.to_owned(), Value::Bool(value));
    }

    /// Adds a list of texts, unless it is empty.
    pub fn list<T: Into<String>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        self.values(key, items.into_iter().map(|item| Value::Text(item.into())));
    }

    /// Adds a list of maps, unless it is empty.
    pub fn maps(&mut self, key: &str, maps: impl IntoIterator<Item = Self>) {
        self.values(key, maps.into_iter().map(|map| Value::Map(KeyValueList { values: map.0 })));
    }

    /// Returns the attributes in the order in which they were added.
    #[must_use]
    pub fn into_list(self) -> Vec<KeyValue> {
        self.0
    }

    fn values(&mut self, key: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<AnyValue> = values.map(|value| AnyValue { value: Some(value) }).collect();
        if !values.is_empty() {
            self.push(key.to_owned(), Value::Array(ArrayValue { values }));
        }
    }

    fn push(&mut self, key: String, value: Value) {
        self.0.push(KeyValue { key, value: Some(AnyValue { value: Some(value) }) });
    }
}

/// Returns the resource of all exports: the agent on this node. What a record is about is in the record's attributes.
#[must_use]
pub fn resource(agent: &AgentIdentity) -> Resource {
    let mut attributes = Attributes::default();
    attributes.text("service.name", SERVICE);
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    attributes.text("service.instance.id", &*agent.node);
    attributes.text("k8s.node.name", &*agent.node);
    attributes.maybe("k8s.cluster.name", agent.cluster.as_deref());
    Resource { attributes: attributes.into_list() }
}

/// Returns the instrumentation scope of all exports.
#[must_use]
pub fn scope() -> Scope {
    Scope { name: SERVICE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}
