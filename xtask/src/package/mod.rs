//! Packages for machines without Kubernetes: a tarball, a `.deb` and an `.rpm` of the same static binary, reproducible from a
//! commit, and their hashes.

mod contents;
mod debian;
mod rpm;
mod tarball;
pub mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::image::identity::{Identity, Source};
use crate::image::{self, archive, binary};
use crate::workspace;

/// File with the hashes of the others, in the format of sha256sum.
const SUMS: &str = "SHA256SUMS";
/// Both formats require a maintainer with an address. `.invalid` is reserved for addresses that do not exist (RFC 2606).
const NOBODY: &str = "The portolan maintainers <maintainers@portolan.invalid>";

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// What they are to run on, as rustc names it: x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu; default: this machine
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Where they go; default: target/package
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// Maintainer in the packages
    #[arg(long, value_name = "NAME <ADDRESS>", default_value = NOBODY)]
    maintainer: String,
    #[command(flatten)]
    source: Source,
}

/// What the packages of one release and architecture have in common.
pub struct Release<'a> {
    /// Version in the spelling of both formats, in which 1.0.0~rc.1 is older than 1.0.0.
    version: String,
    /// Architecture by Debian's name.
    architecture: &'static str,
    /// Architecture by rustc's and RPM's name.
    machine: &'a str,
    maintainer: &'a str,
    repository: Option<&'a str>,
    /// Seconds since 1970: the time of all files.
    time: u64,
}

/// The packages that were made.
pub struct Packages {
    pub tarball: PathBuf,
    pub deb: PathBuf,
    pub rpm: PathBuf,
}

impl Packages {
    fn named(output: &Path, stem: &str, release: &Release<'_>) -> Self {
        let Release { version, architecture, machine, .. } = release;
        // GitHub renames files with a tilde, and SHA256SUMS would not match. Only the version inside the packages needs it.
        let version = version.replace('~', "-");
        Self {
            tarball: output.join(format!("{stem}.tar.gz")),
            deb: output.join(format!("portolan_{version}_{architecture}.deb")),
            rpm: output.join(format!("portolan-{version}-1.{machine}.rpm")),
        }
    }
}

/// Builds the binary, makes the packages, and prints their names and hashes.
///
/// # Errors
/// If it does not build, or a tool is missing or fails.
pub fn run(options: &Options) -> Result<()> {
    let target = options.target.clone().unwrap_or_else(binary::host);
    let identity = Identity::of_the_tree(None, &options.source)?;
    let output = options.output.clone().unwrap_or_else(|| workspace::target().join("package"));
    let built = image::agent(&target)?;
    let packages = make(&output, &built, &target, &identity, &options.maintainer)?;
    for file in [packages.tarball, packages.deb, packages.rpm] {
        println!("{}", file.display());
    }
    print!("{}", std::fs::read_to_string(output.join(SUMS))?);
    Ok(())
}

/// Makes the packages of a binary in a directory.
///
/// # Errors
/// As [`run`].
pub fn make(
    output: &Path,
    built: &Path,
    target: &str,
    identity: &Identity,
    maintainer: &str,
) -> Result<Packages> {
    let architecture = binary::architecture(target)?;
    let machine = target.split('-').next().unwrap_or_default();
    let version = spelled(identity.version);
    let release = Release {
        architecture,
        machine,
        maintainer,
        repository: identity.repository.as_deref(),
        time: identity.time,
        version,
    };
    std::fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let stem = stem(identity.version, architecture);
    let packages = Packages::named(output, &stem, &release);
    std::fs::write(&packages.tarball, tarball::packed(&stem, built, identity.time)?)?;
    with_scratch(output, |scratch| debian::write(&packages.deb, scratch, &release, built))?;
    with_scratch(output, |scratch| rpm::write(&packages.rpm, scratch, &release, built))?;
    std::fs::write(output.join(SUMS), sums(&[&packages.tarball, &packages.deb, &packages.rpm])?)?;
    Ok(packages)
}

/// Returns the name of the tarball without its extension, which is its only directory.
fn stem(version: &str, architecture: &str) -> String {
    format!("portolan-{version}-linux-{architecture}")
}

/// Runs `work` with an empty directory, and removes the directory.
fn with_scratch(output: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    // The tools want an absolute path without surprises.
    let scratch = output.canonicalize()?.join("tree");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir(&scratch)?;
    let outcome = work(&scratch);
    std::fs::remove_dir_all(&scratch)?;
    outcome
}

/// Returns a version of Cargo as both package formats order it: a pre-release before its release.
fn spelled(version: &str) -> String {
    version.replacen('-', "~", 1)
}

/// Returns the lines that `sha256sum --check` reads.
fn sums(files: &[&Path]) -> Result<String> {
    let mut lines = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        lines.push_str(&format!("{}  {name}\n", archive::sha256(&std::fs::read(file)?)));
    }
    Ok(lines)
}

/// Fills the places of a template. Every place must be there, and no other may be left.
fn filled(template: &str, places: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (place, value) in places {
        ensure!(text.contains(place), "the template has no {place}");
        ensure!(!value.contains('@') || place.ends_with("MAINTAINER@"), "{value} may contain no @");
        text = text.replace(place, value);
    }
    let is_place = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
    match text.split('@').find(is_place) {
        Some(place) => bail!("nothing fills @{place}@"),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests;
