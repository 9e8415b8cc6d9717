//! Builds the agent for a release: without paths of the build machine, as a single file that needs no other, with glibc linked
//! in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::{setup, step, workspace};

/// The program in the image.
const AGENT: &str = "portolan";

/// Returns the triple of this machine, with glibc: the agent is measured with its allocator.
pub fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Returns the architecture of a triple, by its name in images.
///
/// # Errors
/// If the architecture is not supported.
pub fn architecture(target: &str) -> Result<&'static str> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => bail!("{target}: images are made for x86_64 and aarch64"),
    }
}

/// Builds the agent and checks that it is static. Returns its path.
///
/// # Errors
/// If the build fails, or the program needs a loader.
pub fn build(sources: &Path, directory: &Path, target: &str) -> Result<PathBuf> {
    if !setup::is_complete() {
        setup::run(setup::Options::default())?;
    }
    let mut flags = neutral_paths(sources)?;
    flags.extend(
        ["-C", "target-feature=+crt-static", "-C", "link-arg=-Wl,-z,pack-relative-relocs"].map(str::to_owned),
    );
    let mut command = workspace::cargo();
    command
        .arg("rustc")
        .args(step::CARGO_PROGRESS)
        // The agent links nothing of the plugin.
        .args(["--locked", "--release", "--package", AGENT, "--bin", AGENT, "--no-default-features"])
        .args(["--target", target])
        .arg("--config")
        .arg(format!("target.{target}.rustflags={flags:?}"))
        .arg("--target-dir")
        .arg(directory)
        // The symbols are a fifth of the file.
        .args(["--", "-C", "strip=symbols"])
        .current_dir(sources)
        // These variables would replace the flags above.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    step::run(&format!("building {AGENT} for {target}, statically linked"), &mut command)?;
    let binary = directory.join(target).join("release").join(AGENT);
    if needs_loader(&binary)? {
        bail!(
            "{} is not static: are the static libraries of the target's C library installed?",
            binary.display()
        );
    }
    Ok(binary)
}

/// Returns the compiler's flags for neutral paths instead of those of this machine.
///
/// # Errors
/// If the sources do not exist.
pub fn neutral_paths(sources: &Path) -> Result<Vec<String>> {
    let sources = sources.canonicalize()?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    Ok(vec![
        format!("--remap-path-prefix={}=/portolan", sources.display()),
        format!("--remap-path-prefix={}=/cargo", cargo.display()),
    ])
}

/// Returns true if the program needs the loader of a C library.
///
/// # Errors
/// If the file is not a program for Linux.
pub fn needs_loader(binary: &Path) -> Result<bool> {
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let file = ElfFile64::<object::Endianness>::parse(&*bytes)?;
    Ok(file.elf_program_headers().iter().any(|header| header.p_type(file.endian()) == PT_INTERP))
}

/// Returns the size of the file in bytes.
///
/// # Errors
/// If it cannot be read.
pub fn size(binary: &Path) -> Result<u64> {
    Ok(std::fs::metadata(binary)?.len())
}
