//! The demo: runs the real agent on an example, checks its findings, and removes everything again.

pub mod agent;
mod findings;
mod picture;
mod pods;
mod process;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::stopwatch::Stopwatch;
use crate::{setup, step, workspace};
use agent::Agent;
use findings::Findings;
use world::World;

/// Maximum time until all findings are reported, after the calls have begun.
const FINDINGS_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Leave the pods and the agent running
    #[arg(long)]
    keep: bool,
    /// End what an earlier `--keep` left running
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
    /// Build with the development profile, which the tests use too
    #[arg(long)]
    debug: bool,
    /// Run this agent instead of building one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stop", "debug"])]
    agent: Option<PathBuf>,
    /// Take a picture of the page when everything is found (needs chromium)
    #[arg(long, value_name = "PNG", conflicts_with = "stop")]
    picture: Option<PathBuf>,
}

/// Installs the toolchain if needed, builds and runs the agent, and checks its findings.
///
/// # Errors
/// If this machine does not allow it, or the agent does not report the expected findings.
pub fn run(options: &Options) -> Result<()> {
    refuse()?;
    if options.picture.is_some() && !step::in_path(picture::BROWSER) {
        bail!("--picture needs {}: run `cargo xtask setup --tests`", picture::BROWSER);
    }
    world::remove_leftovers();
    if options.stop {
        println!("the demo is stopped; nothing of it is left");
        return Ok(());
    }
    let binary = match &options.agent {
        Some(binary) => binary.clone(),
        None => build(options.debug)?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    show(&binary, &stop, options)
}

fn refuse() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo makes network namespaces and loads kernel programs: run it as root");
    }
    for program in ["ip", "python3"] {
        if !step::in_path(program) {
            bail!("the demo needs {program}: run `cargo xtask setup`");
        }
    }
    Ok(())
}

/// Builds the agent, after the toolchain is installed if needed. The profile `quick` needs no link-time optimisation, which takes
/// most of the time of a release build.
fn build(debug: bool) -> Result<PathBuf> {
    if !setup::is_complete() {
        println!("the toolchain for the kernel programs is not complete: `cargo xtask setup` comes first");
        setup::run(setup::Options::default())?;
    }
    let (profile, folder) = if debug { ("dev", "debug") } else { ("quick", "quick") };
    let mut command = workspace::cargo();
    command.args(["build", "--locked", "--package", "portolan", "--bin", "portolan", "--profile", profile]);
    step::build("building the agent and its kernel programs", &mut command)?;
    Ok(workspace::agent(folder))
}

fn show(binary: &std::path::Path, stop: &AtomicBool, options: &Options) -> Result<()> {
    let directory = workspace::target().join("demo");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let manifest = pods::write(&directory)?;
    println!("\ntwo pods, each a network namespace: {} and {}", pods::APP.netns, pods::CURLER.netns);
    let mut world = World::make(&[&pods::APP, &pods::CURLER])?;
    let mut agent = Agent::start(binary, &directory, &manifest)?;
    agent.wait_ready(stop)?;
    println!("the agent watches; its manifests say that {} opens port 8080", pods::APP.name);
    world.hold(pods::start_app(&directory)?);
    println!("{} started: it listens on 8080, 9090 and 5000", pods::APP.name);
    world.hold(pods::start_curler(&directory)?);
    println!("{} calls all three, again and again\n", pods::CURLER.name);
    let mut findings = Findings::follow(agent.records())?;
    watch(&mut findings, &mut agent, stop)?;
    println!("\n{}", findings.table());
    println!("Port 8080 is declared: nothing to say.");
    if let Some(file) = &options.picture {
        picture::take(agent.api(), file)?;
    }
    agent.where_to_look(options.keep);
    if options.keep {
        agent.release();
        world.release();
    }
    Ok(())
}

/// Waits until all expected findings are reported.
fn watch(findings: &mut Findings, agent: &mut Agent, stop: &AtomicBool) -> Result<()> {
    let since = Stopwatch::start();
    loop {
        findings.read()?;
        findings.check_declared()?;
        if findings.complete() {
            return Ok(());
        }
        pause(stop)?;
        agent.must_live()?;
        if since.elapsed() > FINDINGS_TIMEOUT {
            bail!(
                "not found within {} s: {}; what the agent said is in {}",
                FINDINGS_TIMEOUT.as_secs(),
                findings.missing().join(", "),
                agent.log().display()
            );
        }
    }
}

/// Waits until the next poll.
fn pause(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("stopped; everything is removed");
    }
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}
