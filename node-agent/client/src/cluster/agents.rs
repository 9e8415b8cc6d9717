//! Finds the agents of a cluster: lists their pods by label and chooses one pod per node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions};
use kube::{Client, ResourceExt};

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::{api_server, proxy};
use crate::kubeconfig;

/// Number of pods per page of the list.
const PAGE: u32 = 500;

/// The pod of an agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// Kubernetes namespace of the pod.
    pub(super) namespace: String,
    /// Name of the pod.
    pub(super) pod: String,
    /// Name of the node, or a placeholder with the name of the pod.
    pub(super) node: String,
    /// Reason why the agent cannot be asked; `None` if it can.
    pub(super) obstacle: Option<String>,
    /// Reason why the pod is not ready, as Kubernetes says it; `None` if it is, or Kubernetes does not say it.
    pub(super) unready: Option<String>,
}

/// Returns a client for the cluster of the kubeconfig and context.
///
/// # Errors
/// [`ClusterError::Credentials`] if there are no credentials.
pub(super) async fn client(args: &ClusterArgs) -> Result<Client, ClusterError> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let file = kubeconfig::read(args.kubeconfig.as_deref()).map_err(ClusterError::Credentials)?;
    let of_cluster = proxy::of_context(&file, args.context.as_deref()).map(str::to_owned);
    let program = kubeconfig::credentials_program(&file, args.context.as_deref());
    let config = Config::from_custom_kubeconfig(file, &options).await;
    let mut config = config.map_err(|error| ClusterError::Credentials(kubeconfig::fault(&error)))?;
    config.proxy_url = proxy::choose(&config.cluster_url, of_cluster.as_deref())
        .map_err(|error| ClusterError::Credentials(format!("the proxy is not a URL: {error}")))?;
    Client::try_from(config)
        .map_err(|error| ClusterError::Credentials(kubeconfig::client_fault(&error, program.as_deref())))
}

/// Returns one agent per node, sorted by node.
///
/// # Errors
/// If the list fails or is empty.
pub(super) async fn find(client: &Client, args: &ClusterArgs) -> Result<Vec<Agent>, ClusterError> {
    let agents = list(client, args).await?;
    if agents.is_empty() {
        let place = args
            .agents_namespace
            .as_ref()
            .map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"));
        return Err(ClusterError::NoAgents { selector: args.agents_selector.clone(), place });
    }
    Ok(agents)
}

/// Returns one agent per node, sorted by node; none if there are none.
///
/// # Errors
/// If the list fails.
pub(super) async fn list(client: &Client, args: &ClusterArgs) -> Result<Vec<Agent>, ClusterError> {
    let mut params = ListParams::default().labels(&args.agents_selector).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api_server::page_of_pods(client, args, &params).await.map_err(ClusterError::NotListed)?;
        let rest = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(page.items);
        match rest {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    Ok(one_for_each_node(&found))
}

/// Chooses one pod per node. A node has two pods while its agent is replaced, and evicted pods stay in the list.
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

/// Order of preference: no obstacle, ready, created. The greatest value is preferred.
type Fitness<'a> = (bool, bool, Option<&'a Time>);

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Returns why a pod is not ready: what its containers wait for, or else what its conditions say.
fn unready(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = || status.conditions.iter().flatten().filter(|condition| condition.status != "True");
    let ready = conditions().find(|condition| condition.type_ == "Ready")?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let containers: Vec<String> = all
        .filter_map(|container| {
            let (reason, message) = stopped(container.state.as_ref()?)?;
            Some(format!("container {}: {}", container.name, joined(reason, message)))
        })
        .collect();
    if !containers.is_empty() {
        return Some(containers.join("; "));
    }
    let condition = conditions().find(|condition| condition.type_ == "PodScheduled").unwrap_or(ready);
    let said = joined(condition.reason.as_deref(), condition.message.as_deref());
    Some(if said.is_empty() { "its condition Ready is not True".to_owned() } else { said })
}

/// Returns reason and message of a container that does not run, or `None` if it runs or has done its work.
fn stopped(state: &ContainerState) -> Option<(Option<&str>, Option<&str>)> {
    match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => Some((waiting.reason.as_deref(), waiting.message.as_deref())),
        (None, Some(ended)) if ended.exit_code != 0 => {
            Some((ended.reason.as_deref(), ended.message.as_deref()))
        }
        _ => None,
    }
}

/// Joins a reason (`ImagePullBackOff`) and a message.
fn joined(reason: Option<&str>, message: Option<&str>) -> String {
    let parts = [reason, message].into_iter().flatten().map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(": ")
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
        unready: unready(pod),
        obstacle: obstacle.map(|obstacle| format!("its agent's pod {name} {obstacle}")),
        pod: name,
    }
}

/// Returns the pod's node. Before scheduling, returns the node in the affinity that the DaemonSet sets at creation.
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
            let found: Vec<_> =
                agents.iter().map(|one| (one.pod.as_str(), one.obstacle.as_deref())).collect();
            assert_eq!(found, [(chosen, obstacle)]);
        }
    }

    #[test]
    fn the_newest_ready_pod_of_a_node_is_asked() {
        let old = || pod("old", "Running", "True", 1);
        check([old(), pod("new", "Running", "True", 2)], "new", None);
        check([old(), pod("new", "Running", "False", 2)], "old", None);
        check([old(), pod("new", "Pending", "False", 2)], "old", None);
        check([leaving(old()), pod("new", "Running", "False", 2)], "new", None);
        check([old(), pod("evicted", "Failed", "False", 2)], "old", None);
    }

    #[test]
    fn if_no_pod_can_be_asked_the_newest_gives_the_reason() {
        let new = pod("new", "Pending", "False", 2);
        let reason = "its agent's pod new is Pending";
        check([leaving(pod("old", "Running", "False", 1)), new], "new", Some(reason));
    }

    #[test]
    fn an_unscheduled_pod_belongs_to_the_node_in_its_affinity() {
        let mut new = pod("new", "Pending", "False", 2);
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["node-1"]});
        new["spec"] = json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        }}});
        check([pod("old", "Running", "True", 1), new], "old", None);
    }
}
