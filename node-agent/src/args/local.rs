//! Command-line options of the commands that inspect this machine without an agent: `scan` and `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portolan_client::args::{FilterArgs, FindingFilterArgs, Format};

#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Where pods and their declared ports come from, one of each kind: cri[=SOCKET] (the container runtime), file=PATH
    /// (manifests, or a directory of them) [default: cri where a runtime is there]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// The agent's configuration file: its `exceptions` and `exceptionAnnotations` count, and nothing else of it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
    /// Look at the host's own network namespace too
    #[arg(long)]
    pub include_host: bool,
    /// Directory in which the container runtime mounts network namespaces. Repeatable [default: /run/netns]
    #[arg(long, value_name = "DIR")]
    pub netns_dir: Vec<PathBuf>,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub findings: FindingFilterArgs,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The sources of pods that are to be looked at too: cri[=SOCKET] [default: what is there]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// Credentials for the API server [default: KUBECONFIG, else the pod's service account, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: DoctorFormat,
}

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
