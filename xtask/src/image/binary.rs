//! Builds the programs for a release: without paths of the build machine, and the agent as a single file that needs no other,
//! with glibc linked in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::{setup, step, workspace};

/// A program to build.
#[derive(Clone, Copy)]
pub struct Program {
    pub name: &'static str,
    pub linking: Linking,
    /// Package of the program.
    pub package: &'static str,
    /// All features of the build: the agent links nothing of the plugin.
    pub features: &'static str,
}

/// How a program is linked with the C library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// The C library is in the file.
    Static,
    /// The program uses the machine's C library.
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

/// Builds a program and checks that it is static if it should be. Returns its path.
///
/// # Errors
/// If the build fails, or a static program needs a loader.
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
        // The symbols are a fifth of the file.
        .args(["--", "-C", "strip=symbols"])
        .current_dir(sources)
        // These variables would replace the flags above.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    step::run(&format!("building {binary} for {target}, {}", program.linking.words()), &mut command)?;
    let binary = directory.join(target).join("release").join(binary);
    if program.linking == Linking::Static && needs_loader(&binary)? {
        bail!(
            "{} is not static: are the static libraries of the target's C library installed?",
            binary.display()
        );
    }
    Ok(binary)
}

/// Returns the compiler's flags: linking, and neutral paths instead of those of this machine.
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

fn needs_loader(binary: &Path) -> Result<bool> {
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
