//! Starts what each subcommand names, and returns its exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use portolan_client::exit::Exit;
use portolan_client::query;
use portolan_client::query::console::Console;
use tracing_subscriber::EnvFilter;

use crate::agent;
use crate::agent::error::AgentError;
use crate::agent::{allocator, descriptor_limit};
use crate::args::agent::AgentArgs;
use crate::args::{Cli, Command};
use crate::config::AgentConfig;
use crate::outcome::{fail, finish};
use crate::{doctor, scan};

/// Runs the subcommand.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    log_to_stderr();
    let exit = match cli.command {
        Command::Agent(args) => run_agent(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Findings(args) => run_query(query::findings(&args, &mut Console::standard())),
        Command::Listeners(args) => run_query(query::listeners(&args, &mut Console::standard())),
        Command::Connections(args) => run_query(query::connections(&args, &mut Console::standard())),
        Command::Explain(args) => run_query(query::explain::explain(&args, &mut Console::standard())),
        Command::Baseline(args) => run_query(query::baseline(&args, &mut Console::standard())),
        Command::Policy(args) => run_query(query::policy::run(&args, &mut Console::standard())),
        Command::Declare(args) => run_query(query::declare::run(&args, &mut Console::standard())),
        Command::Images(args) => run_query(query::images::run(&args, &mut Console::standard())),
        Command::Diff(args) => run_query(query::diff::run(&args, &mut Console::standard())),
        Command::Top(args) => run_query(query::top(&args, &mut Console::standard())),
        Command::Status(args) => run_query(query::status(&args, &mut Console::standard())),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut script);
            finish(io::stdout().write_all(&script))
        }
    };
    exit.into()
}

fn run_agent(args: &AgentArgs) -> Exit {
    let config = match AgentConfig::load(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, Exit::WrongUse),
    };
    allocator::limit();
    descriptor_limit::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(agent::run(config)),
        Err(reason) => Err(AgentError::Start { what: "the runtime", reason }),
    };
    match outcome {
        Ok(()) => Exit::Fine,
        Err(error @ AgentError::Address { .. }) => fail(&error, Exit::WrongUse),
        Err(error @ AgentError::NetnsEnded) => fail(&error, Exit::Partial),
        Err(error @ (AgentError::Refused(_) | AgentError::Blind(_) | AgentError::Start { .. })) => {
            fail(&error, Exit::Refused)
        }
    }
}

fn run_query(query: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(query),
        Err(error) => fail(&error, Exit::Partial),
    }
}

fn log_to_stderr() {
    // kube_client logs an error for each failed connection; the source reports once what that means.
    let filter =
        EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
