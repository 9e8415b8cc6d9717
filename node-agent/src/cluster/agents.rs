//! Where the agents are: their pods, by label, in one list.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};

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

/// Every agent's pod, by node.
///
/// # Errors
/// Where the list cannot be had, or is empty.
pub async fn find(client: &Client, args: &ClusterArgs) -> Result<Vec<Agent>, ClusterError> {
    let pods: Api<Pod> = match &args.agents_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut params = ListParams::default().labels(&args.agents_selector).limit(PAGE);
    let mut agents = Vec::new();
    loop {
        let page = pods.list(&params).await.map_err(|error| ClusterError::NotListed(causes(&error)))?;
        let rest = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        agents.extend(page.items.iter().map(agent));
        match rest {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    agents.sort_by(|a, b| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
    if agents.is_empty() {
        let place = args
            .agents_namespace
            .as_ref()
            .map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"));
        return Err(ClusterError::NoAgents { selector: args.agents_selector.clone(), place });
    }
    Ok(agents)
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
        node: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_else(|| "(no node)".to_owned()),
        obstacle: obstacle.map(|obstacle| format!("its agent's pod {name} {obstacle}")),
        pod: name,
    }
}

/// What went wrong, with what caused it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
