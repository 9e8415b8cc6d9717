//! Options of `kubectl portolan scan`. Doc comments of fields are the help texts.

use clap::Args;

use crate::args::{FilterArgs, FindingFilterArgs, FindingsFormat, namespace};

/// Image of a release: the workflow that builds the plugin sets it.
const RELEASED_IMAGE: Option<&str> = option_env!("PORTOLAN_DEFAULT_IMAGE");

/// Namespace of a scan's Jobs if the command line names none.
pub(crate) const NAMESPACE: &str = "kube-system";

/// Options of `kubectl portolan scan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubectl portolan scan --image REGISTRY/portolan:VERSION
  kubectl portolan scan --node worker-1 --node worker-2 -n shop
  kubectl portolan scan --node-selector kubernetes.io/os=linux --fail-on high
  kubectl portolan scan --image-pull-secret registry --cluster-name production -o json

Makes one Job per node, reads the log of its pod, and deletes the Jobs, also after Ctrl-C. A Job whose plugin is gone ends by
its deadline and is deleted by the cluster. The pods are privileged in the words of Pod Security, have no token, and load no
programs.
Needs `list` on nodes; in the namespace of --in-namespace `create`, `list` and `delete` on jobs, `list` on pods and `get` on
pods/log; `list` on events there names why a pod cannot be created.")]
pub struct ScanArgs {
    /// Image of portolan [default: the image of the plugin's release]
    #[arg(long, env = "PORTOLAN_IMAGE", value_name = "REFERENCE")]
    pub image: Option<String>,
    /// Secret of --in-namespace with the credentials of the image's registry (kubernetes.io/dockerconfigjson). Repeatable
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    pub image_pull_secrets: Vec<String>,
    /// Name of the cluster in every finding [default: none]
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Only this node. Repeatable [default: all nodes]
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<String>,
    /// Only nodes with these labels
    #[arg(long, value_name = "SELECTOR")]
    pub node_selector: Option<String>,
    /// Namespace in which the scan's Jobs are created, for the time of the scan
    #[arg(long, default_value = NAMESPACE, value_name = "NAMESPACE", value_parser = namespace)]
    pub in_namespace: String,
    /// How long the scan may take, in seconds, the pull of the image included. Then the nodes that are not done are missing
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(5..=600))]
    pub deadline: u32,
    /// Run the pods with `privileged: true`, for nodes whose security module forbids what the capabilities allow
    #[arg(long)]
    pub privileged: bool,
    /// Socket of the nodes' container runtime [default: the usual one of the runtime that the node names]
    #[arg(long, value_name = "PATH", value_parser = socket_path)]
    pub runtime_socket: Option<String>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: FindingsFormat,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Filters for findings.
    #[command(flatten)]
    pub findings: FindingFilterArgs,
}

/// Parses the path of a socket, which may be written as kubelet does: `unix:///run/…`.
fn socket_path(given: &str) -> Result<String, String> {
    let path = given.strip_prefix("unix://").unwrap_or(given);
    if path.starts_with('/') && !path.ends_with('/') {
        Ok(path.to_owned())
    } else {
        Err("expected the absolute path of a socket, such as /run/containerd/containerd.sock".to_owned())
    }
}

impl ScanArgs {
    /// Returns the image of the scan's pods; `None` if neither the command line nor the release names one.
    #[must_use]
    pub(super) fn image(&self) -> Option<&str> {
        self.image.as_deref().or(RELEASED_IMAGE).filter(|image| !image.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::socket_path;

    #[test]
    fn a_socket_is_an_absolute_path_with_or_without_its_scheme() {
        for given in ["unix:///run/x/y.sock", "/run/x/y.sock"] {
            assert_eq!(socket_path(given).as_deref(), Ok("/run/x/y.sock"), "{given}");
        }
        for given in ["tcp://127.0.0.1:1", "run/x.sock", "unix://", "/run/x/", ""] {
            assert!(socket_path(given).is_err(), "{given}");
        }
    }
}
