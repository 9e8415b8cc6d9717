//! Parses the path and query of a request for objects, as the real server does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api_server::resource::{RESOURCES, Resource};

/// Resource, scope and parameters of a request for objects.
#[derive(Debug)]
pub struct ObjectRequest {
    pub resource: &'static Resource,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub parameters: BTreeMap<String, String>,
}

impl ObjectRequest {
    /// Returns `None` if the path is not of objects.
    pub fn of(path: &str, query: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name) = match rest {
            [plural] => (plural, None),
            [plural, name] => (plural, Some((*name).to_owned())),
            _ => return None,
        };
        let resource = RESOURCES.iter().find(|resource| {
            resource.group == group && resource.version == version && resource.plural == *plural
        })?;
        Some(Self { resource, namespace, name, parameters: parameters(query) })
    }

    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), "1" | "true")
    }

    /// True if scope and selectors of the request match the object.
    pub fn selects(&self, object: &Value) -> bool {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        self.namespace.as_deref().is_none_or(|namespace| text("/metadata/namespace") == namespace)
            && self.name.as_deref().is_none_or(|name| text("/metadata/name") == name)
            && terms(self.parameter("fieldSelector")).all(|(field, equal, value)| {
                (text(&format!("/{}", field.replace('.', "/"))) == value) == equal
            })
            && terms(self.parameter("labelSelector")).all(|(label, equal, value)| {
                let labels = object.pointer("/metadata/labels");
                (labels.and_then(|labels| labels.get(label)?.as_str()) == Some(value)) == equal
            })
    }
}

/// Splits a selector such as `a=b,c!=d` into key, whether the value must be equal, and value.
fn terms(selector: &str) -> impl Iterator<Item = (&str, bool, &str)> {
    selector.split(',').filter_map(|term| match term.split_once("!=") {
        Some((field, value)) => Some((field, false, value)),
        None => term.split_once('=').map(|(field, value)| (field, true, value.trim_start_matches('='))),
    })
}

pub fn parameters(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_selectors() {
        let target =
            ObjectRequest::of("/api/v1/pods", "fieldSelector=spec.nodeName%3Da,status.phase!%3DFailed")
                .expect("pods");
        assert!(target.selects(&json!({"spec": {"nodeName": "a"}})));
        assert!(!target.selects(&json!({"spec": {"nodeName": "b"}})));
        assert!(!target.selects(&json!({"spec": {"nodeName": "a"}, "status": {"phase": "Failed"}})));
        let one = ObjectRequest::of("/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/x", "")
            .expect("a policy");
        assert_eq!((one.namespace.as_deref(), one.name.as_deref()), (Some("shop"), Some("x")));
        assert_eq!(
            ObjectRequest::of("/api/v1/namespaces", "").expect("namespaces").resource.plural,
            "namespaces"
        );
        let one = ObjectRequest::of("/api/v1/namespaces/shop", "").expect("a namespace");
        assert_eq!((one.resource.plural, one.name.as_deref()), ("namespaces", Some("shop")));
        assert!(ObjectRequest::of("/metrics", "").is_none());
    }
}
