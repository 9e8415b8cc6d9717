//! Names callers by their address: each agent knows the pods of its own node, and all of them together know all pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_report::answer::NodePod;
use portolan_report::chart::ChartCaller;
use portolan_report::policy_basis::{LabelledPod, PolicyBasis};
use portolan_report::wire::Workload;
use portolan_report::workload_table::{self, PodTotals};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use crate::query::pages::PODS;

/// The live pods of all nodes.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Pods by `NAMESPACE/NAME`.
    pods: BTreeMap<String, PodOfNode>,
    /// Who has an address; `None` if several pods claim it.
    owners: BTreeMap<IpAddr, Option<Owner>>,
}

/// A pod and the node that it runs on.
#[derive(Debug)]
struct PodOfNode {
    labelled: LabelledPod,
    node: String,
}

/// Owner of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// `NAMESPACE/NAME` of a pod with an address of its own.
    Pod(String),
    /// Name of a node. Its pods with `hostNetwork` have the same address.
    Node(String),
}

impl Fleet {
    /// Asks the agents of all nodes, and names the callers in their answers, also those whose pods are on other nodes.
    ///
    /// # Errors
    /// As [`Fleet::ask`].
    pub(super) async fn ask_named(&self, question: &Question) -> Result<Answers, ClusterError> {
        let mut answers = self.ask(question).await?;
        let names = Names::ask_for(self, &answers.items).await;
        answers.items.iter_mut().for_each(|item| names.fill(item));
        Ok(answers)
    }
}

impl Names {
    /// Asks all agents for their pods. Callers of nodes whose agent does not tell stay without a name.
    pub(super) async fn ask(fleet: &Fleet) -> Self {
        let answers = fleet.ask(&Question::List(PODS, Vec::new())).await;
        answers.map(|answers| Self::of(&answers.items)).unwrap_or_default()
    }

    /// Asks only if some of these objects has a caller.
    pub(super) async fn ask_for(fleet: &Fleet, items: &[Value]) -> Self {
        if items.iter().any(has_caller) { Self::ask(fleet).await } else { Self::default() }
    }

    /// Names the pods of these objects, each a `NodePod`. Others are left out.
    pub(super) fn of(items: &[Value]) -> Self {
        Self::of_pods(items.iter().filter_map(|item| NodePod::deserialize(item).ok()))
    }

    /// Names these pods.
    pub(super) fn of_pods(pods: impl IntoIterator<Item = NodePod>) -> Self {
        let mut names = Self::default();
        for pod in pods {
            let name = format!("{}/{}", pod.pod.namespace, pod.pod.name);
            let node = pod.envelope.node;
            let owner =
                if pod.pod.host_network { Owner::Node(node.clone()) } else { Owner::Pod(name.clone()) };
            for address in pod.addresses.iter().filter_map(|address| canonical(address)) {
                let known = names.owners.entry(address).or_insert_with(|| Some(owner.clone()));
                if known.as_ref() != Some(&owner) {
                    *known = None;
                }
            }
            let labelled = LabelledPod { pod: pod.pod, labels: pod.labels };
            names.pods.insert(name, PodOfNode { labelled, node });
        }
        names
    }

    /// Returns the number of live pods of each workload.
    pub(super) fn pod_totals(&self) -> PodTotals {
        workload_table::pod_totals(self.pods.values().map(|pod| (&pod.labelled.pod, pod.node.as_str())))
    }

    fn owner(&self, address: &str) -> Option<&Owner> {
        self.owners.get(&canonical(address)?)?.as_ref()
    }

    fn workload(&self, name: &str) -> Option<&Workload> {
        self.pods.get(name)?.labelled.pod.workload.as_ref()
    }

    /// Fills in `ref` and `workload` of all callers in an object, and `callerNode` where the address is a node's. What the
    /// agent wrote stays.
    pub(super) fn fill(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.fill(field));
                self.fill_caller(fields);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fill_caller(&self, fields: &mut serde_json::Map<String, Value>) {
        if !is_caller(fields) {
            return;
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let client = fields.get("via").and_then(|via| via.get("client")?.as_str());
        let name = match (text("ref"), text("origin")) {
            (Some(name), _) => name.to_owned(),
            (None, Some("same-pod" | "node")) => return,
            (None, _) => match client.or_else(|| text("address")).and_then(|address| self.owner(address)) {
                Some(Owner::Pod(name)) => name.clone(),
                Some(Owner::Node(node)) => {
                    let node = node.clone();
                    fields.insert("callerNode".to_owned(), node.into());
                    return;
                }
                None => return,
            },
        };
        if fields.get("workload").is_none_or(Value::is_null)
            && let Some(workload) = self.workload(&name)
        {
            let workload = json!({ "kind": workload.kind, "name": workload.name });
            fields.insert("workload".to_owned(), workload);
        }
        fields.insert("ref".to_owned(), name.into());
    }

    /// Names a caller of a chart by its address: the pod, which is one of the cluster then, or the node. What the agent wrote stays.
    pub(super) fn name_caller(&self, caller: &mut ChartCaller) {
        if caller.origin != "same-pod" && caller.pod.is_none() && caller.workload.is_none() {
            match self.owner(&caller.address) {
                Some(Owner::Pod(name)) if caller.origin != "node" => {
                    let (namespace, pod) = name.split_once('/').unwrap_or(("", name));
                    caller.namespace = Some(namespace.to_owned());
                    caller.pod = Some(pod.to_owned());
                    "pod".clone_into(&mut caller.origin);
                }
                Some(Owner::Node(node)) if caller.node.is_none() => caller.node = Some(node.clone()),
                Some(_) | None => {}
            }
        }
        if caller.workload.is_none()
            && let (Some(namespace), Some(pod)) = (&caller.namespace, &caller.pod)
        {
            caller.workload = self.workload(&format!("{namespace}/{pod}")).cloned();
        }
    }

    /// Names the callers of other nodes in the facts of a policy, and adds the pods of other nodes that its selectors must not
    /// match. A caller whose address was translated keeps the address that the policy must admit.
    pub(super) fn complete(&self, basis: &mut PolicyBasis) {
        let mut callers = Vec::new();
        let ports = basis.pods.iter_mut().flat_map(|pod| &mut pod.ports);
        for peer in ports.flat_map(|port| &mut port.traffic.peers) {
            if peer.reference.is_none()
                && !matches!(peer.origin.as_str(), "same-pod" | "node")
                && peer.via.as_ref().is_none_or(|via| via.client.is_none())
                && let Some(Owner::Pod(name)) = self.owner(&peer.address)
            {
                peer.reference = Some(name.clone());
                "pod".clone_into(&mut peer.origin);
            }
            let caller = peer.reference.as_ref().and_then(|name| self.pods.get(name));
            callers.extend(caller.map(|pod| pod.labelled.clone()));
        }
        basis.callers.extend(callers);
        let is_beside = |pod: &&LabelledPod| {
            basis.pods.iter().any(|target| target.labelled.pod.namespace == pod.pod.namespace)
        };
        let known = self.pods.values().map(|pod| &pod.labelled);
        let beside: Vec<LabelledPod> = known.filter(is_beside).cloned().collect();
        basis.neighbours.extend(beside);
    }
}

/// Parses an address. An IPv4 address in an IPv6 one counts as the IPv4 address.
fn canonical(address: &str) -> Option<IpAddr> {
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Returns true for the objects that describe a caller: peers of traffic, and remote ends of connections.
fn is_caller(fields: &serde_json::Map<String, Value>) -> bool {
    fields.contains_key("address") && fields.contains_key("origin") && fields.contains_key("ref")
}

fn has_caller(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_caller),
        Value::Object(fields) => is_caller(fields) || fields.values().any(has_caller),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ChartCaller, Names};

    fn pod(node: &str, name: &str, address: &str, host_network: bool) -> Value {
        json!({
            "schema": "portolan/v1", "node": node, "time": "",
            "pod": {
                "namespace": "shop", "name": name, "uid": name, "hostNetwork": host_network,
                "workload": {"kind": "Deployment", "name": "web"},
            },
            "addresses": [address], "labels": {"app": "web"},
        })
    }

    fn names() -> Names {
        Names::of(&[
            pod("node-1", "web-1", "10.244.1.7", false),
            pod("node-2", "exporter", "10.0.0.2", true),
            pod("node-2", "proxy", "10.0.0.2", true),
            pod("node-1", "old", "10.244.1.9", false),
            pod("node-2", "new", "10.244.1.9", false),
        ])
    }

    #[track_caller]
    fn check(mut caller: Value, fields: &Value) {
        names().fill(&mut caller);
        for (name, expected) in fields.as_object().expect("fields") {
            assert_eq!(caller.get(name).unwrap_or(&Value::Null), expected, "{name} of {caller}");
        }
    }

    #[test]
    fn a_caller_is_named_by_the_pod_with_its_address_and_keeps_its_origin() {
        let workload = json!({"kind": "Deployment", "name": "web"});
        let peer = |address: &str, origin: &str| json!({"address": address, "origin": origin, "ref": null});
        let named = json!({"ref": "shop/web-1", "workload": workload, "origin": "external"});
        check(peer("10.244.1.7", "external"), &named);
        check(peer("::ffff:10.244.1.7", "external"), &named);
        let known = json!({"address": "1.2.3.4", "origin": "pod", "ref": "shop/web-1"});
        check(known, &json!({"ref": "shop/web-1", "workload": workload}));
        let mut translated = peer("10.0.0.2", "external");
        translated["via"] = json!({"address": "10.96.0.1", "port": 80, "client": "10.244.1.7"});
        check(translated, &named);
    }

    #[test]
    fn a_caller_of_a_chart_is_named_by_its_address_too() {
        let named = |address: &str, origin: &str| {
            let mut caller = ChartCaller {
                address: address.to_owned(),
                origin: origin.to_owned(),
                ..ChartCaller::default()
            };
            names().name_caller(&mut caller);
            (caller.origin, caller.pod, caller.workload.map(|workload| workload.name), caller.node)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(named("10.244.1.7", "external"), ("pod".to_owned(), text("web-1"), text("web"), None));
        assert_eq!(named("10.0.0.2", "external"), ("external".to_owned(), None, None, text("node-2")));
        assert_eq!(named("10.0.0.2", "node"), ("node".to_owned(), None, None, text("node-2")));
        for (address, origin) in [("10.244.1.9", "external"), ("10.244.1.7", "same-pod"), ("10.1.1.1", "pod")]
        {
            assert_eq!(named(address, origin), (origin.to_owned(), None, None, None), "{address}");
        }
    }

    #[test]
    fn an_address_of_a_node_or_of_several_pods_names_no_pod() {
        let peer = |address: &str| json!({"address": address, "origin": "external", "ref": null});
        check(peer("10.0.0.2"), &json!({"ref": null, "callerNode": "node-2", "workload": null}));
        check(peer("10.244.1.9"), &json!({"ref": null, "callerNode": null, "workload": null}));
        check(peer("10.1.1.1"), &json!({"ref": null, "callerNode": null, "workload": null}));
    }
}
