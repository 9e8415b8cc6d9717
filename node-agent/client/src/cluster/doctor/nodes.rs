//! Check that every node has the pod of an agent.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, Error, ResourceExt};
use portolan_report::escape::terminal;

use super::check::{Check, names};
use crate::cluster::refusal;

/// Number of nodes per page of the list.
const PAGE: u32 = 500;

/// Compares the nodes with those that have the pod of an agent.
pub(super) async fn check(client: &Client, with: &BTreeSet<&str>) -> Check {
    let name = "nodes";
    let all = match list(client).await {
        Ok(all) => all,
        Err(error) => {
            let reason = terminal(&refusal::of_request(&error, "list nodes"));
            return Check::warn(
                name,
                format!("unknown whether every node has an agent: {reason}"),
                "compare with `kubectl get nodes`",
            );
        }
    };
    let without: Vec<String> =
        all.iter().filter(|node| !with.contains(node.as_str())).map(|node| terminal(node)).collect();
    if without.is_empty() {
        return Check::ok(name, format!("each of {} nodes has the pod of an agent", all.len()));
    }
    Check::fail(
        name,
        format!("no agent on {}", names(without.iter().map(String::as_str))),
        "do the DaemonSet's tolerations and node selector fit these nodes?",
    )
}

/// Returns the names of all nodes. Asks for their metadata only, page by page.
async fn list(client: &Client) -> Result<Vec<String>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list_metadata(&params).await?;
        found.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}
