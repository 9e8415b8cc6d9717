//! The toolchain that compiles for the kernel: a Rust compiler with its library source, and bpf-linker with an LLVM that is not
//! older than the compiler's. node-agent/build.rs searches for the same tools in the same order.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Need;
use crate::step;

/// Name of the rustup toolchain that is linked to the distribution's compiler.
pub const LINKED: &str = "portolan-bpf";
/// Version of bpf-linker that this project is tested with.
const LINKER_VERSION: &str = "0.13.0";
/// LLVM versions that this bpf-linker supports. The version of Debian's compiler comes first.
const LLVM_VERSIONS: [u32; 3] = [22, 23, 21];

/// A compiler that can build the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// rustup's toolchain `portolan-bpf`, linked to the distribution's compiler.
    Linked,
    /// rustup's nightly with the component rust-src.
    Nightly,
    /// The distribution's compiler, without rustup.
    System,
}

impl Compiler {
    /// Returns the first complete compiler, in the search order of the build.
    pub fn find() -> Option<Self> {
        [Self::Linked, Self::Nightly, Self::System].into_iter().find(|compiler| compiler.is_complete())
    }

    /// Returns a command for this toolchain's cargo.
    pub fn cargo(self) -> Command {
        self.tool("cargo")
    }

    /// Returns a command for a program that calls this toolchain's cargo.
    pub fn command(self, program: &Path) -> Command {
        match self {
            Self::Linked => rustup_run(LINKED, program),
            Self::Nightly => rustup_run("nightly", program),
            Self::System => Command::new(program),
        }
    }

    fn tool(self, name: &str) -> Command {
        match self {
            Self::Linked => rustup_run(LINKED, Path::new(name)),
            Self::Nightly => rustup_run("nightly", Path::new(name)),
            Self::System => Command::new(Path::new("/usr/bin").join(name)),
        }
    }

    fn is_complete(self) -> bool {
        let sysroot = step::output(self.tool("rustc").args(["--print", "sysroot"]));
        let Some(sysroot) = sysroot.map(PathBuf::from) else { return false };
        sysroot.join("lib/rustlib/src/rust/library/core").exists()
            && self.tool("cargo").arg("-V").output().is_ok()
    }

    /// Returns the major version of the compiler's LLVM.
    fn llvm(self) -> Option<u32> {
        let text = step::output(self.tool("rustc").arg("-vV"))?;
        let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        version.split('.').next()?.parse().ok()
    }
}

/// Returns a description of the toolchain in use, for the last line of the report.
pub fn describe() -> String {
    let compiler = match Compiler::find() {
        Some(Compiler::Linked) => format!("rustup's toolchain {LINKED}"),
        Some(Compiler::Nightly) => "rustup's nightly with rust-src".to_owned(),
        Some(Compiler::System) => "the compiler in /usr/bin".to_owned(),
        None => "no compiler".to_owned(),
    };
    format!("the kernel object is built by {compiler} and bpf-linker")
}

pub(super) fn needs() -> Vec<Need> {
    let compiler = Compiler::find();
    let mut needs = vec![
        Need {
            name: "kernel compiler",
            why: "compiles the eBPF programs; needs the source of Rust's core library",
            missing: compiler.is_none().then(|| why_no_compiler().to_owned()),
            remedy: "cargo xtask setup (Debian), or: rustup toolchain install nightly --component rust-src"
                .to_owned(),
        },
        Need {
            name: "bpf-linker",
            why: "links the eBPF programs into the object that the agent embeds",
            missing: linker_problem(compiler),
            remedy: "cargo xtask setup".to_owned(),
        },
    ];
    if compiler == Some(Compiler::System) && step::in_path("rustup") {
        needs.push(Need {
            name: "rustup link",
            why: "gives the distribution's compiler a name that rustup's cargo can call",
            missing: Some(format!("rustup knows no toolchain {LINKED}")),
            remedy: format!("rustup toolchain link {LINKED} /usr"),
        });
    }
    needs
}

/// Links the distribution's compiler in rustup and installs bpf-linker, if missing.
pub(super) fn install() -> Result<()> {
    if Compiler::find() == Some(Compiler::System) && step::in_path("rustup") {
        step::run(
            &format!("naming the compiler in /usr/bin {LINKED} for rustup"),
            Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]),
        )?;
    }
    let compiler = Compiler::find();
    if compiler.is_none() {
        bail!(
            "no compiler for the kernel side: {}; {}",
            why_no_compiler(),
            "see `cargo xtask setup --check`"
        );
    }
    if linker_problem(compiler).is_some() {
        install_linker(compiler)?;
    }
    Ok(())
}

fn install_linker(compiler: Option<Compiler>) -> Result<()> {
    let wanted = compiler.and_then(Compiler::llvm);
    let Some((version, prefix)) = LLVM_VERSIONS
        .into_iter()
        .filter(|version| wanted.is_none_or(|wanted| *version >= wanted))
        .find_map(|version| Some((version, llvm_prefix(version)?)))
    else {
        let wanted = wanted.unwrap_or_default();
        bail!(
            "bpf-linker needs the development files of LLVM {wanted} or newer, and none are installed; install llvm-{wanted}-dev \
             and libpolly-{wanted}-dev (names as in Debian), and repeat; or put the released program into PATH: https://github.com/aya-rs/bpf-linker/releases"
        );
    };
    step::build(
        &format!("building bpf-linker {LINKER_VERSION} with LLVM {version} (about a minute)"),
        Command::new("cargo")
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--no-default-features",
                "--locked",
                "--force",
            ])
            .args(["--features", &format!("llvm-{version}")])
            .env("LLVM_PREFIX", prefix),
    )
}

/// Returns the directory of that LLVM's development files.
fn llvm_prefix(version: u32) -> Option<PathBuf> {
    let packaged = PathBuf::from(format!("/usr/lib/llvm-{version}"));
    if packaged.join("include/llvm-c").is_dir() {
        return Some(packaged);
    }
    ["llvm-config", &format!("llvm-config-{version}")].into_iter().find_map(|program| {
        let found = step::output(Command::new(program).arg("--version"))?;
        let prefix = PathBuf::from(step::output(Command::new(program).arg("--prefix"))?);
        (found.split('.').next() == Some(&version.to_string()) && prefix.join("include/llvm-c").is_dir())
            .then_some(prefix)
    })
}

/// Returns what is wrong with bpf-linker. `None`: it fits the compiler.
fn linker_problem(compiler: Option<Compiler>) -> Option<String> {
    if !step::in_path("bpf-linker") {
        return Some("bpf-linker is not in PATH".to_owned());
    }
    let version = step::output(Command::new("bpf-linker").arg("--version"));
    let Some(version) = version else {
        return Some("bpf-linker does not run: built for another LLVM?".to_owned());
    };
    let (wanted, linked) = (compiler.and_then(Compiler::llvm)?, linked_llvm()?);
    (linked < wanted)
        .then(|| format!("{version} was built with LLVM {linked}, older than the compiler's LLVM {wanted}"))
}

/// Returns the major version of the LLVM library that bpf-linker loads. `None`: LLVM is linked statically.
fn linked_llvm() -> Option<u32> {
    let path = std::env::var_os("PATH")?;
    let linker =
        std::env::split_paths(&path).map(|dir| dir.join("bpf-linker")).find(|file| file.is_file())?;
    let libraries = step::output(Command::new("ldd").arg(linker))?;
    let name = libraries.split_whitespace().find_map(|word| word.strip_prefix("libLLVM"))?;
    let digits: String =
        name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn why_no_compiler() -> &'static str {
    let nightly = step::output(Command::new("rustup").args(["toolchain", "list"]))
        .is_some_and(|list| list.lines().any(|line| line.starts_with("nightly")));
    if nightly {
        "rustup's nightly is there, but without the component rust-src; Debian's rustc-web and rust-web-src are not installed"
    } else {
        "neither rustup's nightly with rust-src nor a distribution's compiler with its library source is there"
    }
}

fn rustup_run(toolchain: &str, program: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain]).arg(program);
    command
}
