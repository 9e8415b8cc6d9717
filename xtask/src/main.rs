//! `cargo xtask`: the commands for developing portolan.

mod bench;
mod check;
mod ci;
mod demo;
mod deny;
mod fuzz;
mod image;
mod package;
mod setup;
mod soak;
mod step;
mod stopwatch;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need
    Setup(setup::Options),
    /// See the agent find the undeclared ports of an example, as root
    Demo(demo::Options),
    /// Run the test tiers that this machine can run
    Test(test::Options),
    /// Measure speed and memory beside what they are compared with, as root
    Bench(bench::Options),
    /// Run a busy small cluster against one agent for hours, and fail if memory, descriptors or counts drift, as root
    Soak(soak::Options),
    /// The load generators of `bench` and `soak`
    #[command(subcommand, hide = true)]
    Load(bench::load::Load),
    /// Feed arbitrary bytes to all that parses what others wrote
    Fuzz(fuzz::Options),
    /// Make the container image and its bill of materials
    Image(image::Options),
    /// Make the archive of `kubectl portolan` for a system
    Plugin(image::plugin::Options),
    /// Make tarball, .deb and .rpm of the agent for machines without Kubernetes
    Package(package::Options),
    /// Pack the chart with the image that a release pushed
    Chart(image::chart::Options),
    /// House checks: sizes, names, borders between the parts, links
    Tidy,
    /// Everything that must be green: formatting, lints, tidy, tests
    Ci,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Task::Setup(options) => setup::run(options),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Load(load) => bench::load::run(&load),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Plugin(options) => image::plugin::run(&options),
        Task::Package(options) => package::run(&options),
        Task::Chart(options) => image::chart::run(&options),
        Task::Tidy => tidy::run(),
        Task::Ci => ci::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
