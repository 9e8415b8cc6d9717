//! The binary `kubectl-portolan`, which kubectl runs as `kubectl portolan`.

use std::process::ExitCode;

use clap::Parser;
use portolan_client::cluster;
use portolan_client::cluster::args::Cli;

fn main() -> ExitCode {
    cluster::completion::answer_question(std::env::args_os()).unwrap_or_else(|| cluster::run(&Cli::parse()))
}
