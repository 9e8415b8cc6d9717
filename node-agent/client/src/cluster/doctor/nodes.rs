//! Check that every node has the pod of an agent.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, ResourceExt};
use portolan_report::escape::terminal;
use tokio::time::timeout;

use super::check::{Check, names};
use crate::cluster::{node_kind, refusal};

/// Number of nodes per page of the list.
const PAGE: u32 = 500;

/// Compares the nodes with those that have the pod of an agent. Nodes on which none can run are only counted.
/// Each page may take as long as the limit.
pub(super) async fn check(client: &Client, with: &BTreeSet<&str>, time_limit: Duration) -> Check {
    match list(client, time_limit).await {
        Ok(all) => compare(&all, with),
        Err(reason) => Check::warn(
            "nodes",
            format!("unknown whether every node has an agent: {}", terminal(&reason)),
            "compare with `kubectl get nodes`",
        ),
    }
}

fn compare(all: &[PartialObjectMeta<Node>], with: &BTreeSet<&str>) -> Check {
    let name = "nodes";
    let has_agent = |node: &PartialObjectMeta<Node>| with.contains(node.name_any().as_str());
    let (unfit, without): (Vec<_>, Vec<_>) = all
        .iter()
        .filter(|node| !has_agent(node))
        .partition(|node| node_kind::without_agents(node.labels()).is_some());
    let unfit = match unfit.len() {
        0 => String::new(),
        1 => "; 1 more runs another system, or is a Fargate node".to_owned(),
        count => format!("; {count} more run another system, or are Fargate nodes"),
    };
    if all.is_empty() {
        return Check::warn(name, "the API server lists no node", "compare with `kubectl get nodes`");
    }
    if without.is_empty() {
        let count = all.iter().filter(|node| has_agent(node)).count();
        let each = match count {
            1 => "the node has the pod of an agent".to_owned(),
            _ => format!("each of {count} nodes has the pod of an agent"),
        };
        return Check::ok(name, each + &unfit);
    }
    let without: Vec<String> = without.iter().map(|node| terminal(&node.name_any())).collect();
    Check::fail(
        name,
        format!("no agent on {}{unfit}", names(without.iter().map(String::as_str))),
        "do the DaemonSet's tolerations and node selector fit these nodes?",
    )
}

/// Returns all nodes, or why they are not known. Asks for their metadata only, page by page.
async fn list(client: &Client, time_limit: Duration) -> Result<Vec<PartialObjectMeta<Node>>, String> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = match timeout(time_limit, api.list_metadata(&params)).await {
            Ok(page) => page.map_err(|error| refusal::of_request(&error, "list nodes"))?,
            Err(_) => return Err(format!("no answer within {} s (--timeout)", time_limit.as_secs())),
        };
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;
    use serde_json::json;

    fn node(name: &str, labels: &serde_json::Value) -> PartialObjectMeta<Node> {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a node")
    }

    #[test]
    fn nodes_on_which_no_agent_can_run_are_no_failure() {
        let linux = json!({"kubernetes.io/os": "linux"});
        let nodes = [
            node("a", &linux),
            node("win", &json!({"kubernetes.io/os": "windows"})),
            node(
                "fargate",
                &json!({"kubernetes.io/os": "linux", "eks.amazonaws.com/compute-type": "fargate"}),
            ),
        ];
        let said = |with: &[&str]| check::table(&[compare(&nodes, &with.iter().copied().collect())]);
        let whole = said(&["a"]);
        assert!(whole.contains("ok") && whole.contains("2 more run another system"), "{whole}");
        let lacking = said(&[]);
        assert!(lacking.contains("FAIL") && lacking.contains("no agent on a; 2 more"), "{lacking}");
        assert!(check::table(&[compare(&[], &BTreeSet::new())]).contains("lists no node"));
    }
}
