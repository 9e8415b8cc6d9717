//! Where the agents are: their pods, by label, in one list, of which one for each node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use portolan_report::error_text::causes;

use super::args::ClusterArgs;
use super::ask::ClusterError;

/// Objects asked for at once.
const PAGE: u32 = 500;

/// An agent's pod.
#[derive(Clone, Debug)]
pub struct Agent {
    pub namespace: String,
    pub pod: String,
    pub node: String,
    /// Why it cannot be asked.
    pub obstacle: Option<String>,
}

/// A client for the cluster that was meant.
///
/// # Errors
/// Where no credentials are to be had.
pub async fn client(args: &ClusterArgs) -> Result<Client, ClusterError> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let config = match &args.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    let config = config.map_err(|error| ClusterError::Credentials(causes(&error)))?;
    Client::try_from(config).map_err(|error| ClusterError::Credentials(causes(&error)))
}

/// The agent of every node, by node.
///
/// # Errors
/// Where the list cannot be had, or is empty.
pub async fn find(client: &Client, args: &ClusterArgs) -> Result<Vec<Agent>, ClusterError> {
    let pods: Api<Pod> = match &args.agents_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut params = ListParams::default().labels(&args.agents_selector).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = pods.list(&params).await.map_err(|error| ClusterError::NotListed(causes(&error)))?;
        let rest = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(page.items);
        match rest {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    let agents = one_for_each_node(&found);
    if agents.is_empty() {
        let place = args
            .agents_namespace
            .as_ref()
            .map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"));
        return Err(ClusterError::NoAgents { selector: args.agents_selector.clone(), place });
    }
    Ok(agents)
}

/// While an agent is replaced its node has two pods, and an evicted one stays in the list: only one is asked.
fn one_for_each_node(pods: &[Pod]) -> Vec<Agent> {
    let mut best: BTreeMap<String, (Fitness<'_>, Agent)> = BTreeMap::new();
    for pod in pods {
        let agent = agent(pod);
        let fitness = (agent.obstacle.is_none(), is_ready(pod), pod.metadata.creation_timestamp.as_ref());
        if best.get(&agent.node).is_none_or(|(other, _)| *other < fitness) {
            best.insert(agent.node.clone(), (fitness, agent));
        }
    }
    best.into_values().map(|(_, agent)| agent).collect()
}

/// Can be asked, is ready, was made: the greatest fits best.
type Fitness<'a> = (bool, bool, Option<&'a Time>);

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn agent(pod: &Pod) -> Agent {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    let obstacle = match phase {
        _ if pod.metadata.deletion_timestamp.is_some() => Some("is being deleted".to_owned()),
        "Running" => None,
        phase => Some(format!("is {phase}")),
    };
    let name = pod.name_any();
    Agent {
        namespace: pod.namespace().unwrap_or_default(),
        node: node(pod).unwrap_or_else(|| format!("(no node for pod {name})")),
        obstacle: obstacle.map(|obstacle| format!("its agent's pod {name} {obstacle}")),
        pod: name,
    }
}

/// Where it runs, or where its DaemonSet wants it: that stands in the pod from its beginning.
fn node(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let wanted = || {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let terms =
            &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
        let field = terms.iter().flat_map(|term| term.match_fields.iter().flatten()).next()?;
        field.values.as_ref()?.first().filter(|_| field.key == "metadata.name").cloned()
    };
    spec.node_name.clone().or_else(wanted)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::one_for_each_node;

    fn pod(name: &str, phase: &str, ready: &str, made: u8) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-0{made}T00:00:00Z")},
            "spec": {"nodeName": "node-1", "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn leaving(mut pod: Value) -> Value {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-09T00:00:00Z");
        pod
    }

    #[track_caller]
    fn check(pods: [Value; 2], chosen: &str, obstacle: Option<&str>) {
        for pods in [pods.clone(), pods.into_iter().rev().collect::<Vec<_>>().try_into().expect("two")] {
            let pods = pods.map(|pod| serde_json::from_value::<Pod>(pod).expect("a pod"));
            let agents = one_for_each_node(&pods);
            let told: Vec<_> = agents.iter().map(|one| (one.pod.as_str(), one.obstacle.as_deref())).collect();
            assert_eq!(told, [(chosen, obstacle)]);
        }
    }

    #[test]
    fn of_the_pods_of_a_node_the_newest_that_is_ready_is_asked() {
        let old = || pod("old", "Running", "True", 1);
        check([old(), pod("new", "Running", "True", 2)], "new", None);
        check([old(), pod("new", "Running", "False", 2)], "old", None);
        check([old(), pod("new", "Pending", "False", 2)], "old", None);
        check([leaving(old()), pod("new", "Running", "False", 2)], "new", None);
        check([old(), pod("evicted", "Failed", "False", 2)], "old", None);
    }

    #[test]
    fn where_none_can_be_asked_the_newest_says_why() {
        let new = pod("new", "Pending", "False", 2);
        let words = "its agent's pod new is Pending";
        check([leaving(pod("old", "Running", "False", 1)), new], "new", Some(words));
    }

    #[test]
    fn a_pod_that_is_not_scheduled_yet_is_of_the_node_that_its_daemonset_wants() {
        let mut new = pod("new", "Pending", "False", 2);
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["node-1"]});
        new["spec"] = json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        }}});
        check([pod("old", "Running", "True", 1), new], "old", None);
    }
}
