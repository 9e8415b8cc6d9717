//! What `cargo xtask plugin` needs for a target, installed when that command first needs it: Rust's standard library for the
//! target, or a compiler that builds it from source, and a C compiler with its linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::packages;
use super::toolchain::Compiler;
use crate::{step, workspace};

/// Python packages with Zig, whose C compiler and linker know many systems, and with its cargo command.
const ZIG: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

/// Where the target's standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The toolchain has it.
    Packaged,
    /// This compiler builds it from source.
    Built(Compiler),
}

/// What compiles C and links for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// Debian's package of this name. Cargo finds the compiler by the target's name.
    Package(&'static str),
    /// Zig, in a directory of this project.
    Zig,
}

impl Library {
    /// Finds the library. Asks rustup for it first.
    ///
    /// # Errors
    /// If there is none, and no compiler that can build it.
    pub fn find(target: &str) -> Result<Self> {
        if !is_packaged(target) && step::in_path("rustup") {
            // Fails where nobody packages the library; it is built from source then.
            let _ = step::output(Command::new("rustup").args(["target", "add", target]));
        }
        if is_packaged(target) {
            return Ok(Self::Packaged);
        }
        match Compiler::find() {
            Some(compiler) => Ok(Self::Built(compiler)),
            None => bail!(
                "no standard library for {target}: run `rustup target add {target}`, or `cargo xtask setup` for a compiler with \
                 the library's source"
            ),
        }
    }

    /// Returns a cargo command with which `linker` links. Its first argument is to be cargo's subcommand.
    #[must_use]
    pub fn cargo(self, linker: Linker) -> Command {
        let compiler = match (self, linker) {
            (Self::Packaged, Linker::Package(_)) => return workspace::cargo(),
            (Self::Packaged, Linker::Zig) => Command::new(zig("bin/cargo-zigbuild")),
            (Self::Built(compiler), Linker::Package(_)) => compiler.cargo(),
            (Self::Built(compiler), Linker::Zig) => compiler.command(&zig("bin/cargo-zigbuild")),
        };
        let mut command = compiler;
        if let Self::Built(compiler) = self {
            command.env("RUSTC_BOOTSTRAP", "1");
            if compiler == Compiler::System {
                command.env("RUSTC", "/usr/bin/rustc").env("CARGO", "/usr/bin/cargo");
            }
        }
        command.env("CARGO_ZIGBUILD_ZIG_PATH", zig("ziglang/zig"));
        command
    }
}

impl Linker {
    /// Chooses the linker for a target.
    #[must_use]
    pub fn choose(target: &str, library: Library) -> Self {
        let is_own_linux = target == format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        match target {
            "x86_64-pc-windows-gnu" => Self::Package("gcc-mingw-w64-x86-64"),
            // Debian's package lacks the unwinder that the library needs, and rustup's library contains.
            _ if is_own_linux && library == Library::Packaged => Self::Package("musl-tools"),
            _ => Self::Zig,
        }
    }

    /// Installs the linker if it is missing.
    ///
    /// # Errors
    /// If it cannot be installed.
    pub fn install(self) -> Result<()> {
        match self {
            Self::Package(name) => packages::install_c_compiler(name),
            Self::Zig if zig("ziglang/zig").exists() => Ok(()),
            Self::Zig => install_zig(),
        }
    }
}

fn install_zig() -> Result<()> {
    let (new, directory) = (workspace::target().join("tools/zig.new"), zig(""));
    let install = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
    let mut pip = Command::new("python3");
    step::run("downloading Zig (90 MB)", pip.args(install).arg(&new).args(ZIG))?;
    Ok(std::fs::rename(&new, directory)?)
}

/// Returns the path of a file in the directory of Zig.
fn zig(file: &str) -> PathBuf {
    workspace::target().join("tools/zig").join(file)
}

fn is_packaged(target: &str) -> bool {
    let directory =
        step::output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    directory.is_some_and(|directory| Path::new(&directory).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_follows_from_target_and_library() {
        let built = Library::Built(Compiler::System);
        let own = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        for (target, library, linker) in [
            (own.as_str(), Library::Packaged, Linker::Package("musl-tools")),
            (own.as_str(), built, Linker::Zig),
            ("x86_64-pc-windows-gnu", built, Linker::Package("gcc-mingw-w64-x86-64")),
            ("x86_64-pc-windows-gnu", Library::Packaged, Linker::Package("gcc-mingw-w64-x86-64")),
            ("aarch64-pc-windows-gnullvm", built, Linker::Zig),
            ("aarch64-apple-darwin", Library::Packaged, Linker::Zig),
        ] {
            assert_eq!(Linker::choose(target, library), linker, "{target}");
        }
    }
}
