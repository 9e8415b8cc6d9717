//! The objects that helm rendered, and how cases select from them.

use serde_json::Value;

/// The objects of one release.
pub struct Objects(pub Vec<Value>);

impl Objects {
    /// Returns all objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// Returns the only object of a kind.
    pub fn the(&self, kind: &str) -> &Value {
        let mut all = self.0.iter().filter(|object| object["kind"] == kind);
        let first = all.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(all.next().is_none(), "several of kind {kind}");
        first
    }

    pub fn has(&self, kind: &str) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// Returns the specs of all pods: of the DaemonSet and of the chart's test.
    pub fn pod_specs(&self) -> Vec<(&'static str, &Value)> {
        let agents = self.of_kind("DaemonSet").map(|set| ("DaemonSet", &set["spec"]["template"]["spec"]));
        agents.chain(self.of_kind("Pod").map(|pod| ("Pod", &pod["spec"]))).collect()
    }

    /// Returns the container of the agent.
    pub fn agent(&self) -> &Value {
        &self.the("DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    }

    /// Returns the arguments of the agent.
    pub fn args(&self) -> Vec<String> {
        texts(&self.agent()["args"])
    }
}

/// Returns the texts of a list.
pub fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item.as_str().expect("a text").to_owned()).collect()
}

/// Returns the items of a list; none if the list is absent.
pub fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Returns the keys of an object.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}
