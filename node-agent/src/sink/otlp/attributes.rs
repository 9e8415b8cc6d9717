//! Lists of attributes, as records and resources carry them: what is not known is left out.

use super::messages::{AnyValue, ArrayValue, KeyValue, KeyValueList, Resource, Scope, Value};

/// What every export calls this program.
const SERVICE: &str = "portolan";

/// Grows by one attribute after the other.
#[derive(Debug, Default)]
pub struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub fn text(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.push(key.into(), Value::Text(value.into()));
    }

    pub fn maybe(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A number; above what OTLP can say, the most that it can.
    pub fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.push(key.to_owned(), Value::Int(value.try_into().unwrap_or(i64::MAX)));
    }

    pub fn truth(&mut self, key: &str, value: bool) {
        self.push(key.to_owned(), Value::Bool(value));
    }

    /// A list; an empty one is left out.
    pub fn list<T: Into<String>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        self.values(key, items.into_iter().map(|item| Value::Text(item.into())));
    }

    /// A list of maps; likewise.
    pub fn maps(&mut self, key: &str, maps: impl IntoIterator<Item = Self>) {
        self.values(key, maps.into_iter().map(|map| Value::Map(KeyValueList { values: map.0 })));
    }

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

/// The agent on this node. What a record is about are attributes of the record: a resource is who sends.
#[must_use]
pub fn resource(node: &str) -> Resource {
    let mut attributes = Attributes::default();
    attributes.text("service.name", SERVICE);
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    attributes.text("service.instance.id", node);
    attributes.text("k8s.node.name", node);
    Resource { attributes: attributes.into_list() }
}

#[must_use]
pub fn scope() -> Scope {
    Scope { name: SERVICE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}
