//! The archive of `kubectl portolan` for users and Krew: binary and licence, reproducible from a commit. `.krew.yaml` is the
//! manifest that the release fills with tag, repository and hashes.

mod build;
mod platform;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tar::Builder;

use super::identity::{Identity, Source};
use super::{archive, binary};
use crate::workspace;
use platform::{Platform, System};

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// What it is to run on, as rustc names it, such as x86_64-unknown-linux-musl, aarch64-apple-darwin,
    /// x86_64-pc-windows-gnu; default: this machine, with musl
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Pack this binary, which another machine built for the target, instead of building one
    #[arg(long, value_name = "FILE", requires = "target")]
    binary: Option<PathBuf>,
    /// Compile for the target without linking, and write nothing
    #[arg(long, conflicts_with_all = ["binary", "output"])]
    check: bool,
    /// Where the archive goes; default: target/plugin
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Builds the binary, writes the archive, and prints its properties.
///
/// # Errors
/// If the build fails, the binary is not for the target, or the archive cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let host = || format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let target = options.target.clone().unwrap_or_else(host);
    let platform = Platform::of(&target)?;
    if options.check {
        return build::check(&target);
    }
    let built = match &options.binary {
        Some(binary) => binary.clone(),
        None => build::build(&target, platform)?,
    };
    let program = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    platform.check(&program).with_context(|| format!("{} is not for {target}", built.display()))?;
    if platform.system == System::Linux {
        ensure!(!binary::needs_loader(&built)?, "{} is not static", built.display());
    }
    let identity = Identity::of_the_tree(None, &Source::default())?;
    let directory = options.output.clone().unwrap_or_else(|| workspace::target().join("plugin"));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join(platform.archive(identity.version));
    let bytes = packed(&program, platform, identity.time)?;
    std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    let unpacked = super::megabytes(program.len().try_into()?);
    println!("{}\n  sha256 {}, {unpacked:.1} MB unpacked", file.display(), archive::sha256(&bytes));
    Ok(())
}

fn packed(program: &[u8], platform: Platform, time: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let licence = std::fs::read(workspace::root().join("LICENSE"))?;
    archive::add(&mut tar, "LICENSE", 0o644, time, &licence)?;
    archive::add(&mut tar, platform.binary(), 0o755, time, program)?;
    archive::packed(&tar.into_inner()?)
}
