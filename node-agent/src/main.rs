//! The `portolan` binary: parse, start, exit code.

use std::process::ExitCode;

use clap::Parser;
use portolan::args::Cli;
use portolan::command;

fn main() -> ExitCode {
    command::run(Cli::parse())
}
