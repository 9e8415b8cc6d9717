//! Options of `images`. Doc comments of fields are the help texts.

use clap::{Args, ValueEnum};

use crate::args::{AddressArgs, FilterArgs};

/// Which images are shown, and how.
#[derive(Clone, Debug, Args)]
pub struct ImagesArgs {
    /// How to show it; cyclonedx is a bill of materials with one service for each port
    #[arg(short, long, default_value = "table")]
    pub output: ImagesFormat,
    /// Also ports that are closed by now, as far as the agents remember them
    #[arg(long)]
    pub all: bool,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Options of `portolan images`.
#[derive(Clone, Debug, Args)]
pub struct NodeImagesArgs {
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
    /// Which images are shown, and how.
    #[command(flatten)]
    pub images: ImagesArgs,
}

/// Output format of `images`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum ImagesFormat {
    #[default]
    Table,
    Json,
    Cyclonedx,
}
