//! Programs as they are released: no path of the machine that built them inside, and the agent as one file that needs no
//! other, glibc linked in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::{setup, step, workspace};

/// One of the binaries.
#[derive(Clone, Copy)]
pub struct Program {
    pub name: &'static str,
    pub linking: Linking,
    /// Package that has it.
    pub package: &'static str,
    /// The only features that it is built with: the agent links nothing of the plugin.
    pub features: &'static str,
}

/// Where its C library comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// It is in the file.
    Static,
    /// It is the machine's.
    Dynamic,
}

impl Linking {
    fn flag(self) -> &'static str {
        match self {
            Self::Static => "target-feature=+crt-static",
            Self::Dynamic => "target-feature=-crt-static",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Static => "statically linked",
            Self::Dynamic => "dynamically linked",
        }
    }
}

/// The triple of this machine, with the C library whose allocator the agent is measured with.
pub fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The architecture of a triple, as images name it.
///
/// # Errors
/// Where none of the supported ones is meant.
pub fn architecture(target: &str) -> Result<&'static str> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => bail!("{target}: images are made for x86_64 and aarch64"),
    }
}

/// Builds it and looks whether it is static where it should be; its path.
///
/// # Errors
/// Where it does not build, or asks for a loader all the same.
pub fn build(sources: &Path, directory: &Path, target: &str, program: Program) -> Result<PathBuf> {
    let binary = program.name;
    if !setup::is_complete() {
        setup::run(setup::Options::default())?;
    }
    let mut command = workspace::cargo();
    command
        .arg("rustc")
        .args(step::CARGO_PROGRESS)
        .args([
            "--locked",
            "--release",
            "--package",
            program.package,
            "--bin",
            binary,
            "--no-default-features",
            "--features",
            program.features,
            "--target",
            target,
        ])
        .arg("--config")
        .arg(format!("target.{target}.rustflags={:?}", flags(sources, program.linking)?))
        .arg("--target-dir")
        .arg(directory)
        // The names of functions are a fifth of the file.
        .args(["--", "-C", "strip=symbols"])
        .current_dir(sources)
        // They would replace the flags above, and what is linked in is not a matter of taste.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    step::run(&format!("building {binary} for {target}, {}", program.linking.words()), &mut command)?;
    let binary = directory.join(target).join("release").join(binary);
    if program.linking == Linking::Static && asks_for_a_loader(&binary)? {
        bail!(
            "{} is not static: are the static libraries of the target's C library installed?",
            binary.display()
        );
    }
    Ok(binary)
}

/// Paths of this machine are written as if everybody built at the same place.
fn flags(sources: &Path, linking: Linking) -> Result<Vec<String>> {
    let sources = sources.canonicalize()?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    Ok(vec![
        "-C".to_owned(),
        linking.flag().to_owned(),
        format!("--remap-path-prefix={}=/portolan", sources.display()),
        format!("--remap-path-prefix={}=/cargo", cargo.display()),
    ])
}

fn asks_for_a_loader(binary: &Path) -> Result<bool> {
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let file = ElfFile64::<object::Endianness>::parse(&*bytes)?;
    Ok(file.elf_program_headers().iter().any(|header| header.p_type(file.endian()) == PT_INTERP))
}

/// Size of the built file.
///
/// # Errors
/// Where it cannot be read.
pub fn size(binary: &Path) -> Result<u64> {
    Ok(std::fs::metadata(binary)?.len())
}
