//! Options of `diff`. Doc comments of fields are the help texts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{AddressArgs, namespace};

/// What is compared, and how it is shown.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// Findings as they were: the output of `findings -o json` or `scan -o json`, or the agent's lines. `-` is stdin, on one side
    #[arg(value_name = "OLD.json")]
    pub old: PathBuf,
    /// Findings as they are, in a file [default: the agents are asked now]
    #[arg(value_name = "NEW.json")]
    pub new: Option<PathBuf>,
    /// Only pods of this Kubernetes namespace, on both sides
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: DiffFormat,
}

/// Options of `portolan diff`.
#[derive(Clone, Debug, Args)]
pub struct NodeDiffArgs {
    /// What is compared, and how it is shown.
    #[command(flatten)]
    pub diff: DiffArgs,
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
}

/// Output format of `diff`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum DiffFormat {
    #[default]
    Table,
    Json,
}
