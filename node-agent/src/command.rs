//! What each command starts, and the exit code it ends with.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use tracing_subscriber::EnvFilter;

use crate::agent::{self, AgentError};
use crate::args::{AgentArgs, Cli, Command};
use crate::config::{AgentConfig, EXIT_WRONG_USE};
use crate::{doctor, query, scan_once};

/// This node does not allow it.
pub const EXIT_REFUSED: u8 = 4;
/// The agent could not start for another reason, or the answer is partial.
pub const EXIT_PARTIAL: u8 = 3;

/// Runs what was typed.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    log_to_stderr();
    match cli.command {
        Command::Agent(args) => run_agent(&args),
        Command::Scan(args) => scan_once::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Findings(args) => asked(query::findings(args)),
        Command::Listeners(args) => asked(query::listeners(args)),
        Command::Connections(args) => asked(query::connections(args)),
        Command::Status(args) => asked(query::status(args)),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn run_agent(args: &AgentArgs) -> ExitCode {
    let config = match AgentConfig::load(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_WRONG_USE),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(agent::run(config)),
        Err(reason) => Err(AgentError::Start { what: "the runtime", reason }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AgentError::Refused(_)) => fail(&error, EXIT_REFUSED),
        Err(error @ AgentError::Address { .. }) => fail(&error, EXIT_WRONG_USE),
        Err(error @ AgentError::Start { .. }) => fail(&error, EXIT_PARTIAL),
    }
}

fn asked(question: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(question),
        Err(error) => fail(&error, EXIT_PARTIAL),
    }
}

/// Says on stderr what went wrong.
#[must_use]
pub fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "portolan: {error}");
    ExitCode::from(code)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
