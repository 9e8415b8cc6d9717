//! Options of the verbs that ask all nodes what `portolan` asks one. Doc comments of fields are the help texts.

use clap::Args;

use crate::args::{DraftArgs, Format, RuleArgs};

/// Options of `kubectl portolan status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}

/// Options of `kubectl portolan baseline`.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// The rules, and the findings that they are for.
    #[command(flatten)]
    pub rules: RuleArgs,
}

/// Options of `kubectl portolan policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Target and form of the policy.
    #[command(flatten)]
    pub draft: DraftArgs,
}

/// Options of `kubectl portolan doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How to show it: table, json or yaml
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}
