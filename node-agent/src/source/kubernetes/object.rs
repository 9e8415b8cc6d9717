//! Parts that all Kubernetes objects share, parsed leniently: a field of the wrong type counts as absent and never invalidates
//! the object. Values longer than Kubernetes allows are left out and counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::pod::PortRef;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Maximum length of a name in Kubernetes, in bytes.
pub const MAX_NAME: usize = 253;
/// Maximum length of the key of a label or annotation: prefix, slash, name.
const MAX_KEY: usize = 317;
const MAX_LABEL: usize = 63;
const MAX_LABELS: usize = 1024;
/// Maximum length of an annotation's value; those that the agent reads are short.
const MAX_ANNOTATION: usize = 1024;
const MAX_ANNOTATIONS: usize = 64;

/// A field of any type; `None` if the type is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lax<T>(pub Option<T>);

impl<T> Default for Lax<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lax<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

/// A list in which an invalid entry does not affect the others.
pub type LaxList<T> = Lax<Vec<Lax<T>>>;

impl<T> LaxList<T> {
    /// Returns at most `most` valid entries; counts the others in `cuts`.
    pub fn entries(self, most: usize, cuts: &mut Cuts) -> impl Iterator<Item = T> + use<T> {
        let entries = self.0.unwrap_or_default();
        cuts.beyond(entries.len(), most);
        entries.into_iter().take(most).filter_map(|entry| entry.0)
    }
}

/// Number of parts of objects that were left out because they exceed a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts(pub u64);

impl Cuts {
    fn beyond(&mut self, count: usize, most: usize) {
        self.0 += u64::try_from(count.saturating_sub(most)).unwrap_or(u64::MAX);
    }

    /// Returns the text, or counts it and returns `None` if it is longer than `most` bytes.
    pub fn short(&mut self, text: String, most: usize) -> Option<String> {
        if text.len() > most {
            self.0 += 1;
            return None;
        }
        // The parser may have allocated up to twice the length.
        Some(text.into_boxed_str().into_string())
    }
}

/// An object: metadata, and the fields of spec and status that its kind reads.
#[derive(Debug, Deserialize)]
#[serde(bound = "Spec: DeserializeOwned, Status: DeserializeOwned")]
pub struct Object<Spec, Status> {
    #[serde(default)]
    pub metadata: Lax<Metadata>,
    #[serde(default)]
    pub spec: Lax<Spec>,
    #[serde(default)]
    pub status: Lax<Status>,
}

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: Lax<String>,
    pub namespace: Lax<String>,
    pub uid: Lax<String>,
    pub resource_version: Lax<String>,
    pub labels: Lax<BTreeMap<String, Lax<String>>>,
    pub annotations: Lax<BTreeMap<String, Lax<String>>>,
    pub owner_references: LaxList<Owner>,
    /// Token of the next page of a list.
    #[serde(rename = "continue")]
    pub next_page: Lax<String>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    pub kind: Lax<String>,
    pub name: Lax<String>,
    pub controller: Lax<bool>,
}

impl Metadata {
    /// Returns the value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.0.as_ref()?.get(key)?.0.as_deref()
    }

    /// Takes namespace and name; `None` for an object without a name.
    pub fn take_key(&mut self, cuts: &mut Cuts) -> Option<(String, String)> {
        let name = self.name.0.take().filter(|name| !name.is_empty())?;
        let namespace = self.namespace.0.take().unwrap_or_default();
        Some((cuts.short(namespace, MAX_NAME)?, cuts.short(name, MAX_NAME)?))
    }

    /// Takes the labels.
    pub fn take_labels(&mut self, cuts: &mut Cuts) -> BTreeMap<String, String> {
        labels(self.labels.0.take(), cuts)
    }

    /// Takes the annotations whose key is `wanted`.
    pub fn take_annotations(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        cuts: &mut Cuts,
    ) -> BTreeMap<String, String> {
        let all = self.annotations.0.take().unwrap_or_default();
        let wanted = all.into_iter().filter(|(key, _)| wanted(key)).collect();
        strings(wanted, MAX_ANNOTATIONS, MAX_ANNOTATION, cuts)
    }
}

/// Returns labels, or the labels of a selector, within the limits of Kubernetes.
pub fn labels(map: Option<BTreeMap<String, Lax<String>>>, cuts: &mut Cuts) -> BTreeMap<String, String> {
    strings(map.unwrap_or_default(), MAX_LABELS, MAX_LABEL, cuts)
}

fn strings(
    map: BTreeMap<String, Lax<String>>,
    most: usize,
    max_value: usize,
    cuts: &mut Cuts,
) -> BTreeMap<String, String> {
    cuts.beyond(map.len(), most);
    map.into_iter()
        .take(most)
        .filter_map(|(key, value)| Some((cuts.short(key, MAX_KEY)?, cuts.short(value.0?, max_value)?)))
        .collect()
}

/// `spec.selector` of a policy.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    pub match_labels: Lax<BTreeMap<String, Lax<String>>>,
    pub match_expressions: LaxList<Expression>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Expression {
    pub key: Lax<String>,
    pub operator: Lax<String>,
    pub values: LaxList<String>,
}

/// A port as a number or as a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Number(i64),
    Text(String),
}

impl IntOrString {
    /// Converts to a port; `None` for a number outside 1 to 65535 and for a name of invalid length.
    pub fn port(self, cuts: &mut Cuts) -> Option<PortRef> {
        match self {
            Self::Number(number) => port(Some(number)).map(PortRef::Number),
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => cuts.short(text, MAX_LABEL).map(PortRef::Name),
        }
    }
}

/// Returns a port from 1 to 65535.
pub fn port(number: Option<i64>) -> Option<NonZeroU16> {
    u16::try_from(number?).ok().and_then(NonZeroU16::new)
}

/// Parses a protocol; none means TCP. `None` for a protocol that the agent does not observe.
pub fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("") => Some(Protocol::Tcp),
        Some(text) => Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text),
    }
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct WatchLine<'a> {
    #[serde(rename = "type", borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// A list without its items, or an object without spec and status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Envelope {
    pub metadata: Lax<Metadata>,
}

/// The `Status` object with which the server reports a fault.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: Lax<u16>,
    pub message: Lax<String>,
    pub reason: Lax<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        ports: LaxList<IntOrString>,
    }

    #[test]
    fn what_has_the_wrong_shape_is_not_there_and_the_rest_is() {
        let text = r#"{"metadata":{"name":"a","labels":{"x":"y","z":null,"n":3},"namespace":[1],
            "ownerReferences":[7,{"kind":"Node"}]},"spec":{"ports":[1,"http",null,{},70000,-1,""]},"status":"no"}"#;
        let mut cuts = Cuts::default();
        let object: Object<Spec, Selector> = serde_json::from_str(text).expect("an object");
        let mut metadata = object.metadata.0.expect("metadata");
        assert_eq!(metadata.take_key(&mut cuts), Some((String::new(), "a".to_owned())));
        assert_eq!(metadata.take_labels(&mut cuts), BTreeMap::from([("x".to_owned(), "y".to_owned())]));
        assert_eq!(metadata.owner_references.entries(9, &mut cuts).count(), 1);
        let ports = object.spec.0.expect("spec").ports.entries(9, &mut cuts);
        let ports: Vec<_> = ports.filter_map(|port| port.port(&mut Cuts::default())).collect();
        assert_eq!(ports, [PortRef::Number(NonZeroU16::MIN), PortRef::Name("http".to_owned())]);
        assert!(object.status.0.is_none());
        assert_eq!(cuts, Cuts(0));
    }

    #[test]
    fn what_is_too_much_is_cut_and_counted() {
        let mut cuts = Cuts::default();
        let long = "x".repeat(MAX_ANNOTATION + 1);
        let text = format!(r#"{{"annotations":{{"a/long":"{long}","a/short":"1","b/other":"2"}}}}"#);
        let mut metadata: Metadata = serde_json::from_str(&text).expect("metadata");
        let kept = metadata.take_annotations(|key| key.starts_with("a/"), &mut cuts);
        assert_eq!(kept, BTreeMap::from([("a/short".to_owned(), "1".to_owned())]));
        assert_eq!(cuts, Cuts(1));
        let many: LaxList<i64> = serde_json::from_str("[1,2,3]").expect("list");
        assert_eq!((many.entries(2, &mut cuts).count(), cuts), (2, Cuts(2)));
    }
}
