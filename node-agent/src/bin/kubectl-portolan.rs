//! The `kubectl-portolan` binary, which kubectl runs as `kubectl portolan`: parse, start, exit code.

use std::process::ExitCode;

use clap::Parser;
use portolan::cluster;
use portolan::cluster::args::Cli;

fn main() -> ExitCode {
    cluster::run(&Cli::parse())
}
