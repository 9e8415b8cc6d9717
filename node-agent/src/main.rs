//! The `portolan` binary: parses the command line, runs the command, and returns its exit code.

use std::process::ExitCode;

use clap::Parser;
use portolan::args::Cli;
use portolan::command;

fn main() -> ExitCode {
    command::run(Cli::parse())
}
