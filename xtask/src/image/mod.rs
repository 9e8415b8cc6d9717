//! The container image: only the statically linked agent, without a base image. Built without a daemon, reproducibly from a
//! commit, with a bill of materials.

pub mod archive;
mod artifact_hub;
pub mod binary;
pub mod chart;
pub mod identity;
mod materials;
pub mod plugin;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{step, workspace};
use identity::{Identity, Source};

/// Maximum size of the image's files: every node of a cluster downloads them.
const SIZE_LIMIT: u64 = 28 << 20;

/// File next to the archive with the full name of the image, which a pod must use after the archive is loaded.
const REFERENCE: &str = "reference";

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// What it is to run on, as rustc names it: x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu; default: this machine
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Name of the image; default: portolan:VERSION
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Where archive and bill of materials go; default: target/image
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// Build everything once more, from a copy of the sources elsewhere, and fail if a byte differs
    #[arg(long)]
    twice: bool,
    #[command(flatten)]
    source: Source,
}

/// The image that was built.
pub struct Image {
    pub archive: PathBuf,
    pub name: String,
}

/// Builds the binary, writes archive and bill of materials, and prints their properties.
///
/// # Errors
/// If it does not build, is not static or is too large; with `--twice` also if two builds differ.
pub fn run(options: &Options) -> Result<()> {
    let image = make(options)?;
    if options.twice {
        let target = options.target.clone().unwrap_or_else(binary::host);
        check_again(&image.archive, &target, &image.name, &options.source)?;
    }
    println!(
        "take it with one of\n  ctr --namespace k8s.io images import {0}\n  docker load --input {0}\n  \
         skopeo copy oci-archive:{0} docker://REGISTRY/NAME:TAG",
        image.archive.display()
    );
    Ok(())
}

/// Builds the image for other commands, without the usage hints.
///
/// # Errors
/// As [`run`].
pub fn make(options: &Options) -> Result<Image> {
    let target = options.target.clone().unwrap_or_else(binary::host);
    let identity = Identity::of_the_tree(options.tag.as_deref(), &options.source)?;
    let built = agent(&target)?;
    let directory = options.output.clone().unwrap_or_else(|| workspace::target().join("image"));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let stem = format!("portolan-{}-{}", identity.version, binary::architecture(&target)?);
    let archive = directory.join(format!("{stem}.tar"));
    let written = archive::write(&archive, &identity, &target, &built)?;
    let materials = directory.join(format!("{stem}.cdx.json"));
    let components = materials::write(&materials, &identity, &target)?;
    let reference = archive::full_name(&identity.name);
    std::fs::write(directory.join(REFERENCE), format!("{reference}\n"))
        .context("cannot write the reference")?;
    println!(
        "{}\n  image {}, {:.1} MB unpacked, {:.1} MB to fetch, {}\n{}\n  bill of materials, {components} components",
        archive.display(),
        identity.name,
        megabytes(written.unpacked),
        megabytes(written.packed),
        written.digest,
        materials.display()
    );
    ensure!(
        written.unpacked <= SIZE_LIMIT,
        "the image has {:.1} MB; its limit is {:.0} MB",
        megabytes(written.unpacked),
        megabytes(SIZE_LIMIT)
    );
    Ok(Image { archive, name: identity.name })
}

/// Builds the static agent. Returns its path.
///
/// # Errors
/// If it does not build or is not static.
pub fn agent(target: &str) -> Result<PathBuf> {
    binary::build(workspace::root(), &workspace::target(), target)
}

/// Copies the files that git tracks to another directory, builds there from scratch, and compares the archives.
fn check_again(first: &Path, target: &str, name: &str, source: &Source) -> Result<()> {
    let elsewhere = workspace::target().join("image-again");
    if elsewhere.exists() {
        std::fs::remove_dir_all(&elsewhere)?;
    }
    let outcome = build_elsewhere(&elsewhere, target, name, source);
    let second = outcome.and_then(|archive| Ok((std::fs::read(first)?, std::fs::read(archive)?)));
    std::fs::remove_dir_all(&elsewhere)?;
    let (first, second) = second?;
    if first != second {
        bail!(
            "two builds of the same sources differ: sha256 {} and {}",
            archive::sha256(&first),
            archive::sha256(&second)
        );
    }
    println!("built twice, the same {} bytes: sha256 {}", first.len(), archive::sha256(&first));
    Ok(())
}

fn build_elsewhere(elsewhere: &Path, target: &str, name: &str, source: &Source) -> Result<PathBuf> {
    let sources = elsewhere.join("sources");
    let list =
        step::output(std::process::Command::new("git").args(["ls-files"]).current_dir(workspace::root()));
    for file in list.context("git does not list the sources")?.lines() {
        let copy = sources.join(file);
        copy.parent().map(std::fs::create_dir_all).transpose()?;
        std::fs::copy(workspace::root().join(file), copy).with_context(|| format!("cannot copy {file}"))?;
    }
    let identity = Identity::of_the_tree(Some(name), source)?;
    let built = binary::build(&sources, &elsewhere.join("target"), target)?;
    let archive = elsewhere.join("image.tar");
    archive::write(&archive, &identity, target, &built)?;
    Ok(archive)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
