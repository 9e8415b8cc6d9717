//! The command line as it was typed; `config` validates and interprets it. Doc comments of commands are the text of
//! `--help`.

pub mod agent;
pub mod local;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use portolan_client::args::{
    BaselineArgs, ExplainArgs, FindingsArgs, ListArgs, ListenersArgs, NodeTopArgs, PolicyArgs, StatusArgs,
};
use portolan_client::query::declare::args::DeclareArgs;
use portolan_client::query::diff::args::NodeDiffArgs;
use portolan_client::query::images::args::NodeImagesArgs;

use agent::AgentArgs;
use local::{DoctorArgs, ScanArgs};

/// Shows every port that a node's pods listen on, which of them no manifest declares, and the traffic that reaches
/// them.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this node: NDJSON on stdout, diagnostics on stderr, HTTP for the commands below
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(Box<AgentArgs>),
    /// Scan every network namespace of this machine once, compare with the manifests, and exit; loads no kernel program
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(ScanArgs),
    /// Show ports that differ from their manifests
    #[command(after_help = FINDINGS_EXAMPLES)]
    Findings(FindingsArgs),
    /// Show every listening port, declared or not
    Listeners(ListenersArgs),
    /// Show the recorded connections
    Connections(ListArgs),
    /// Explain a pod's port, a Service or a NodePort: what serves it, how traffic reaches it, and which traffic came
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Print today's open findings as exceptions for the file of `agent --config`
    #[command(after_help = BASELINE_EXAMPLES)]
    Baseline(BaselineArgs),
    /// Print a NetworkPolicy that admits the declared ports of a pod or workload, with comments on what it leaves out
    #[command(after_help = POLICY_EXAMPLES)]
    Policy(PolicyArgs),
    /// Print a patch that declares the ports in use of a pod or workload, with comments on what it leaves out
    #[command(after_help = portolan_client::query::declare::args::EXAMPLES)]
    Declare(DeclareArgs),
    /// Show for each container image which ports its containers open on this node, by which process, and how often they are called
    Images(NodeImagesArgs),
    /// Show what is new, worse, better or gone on this node since earlier findings; exit code 1 if something is new or worse
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(NodeDiffArgs),
    /// Show the ports with the most traffic, summed over the pods of a workload
    Top(NodeTopArgs),
    /// Show the agent's state: hooks, sources, limits, and losses
    Status(StatusArgs),
    /// Check what this node allows portolan to do, and what is missing
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  portolan completion bash > /etc/bash_completion.d/portolan")]
    Completion { shell: Shell },
}

const AGENT_EXAMPLES: &str = "\
Examples:
  portolan agent --metadata cri
  portolan agent --metadata cri=/run/k3s/containerd/containerd.sock
  portolan agent --metadata cri,kubernetes --node-name node-1
  portolan agent --metadata file=/etc/portolan/pods.yaml
  portolan agent --metadata file=pods.yaml --output text --grace 1s
  portolan agent --metadata file=pods.yaml --api unix:/run/portolan.sock --telemetry off
  portolan agent --metadata cri,kubernetes --otlp http://otel-collector.monitoring:4318
  portolan agent --metadata file=pods.yaml | jq 'select(.kind == \"Finding\")'

Signals: SIGTERM and SIGINT end the agent; SIGHUP, unless the agent was started from a terminal, makes it read the configuration file and the manifests again at once.

Exit codes: 0 ended as asked, 2 wrong use or configuration, 4 this node does not allow it (stderr says what is missing).";

const DIFF_EXAMPLES: &str = "\
Examples:
  portolan findings -o json > before.json
  portolan diff before.json              # what is new or worse since then
  portolan diff before.json after.json   # two files need no agent

Exit codes: 0 nothing new or worse, 1 something is new or worse, 2 wrong use, 3 the answer is partial.";

const SCAN_EXAMPLES: &str = "\
Examples:
  portolan scan --metadata cri
  portolan scan --metadata file=pods.yaml
  portolan scan --metadata file=pods.yaml -n shop -o wide
  portolan scan --metadata file=pods.yaml --fail-on high -o json

Exit codes: 0 fine, 1 findings at or above --fail-on, 2 wrong use, 3 the answer is partial, 4 this node does not allow it.";

const FINDINGS_EXAMPLES: &str = "\
Examples:
  portolan findings
  portolan findings -n shop --severity critical,high
  portolan findings --code undeclared-active -o json
  portolan findings --watch
  portolan findings --fail-on high        # for scripts: exit code 1 if there is one";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  portolan explain :32264                 # netstat on the node does not show port 32264: who serves it?
  portolan explain shop/web-5d4f8c7b9-x   # every port of a pod
  portolan explain shop/web-5d4f8c7b9-x:9090
  portolan explain dns-0:53/UDP -n shop
  portolan explain svc/shop/web           # or service/shop/web
  portolan explain svc/web:http -n shop -o json

A name that is only digits is a port of the node: pod/8080 is the pod of that name.

Exit codes: 0 fine, 2 wrong use, or no such target on this node, 3 the answer is partial (stderr says why).";

const BASELINE_EXAMPLES: &str = "\
Examples:
  portolan baseline --reason 'in place before portolan; team shop looks into it' --expires 2027-03-31 > exceptions.yaml
  portolan baseline -n legacy --severity low,info --reason 'accepted by operations'

One rule per workload and code: a pod's new name does not matter, and a port that gets worse opens again.
Exit codes: 0 fine, 2 wrong use, 3 the answer is partial.";

const POLICY_EXAMPLES: &str = "\
Examples:
  portolan policy shop/web-6d4b75cb6d-x7k2p
  portolan policy deployment/web -n shop > web-policy.yaml
  portolan policy statefulset/db --observed
  portolan policy sts/db -o json | kubectl apply --dry-run=server -f -

The policy selects all pods of the workload. An agent knows the traffic of its own node only: ask the agents of all nodes before you rely on --observed. Read the comments before you apply the policy.

Exit codes: 0 fine, 2 wrong use, or no policy can select these pods, 3 this node has no such pod, or the answer is partial.";

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
