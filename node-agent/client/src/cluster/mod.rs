//! `kubectl portolan`: the client commands for a whole cluster.
//!
//! Asks every agent through the API server's port-forward, so that the agents' API stays on loopback. Merges the answers and
//! names the nodes that did not answer.

mod agents;
mod api_server;
pub mod args;
mod baseline;
mod candidates;
pub mod completion;
mod declare;
mod diff;
mod doctor;
mod error;
mod explain;
mod fleet;
mod follow;
mod forward;
mod images;
mod interrupt;
mod list;
mod names;
mod node_kind;
mod policy;
mod proxy;
mod refusal;
mod scan;
mod status;
mod ui;
pub mod verb_args;
mod watch;

use std::process::ExitCode;

use crate::exit::Exit;
use crate::query::console::Console;
use args::{Cli, Command};
use error::ClusterError;

/// Runs a command and returns the exit code of the process.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut console = Console::standard();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(answer(cli, &mut console)),
        Err(error) => end(&ClusterError::Start(error), &mut console),
    };
    exit.into()
}

/// Runs a command: asks the agents, shows their answers, and names the nodes that did not answer.
pub async fn answer(cli: &Cli, console: &mut Console<'_>) -> Exit {
    match command(cli, console).await {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Fine,
        Err(error) => end(&error, console),
    }
}

fn end(error: &ClusterError, console: &mut Console<'_>) -> Exit {
    // If stderr is closed as well, there is nowhere left to report to.
    let _ = console.message(&error.to_string());
    error.exit()
}

async fn command(cli: &Cli, console: &mut Console<'_>) -> Result<Exit, ClusterError> {
    let cluster = &cli.cluster;
    match &cli.command {
        Command::Findings(args) if args.watch => watch::findings(cluster, args, console).await,
        Command::Listeners(args) if args.list.watch => watch::listeners(cluster, args, console).await,
        Command::Connections(args) if args.watch => watch::connections(cluster, args, console).await,
        Command::Findings(args) => list::findings(cluster, args, console).await,
        Command::Listeners(args) => list::listeners(cluster, args, console).await,
        Command::Connections(args) => list::connections(cluster, args, console).await,
        Command::Status(args) => status::status(cluster, args, console).await,
        Command::Baseline(args) => baseline::baseline(cluster, args, console).await,
        Command::Policy(args) => policy::policy(cluster, args, console).await,
        Command::Doctor(args) => doctor::doctor(cluster, args, console).await,
        Command::Explain(args) => explain::explain(cluster, args, console).await,
        Command::Top(args) => list::top(cluster, args, console).await,
        Command::Diff(args) => diff::diff(cluster, args, console).await,
        Command::Images(args) => images::images(cluster, args, console).await,
        Command::Scan(args) => {
            let scanned = scan::scan(cluster, args, console).await;
            list::report_failure(scanned, args.output, console)
        }
        Command::Declare(args) => declare::declare(cluster, args, console).await,
        Command::Ui(args) => ui::ui(cluster, args, console).await,
        Command::Completion(args) => Ok(completion::print(args, console)?),
    }
}
