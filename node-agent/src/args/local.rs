//! Command-line options of `scan` and `doctor`, which inspect this machine without an agent. Doc comments of fields are
//! the text of `--help`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portolan_client::args::{FilterArgs, FindingFilterArgs, FindingsFormat};

/// Options of `scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Sources of pods and their declared ports, at most one of each kind: cri[=SOCKET] (the container runtime), file=PATH
    /// (a file or directory of manifests) [default: cri if a runtime is there]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// The agent's configuration file, of which only `exceptions` and `exceptionAnnotations` are used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this node in every object [default: the host name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Name of the cluster in every object [default: none]
    #[arg(long, env = "CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Output format; junit is a report for CI systems
    #[arg(short, long, default_value = "table")]
    pub output: FindingsFormat,
    /// Include the host's own network namespace
    #[arg(long)]
    pub include_host: bool,
    /// Directory in which the container runtime mounts network namespaces. Repeatable [default: /run/netns]
    #[arg(long, value_name = "DIR")]
    pub netns_dir: Vec<PathBuf>,
    /// Directory at which the node's root is mounted, as `kubectl debug node` does at /host: the runtime's socket and the
    /// directories of --netns-dir are looked for below it [default: /]
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<PathBuf>,
    /// Exit with 2 if an object of a manifest cannot be understood, or a pod is bound to a network namespace that does not
    /// exist. Without it, both are only said
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub findings: FindingFilterArgs,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Sources of pods to check: cri[=SOCKET], kubernetes [default: both]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// Credentials for the API server [default: KUBECONFIG, else the pod's service account, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The agent's --state-dir to check [default: /var/lib/portolan if it is there]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Output format
    #[arg(short, long, default_value = "table")]
    pub output: DoctorFormat,
}

/// Output format of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    #[default]
    Table,
    Json,
    Yaml,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_code_or_a_state_that_does_not_exist_is_wrong_use_and_not_an_empty_answer() {
        for words in [
            ["scan", "--code", "undeclared-activ"],
            ["findings", "--code", "undeclared-activ"],
            ["findings", "--state", "closed"],
        ] {
            let refusal = Cli::try_parse_from(["portolan"].into_iter().chain(words)).expect_err("refused");
            assert!(refusal.to_string().contains("undeclared-active") || words[2] == "closed", "{refusal}");
        }
    }
}
