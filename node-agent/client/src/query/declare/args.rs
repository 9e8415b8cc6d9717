//! Options of `portolan declare` and `kubectl portolan declare`. Doc comments of fields are the help texts.

use clap::{Args, ValueEnum};

use crate::args::{AddressArgs, namespace};

/// What is declared, and how the patch is written.
#[derive(Clone, Debug, Args)]
pub struct DraftArgs {
    /// NAMESPACE/POD, KIND/NAME of a workload (deployment/web), NAMESPACE/KIND/NAME, or a pod's name
    pub target: String,
    /// The Kubernetes namespace [default: whichever has the target]
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Add also ports that nobody called and nothing explains
    #[arg(long)]
    pub all: bool,
    /// How to write it: a strategic merge patch as yaml or json (then the comments go to stderr), or the
    /// kustomization.yaml of a component
    #[arg(short, long, default_value = "yaml")]
    pub output: PatchFormat,
}

/// Options of `portolan declare`.
#[derive(Clone, Debug, Args)]
pub struct DeclareArgs {
    /// What is declared, and how the patch is written.
    #[command(flatten)]
    pub draft: DraftArgs,
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
}

/// Output format of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum PatchFormat {
    #[default]
    Yaml,
    Json,
    Kustomize,
}

/// Examples and exit codes for `--help` of `portolan declare`.
pub const EXAMPLES: &str = "\
Examples:
  portolan declare shop/web-6d4b75cb6d-x7k2p
  portolan declare deployment/web -n shop > declare.yaml
  kubectl patch deployment web -n shop --patch-file declare.yaml      # the comments of the patch say this line
  portolan declare deployment/web -n shop -o kustomize > web-ports/kustomization.yaml    # then `components: [web-ports]`

The patch adds the ports in use to the containers that serve them, and names them after what explains them. Its comments say what it leaves out: debuggers, loopback, ports of a mesh, storms. An agent knows the pods of its own node only: `kubectl portolan declare` asks all agents.

Exit codes: 0 fine, 2 wrong use, or the ports of these pods cannot be patched, 3 this node has no such pod, or the answer is partial.";
