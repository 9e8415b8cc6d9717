//! Measures speed and memory on this machine, and compares each number with another one of the same run. A missed goal is
//! shown as missed and fails nothing.

pub mod agent;
mod api;
mod attach;
mod cluster;
mod engine;
mod latency;
pub mod load;
pub mod median;
mod memory;
pub mod netns;
mod nginx;
mod ordinary;
mod packet;
mod pairs;
mod pods;
pub mod process;
mod program_time;
mod remote;
mod scan;
mod start;
pub mod table;
mod traffic;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{setup, step, workspace};
use table::{Others, Row};

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Write the table to docs/performance.md; with --only the rows that were not measured stay as they are
    #[arg(long)]
    write: bool,
    /// Measure this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

impl Options {
    /// Returns what is to be measured.
    fn wanted(&self) -> &[Measurement] {
        if self.only.is_empty() { Measurement::value_variants() } else { &self.only }
    }

    /// Returns true if one of these is to be measured.
    fn measures(&self, some: &[Measurement]) -> bool {
        some.iter().any(|measurement| self.wanted().contains(measurement))
    }
}

/// The measurements, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    Scan,
    Latency,
    Traffic,
    Nginx,
    Packet,
    Memory,
    Ordinary,
    Cluster,
    Attach,
    Start,
    Api,
    Engine,
}

/// Takes one measurement. Returns its rows of the table.
type Measure = fn(&Bench) -> Result<Vec<Row>>;

/// Programs and directories that the measurements use.
pub struct Bench {
    /// The agent: a release build, or the one that was named.
    agent: PathBuf,
    /// Program that prints the cost of the tc program.
    packet_cost: PathBuf,
    /// Program that simulates many agents against one API server.
    api_load: PathBuf,
    /// Program that prints the time of an input in the engine, a release build.
    engine_cost: PathBuf,
    /// Directory for manifests and logs.
    directory: PathBuf,
}

impl Bench {
    /// Writes a manifest with one pod per netns name. Each pod declares only port 1.
    fn manifest(&self, file: &str, netns: &[&str]) -> Result<PathBuf> {
        let path = self.directory.join(file);
        let pods = netns.iter().enumerate().map(|(n, netns)| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  namespace: bench\n  name: {netns}\n  \
                 uid: 00000000-0000-4000-8000-{n:012x}\n  annotations:\n    portolan.dev/netns: {netns}\n\
                 spec:\n  containers:\n    - name: app\n      image: app\n      ports:\n        \
                 - containerPort: 1\n"
            )
        });
        std::fs::write(&path, pods.collect::<String>())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Builds the programs, measures, and prints the table.
///
/// # Errors
/// If this machine does not allow it, or a build fails.
pub fn run(options: &Options) -> Result<()> {
    refuse()?;
    netns::remove_leftovers(netns::PREFIX);
    if !setup::is_complete() {
        setup::run(setup::Options::default())?;
    }
    let bench = build(options)?;
    raise_open_files();
    let rows: Vec<Row> =
        options.wanted().iter().flat_map(|measurement| measure(&bench, *measurement)).collect();
    println!("\n{}\n\n{}", table::machine(), table::show(&rows));
    if options.write {
        let others = if options.only.is_empty() { Others::Replaced } else { Others::Kept };
        table::write(&rows, &table::machine(), others)?;
        println!("\nwritten to docs/performance.md");
    }
    Ok(())
}

fn measure(bench: &Bench, measurement: Measurement) -> Vec<Row> {
    let (what, measure): (_, Measure) = match measurement {
        Measurement::Scan => ("scan beside ss", scan::measure),
        Measurement::Latency => ("socket opened to finding", latency::measure),
        Measurement::Traffic => ("connections and throughput", traffic::measure),
        Measurement::Nginx => ("nginx under wrk", nginx::measure),
        Measurement::Packet => ("tc program per packet", packet::measure),
        Measurement::Memory => ("memory and CPU of a full node", memory::measure),
        Measurement::Ordinary => ("memory of an ordinary node", ordinary::measure),
        Measurement::Cluster => ("a node of 250 pods in a cluster with 2,000 Services", cluster::measure),
        Measurement::Attach => ("attaching a netns", attach::measure),
        Measurement::Start => ("start to the first scan", start::measure),
        Measurement::Api => ("requests to the API server", api::measure),
        Measurement::Engine => ("one input in the engine", engine::measure),
    };
    eprintln!("  … {what}");
    let rows = measure(bench).unwrap_or_else(|error| vec![Row::failed(what, &error)]);
    for row in &rows {
        eprintln!("    {row}");
    }
    rows
}

fn refuse() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the benches make network namespaces and load kernel programs: run them as root");
    }
    for program in ["ip", "ss"] {
        if !step::in_path(program) {
            bail!("the benches need {program} (package iproute2)");
        }
    }
    Ok(())
}

/// Builds the programs that the measurements use. The kernel object is optimised in every profile, so the program that runs it
/// need not be.
fn build(options: &Options) -> Result<Bench> {
    let cargo = |words: &[&str]| {
        let mut command = workspace::cargo();
        command
            .args(["build", "--locked", "--package", "portolan"])
            .args(words)
            .current_dir(workspace::root());
        command
    };
    if options.agent.is_none() {
        step::build("building the agent", &mut cargo(&["--release"]))?;
    }
    if options.measures(&[Measurement::Packet, Measurement::Api]) {
        let examples = ["--features", "bench", "--example", "packet_cost", "--example", "api_load"];
        let what = "building what runs the tc program and what plays a cluster's agents";
        step::build(what, &mut cargo(&examples))?;
    }
    if options.measures(&[Measurement::Engine]) {
        let example = ["--release", "--features", "bench", "--example", "engine_cost"];
        step::build("building what feeds the engine", &mut cargo(&example))?;
    }
    let directory = workspace::target().join("bench");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(Bench {
        agent: options.agent.clone().unwrap_or_else(|| workspace::agent("release")),
        engine_cost: Path::new(&workspace::target()).join("release/examples/engine_cost"),
        packet_cost: Path::new(&workspace::target()).join("debug/examples/packet_cost"),
        api_load: Path::new(&workspace::target()).join("debug/examples/api_load"),
        directory,
    })
}

/// Raises the limit of open files to the maximum. Children inherit it.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the load generators may fail, and report it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
