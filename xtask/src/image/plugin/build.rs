//! Builds the plugin for a target: with the toolchain's standard library, or with one that is built from source first.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::platform::{BINARY, Platform, System};
use crate::image::binary::neutral_paths;
use crate::setup::plugin::{Library, Linker};
use crate::{step, workspace};

const PACKAGE: &str = "portolan-client";

/// Builds the binary. Returns its path.
///
/// # Errors
/// If the target's linker is on other systems only, a tool is missing and cannot be installed, or the build fails.
pub(super) fn build(target: &str, platform: Platform) -> Result<PathBuf> {
    if platform.system == System::Darwin {
        bail!(
            "{target}: macOS alone has the frameworks Security and CoreFoundation, which the program links: build it there with \
             `cargo build --release --bin {BINARY}`, and pack it with --binary"
        );
    }
    if target.ends_with("-msvc") {
        bail!(
            "{target}: Windows alone has its linker: build it there and pack it with --binary, or take \
             x86_64-pc-windows-gnu or aarch64-pc-windows-gnullvm"
        );
    }
    let library = Library::find(target)?;
    let mut command = command("rustc", target, library)?;
    // The symbols are a fifth of the file.
    command.args(["--release", "--", "-C", "strip=symbols"]);
    if platform.system == System::Linux && library != Library::Packaged {
        // The startup objects belong to a packaged library. Those of the linker are used.
        command.args(["-C", "link-self-contained=no"]);
    }
    step::run(&format!("building {BINARY} for {target}"), &mut command)?;
    Ok(workspace::target().join(target).join("release").join(platform.binary()))
}

/// Compiles the plugin for a target, and does not link it.
///
/// # Errors
/// If it does not compile.
pub(super) fn check(target: &str) -> Result<()> {
    step::run(
        &format!("checking {BINARY} for {target}"),
        &mut command("check", target, Library::find(target)?)?,
    )
}

/// Returns cargo's command for the target, after the installation of what it needs.
fn command(subcommand: &str, target: &str, library: Library) -> Result<Command> {
    let linker = Linker::choose(target, library);
    linker.install()?;
    let mut command = library.cargo(linker);
    command
        .arg(subcommand)
        .args(step::CARGO_PROGRESS)
        .args(["--locked", "--package", PACKAGE, "--bin", BINARY, "--target", target])
        .arg("--config")
        .arg(format!("target.{target}.rustflags={:?}", neutral_paths(workspace::root())?))
        .arg("--target-dir")
        .arg(workspace::target())
        .current_dir(workspace::root())
        // These variables would replace the flags above.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if library != Library::Packaged {
        command.args(["-Z", "build-std=std,panic_unwind"]);
    }
    Ok(command)
}
