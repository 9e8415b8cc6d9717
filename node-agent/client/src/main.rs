//! The binary `kubectl-portolan`, which kubectl runs as `kubectl portolan`.

use std::process::ExitCode;

use clap::Parser;
use portolan_client::cluster;
use portolan_client::cluster::args::Cli;

fn main() -> ExitCode {
    cluster::run(&Cli::parse())
}
