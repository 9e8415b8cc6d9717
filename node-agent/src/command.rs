//! What each command starts, and the exit code it ends with.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use portolan_client::exit::Exit;
use portolan_client::query;
use portolan_client::query::console::Console;
use portolan_report::escape::terminal;
use tracing_subscriber::EnvFilter;

use crate::agent;
use crate::agent::error::AgentError;
use crate::agent::{allocator, descriptor_limit};
use crate::args::{AgentArgs, Cli, Command};
use crate::config::AgentConfig;
use crate::{doctor, scan};

/// Runs what was typed.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    log_to_stderr();
    let exit = match cli.command {
        Command::Agent(args) => run_agent(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Findings(args) => asked(query::findings(&args, &mut Console::standard())),
        Command::Listeners(args) => asked(query::listeners(&args, &mut Console::standard())),
        Command::Connections(args) => asked(query::connections(&args, &mut Console::standard())),
        Command::Explain(args) => asked(query::explain::explain(&args, &mut Console::standard())),
        Command::Baseline(args) => asked(query::baseline(&args, &mut Console::standard())),
        Command::Policy(args) => asked(query::policy::run(&args, &mut Console::standard())),
        Command::Top(args) => asked(query::top(&args, &mut Console::standard())),
        Command::Status(args) => asked(query::status(&args, &mut Console::standard())),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut script);
            written(io::stdout().write_all(&script))
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

fn asked(question: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(question),
        Err(error) => fail(&error, Exit::Partial),
    }
}

/// Says on stderr what went wrong.
#[must_use]
pub fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    let _ = writeln!(io::stderr(), "portolan: {}", terminal(&error.to_string()));
    exit
}

/// How a command ends whose answer was written so.
#[must_use]
pub fn written(outcome: io::Result<()>) -> Exit {
    match delivered(outcome) {
        Err(error) => fail(&error, Exit::Partial),
        Ok(()) => Exit::Fine,
    }
}

/// A reader that went away wants no more; anything else that stops the answer is a loss.
///
/// # Errors
/// What stopped it.
pub fn delivered(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

fn log_to_stderr() {
    // The client tells an error per connection that fails; what that means is told once, by the source.
    let filter =
        EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
