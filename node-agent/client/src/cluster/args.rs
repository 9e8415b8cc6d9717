//! Command line of `kubectl portolan`. Doc comments of fields are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::scan::args::ScanArgs;
use super::verb_args::{BaselineArgs, DoctorArgs, PolicyArgs, StatusArgs, UiArgs};
use crate::args::{FilterArgs, FindingFilterArgs, FindingsFormat, Format, IdleArgs, TopArgs, namespace};
use crate::query::declare::args::DraftArgs;
use crate::query::diff::args::DiffArgs;
use crate::query::images::args::ImagesArgs;

/// Shows the undeclared ports of a whole cluster, and who calls them: asks the portolan agent of every node.
#[derive(Debug, Parser)]
#[command(name = "kubectl-portolan", bin_name = "kubectl portolan", version, max_term_width = 110)]
#[command(propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// Cluster and agents.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kubectl portolan findings
  kubectl portolan findings -n shop --severity critical,high -o wide
  kubectl portolan findings --fail-on high        # for scripts: exit code 1 if there is one
  kubectl portolan findings --watch               # what is there, then every change, until Ctrl-C
  kubectl portolan findings -o junit > portolan.xml
  kubectl portolan diff before.json              # what is new since `findings -o json > before.json`
  kubectl portolan images                        # what the containers of each image listen on
  kubectl portolan explain :32264                 # which pods of which nodes serve a NodePort
  kubectl portolan listeners --idle=7d            # open ports that were not called for a week
  kubectl portolan top --undeclared
  kubectl portolan scan                           # one look at all nodes, without agents
  kubectl portolan declare deployment/web -n shop > declare.yaml
  kubectl portolan policy -n shop deploy/web --observed
  kubectl portolan baseline --reason 'known before portolan' > exceptions.yaml
  kubectl portolan doctor
  kubectl portolan status                         # a row per node, what is amiss first
  kubectl portolan ui                             # the web page of all nodes, on this machine only
  kubectl portolan --context staging listeners -n shop

Needs `list` on pods, and `get` and `create` on pods/portforward, in the agents' namespace; without --agents-namespace it
lists the pods of all. (`get` begins a WebSocket; Kubernetes 1.35 and newer ask for `create` as well.)
Exit codes: 0 fine, 1 findings at or above --fail-on, 2 wrong use, 3 the answer is partial (stderr names the nodes).";

/// Which cluster, and where its agents are.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Credentials for the API server [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Namespace of the agents [default: all are searched]
    #[arg(long, value_name = "NAMESPACE", global = true, value_parser = namespace)]
    pub agents_namespace: Option<String>,
    /// Labels of the agents' pods
    #[arg(long, value_name = "SELECTOR", global = true)]
    #[arg(default_value = "app.kubernetes.io/part-of=portolan,app.kubernetes.io/component=agent")]
    pub agents_selector: String,
    /// Port of the agents' HTTP API, on loopback in their pods
    #[arg(long, value_name = "PORT", default_value_t = 9470, global = true)]
    pub agents_port: u16,
    /// How long one agent, and one request to the API server, may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    #[arg(global = true)]
    pub timeout: u64,
}

/// Commands of `kubectl portolan`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show ports that are not as their manifests say, on all nodes
    Findings(FindingsArgs),
    /// Show every port that is listened on, on all nodes
    Listeners(ListenersArgs),
    /// Show connections to undeclared ports that have a record of their own, on all nodes
    Connections(ListArgs),
    /// Say who serves a pod's port, a Service or a NodePort, on whichever node its pods are
    Explain(ExplainArgs),
    /// Show the ports with the most traffic, by workload
    Top(TopCommandArgs),
    /// Show the ports that the containers of each image opened, by which process, and how often they were called (UDP: packets)
    Images(ImagesArgs),
    /// Show what is new, worse, better or gone since earlier findings; exit code 1 if something is new or worse
    Diff(DiffArgs),
    /// Look at the open ports of all nodes once, without agents: nothing is installed, and nothing is left
    Scan(ScanArgs),
    /// Print a patch that declares the ports in use of a pod or workload, with comments on what it leaves out
    Declare(DraftArgs),
    /// Draft a NetworkPolicy for a pod or workload from what the agents of all nodes see
    Policy(PolicyArgs),
    /// Print the open findings of all nodes as exception rules, in one file
    Baseline(BaselineArgs),
    /// Show how the agent of each node is, what is amiss first
    Status(StatusArgs),
    /// Check from outside whether every node has an agent that answers, and what they lack
    Doctor(DoctorArgs),
    /// Serve the web page of all nodes on this machine, and open the browser
    Ui(UiArgs),
    /// Print the completion script of a shell, or of kubectl for this plugin
    Completion(CompletionArgs),
}

/// Options of `kubectl portolan findings`.
#[derive(Debug, Args)]
pub struct FindingsArgs {
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: FindingsFormat,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Filters for findings.
    #[command(flatten)]
    pub findings: FindingFilterArgs,
    /// Which states: open, suppressed, resolved, or several; --watch of open ones shows their end too
    #[arg(long, value_delimiter = ',', default_value = "open", value_name = "STATE")]
    pub state: Vec<String>,
    /// Keep running and show what changes, on all nodes
    #[arg(short, long)]
    pub watch: bool,
}

/// Options of `kubectl portolan listeners`.
#[derive(Debug, Args)]
pub struct ListenersArgs {
    /// Filters and output format.
    #[command(flatten)]
    pub list: ListArgs,
    /// Whether only idle ports are listed.
    #[command(flatten)]
    pub idle: IdleArgs,
}

/// Options of `kubectl portolan connections`, and those that `listeners` shares with it.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Keep running and show what changes, on all nodes
    #[arg(short, long)]
    pub watch: bool,
}

/// Options of `kubectl portolan explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// [NAMESPACE/]POD, [NAMESPACE/]POD:PORT[/UDP], svc/[NAMESPACE/]SERVICE[:PORT], or a port of the nodes (a NodePort, a
    /// hostPort): :PORT[/UDP]
    pub target: String,
    /// Kubernetes namespace of the pod or Service, where the target does not say it
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}

/// Options of `kubectl portolan top`.
#[derive(Debug, Args)]
pub struct TopCommandArgs {
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Order and number of rows.
    #[command(flatten)]
    pub top: TopArgs,
}

/// Options of `kubectl portolan completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, with a directory that is in PATH:
  kubectl portolan completion kubectl > ~/.local/bin/kubectl_complete-portolan
  chmod +x ~/.local/bin/kubectl_complete-portolan
kubectl runs that file to complete `kubectl portolan`, in every shell in which kubectl's own completion is set up. On Windows
its name is kubectl_complete-portolan.cmd. The scripts of shells complete `kubectl-portolan`, with a hyphen.")]
pub struct CompletionArgs {
    /// What runs the script
    #[arg(value_name = "SHELL")]
    pub runner: ScriptRunner,
}

/// What can run a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum ScriptRunner {
    Kubectl,
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
