//! Builds the kernel objects with any toolchain that can, and embeds them. A release build without a toolchain fails
//! and names the command to run. A development build warns and embeds nothing, so that other work needs no kernel
//! toolchain.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use aya_build::{Package, Toolchain, build_ebpf};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

const PACKAGE: &str = "portolan-ebpf";
/// The object that is loaded once, and the object that is loaded for each netns.
const OBJECTS: [&str; 2] = ["portolan-ebpf", "portolan-netns"];
const CHOSEN: &str = "PORTOLAN_BPF_TOOLCHAIN";
const LINKED: &str = "portolan-bpf";
const REMEDY: &str = "run `cargo xtask setup`, which installs what the kernel programs need";

/// A toolchain that can compile for the BPF target.
enum Compiler {
    /// A toolchain that rustup knows.
    Rustup { name: String, nightly: bool },
    /// The distribution's own toolchain with its library source.
    Distribution,
}

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    println!("cargo:rerun-if-env-changed={CHOSEN}");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let programs = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../ebpf-programs").canonicalize()?;
    println!("cargo:rerun-if-changed={}", programs.display());
    let missing = match find_compiler().and_then(|compiler| Ok((compiler, find_linker()?))) {
        Ok((compiler, linker)) => {
            build(&out, &programs, &compiler, &linker)?;
            for (name, keeps_btf) in OBJECTS.into_iter().zip([true, false]) {
                remove_debug_sections(&out.join(name), keeps_btf)?;
            }
            return embed(&out, true);
        }
        Err(missing) => missing,
    };
    if env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::error=the kernel programs cannot be built: {missing}; {REMEDY}");
        bail!("no kernel object");
    }
    println!("cargo::warning=NO KERNEL PROGRAMS in this build, it can only scan: {missing}; {REMEDY}");
    // A path that never exists makes cargo run this script again at the next build.
    println!("cargo:rerun-if-changed={}", out.join("no-kernel-object").display());
    embed(&out, false)
}

/// Removes sections that neither the loader nor the kernel needs. They are thirty times as large as the programs. The object of
/// a netns has no relocations against types; its BTF would be passed to the kernel for each netns.
fn remove_debug_sections(path: &Path, keeps_btf: bool) -> Result<()> {
    let file = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let mut object = Builder::read(file.as_slice())
        .with_context(|| format!("{} has sections of an unknown kind", path.display()))?;
    for section in &mut object.sections {
        let name = section.name.to_string();
        // Loaders use the relocated BTF as it is: its relocations are for linkers.
        section.delete = name.starts_with(".debug_")
            || name.starts_with(".rel.debug_")
            || name.starts_with(".rel.BTF")
            || (name.starts_with(".BTF") && !keeps_btf);
    }
    object.delete_orphans();
    let has_names = object.sections.iter().any(|section| matches!(section.data, SectionData::SectionString));
    if !has_names {
        // LLVM keeps the names of sections among those of symbols.
        let names = object.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut slim = Vec::new();
    object.write(&mut slim).with_context(|| format!("remove the debug sections of {}", path.display()))?;
    fs::write(path, slim).with_context(|| format!("write {}", path.display()))
}

/// Writes the source that `source/kernel/object.rs` includes.
fn embed(out: &Path, built: bool) -> Result<()> {
    let source = if built {
        let [shared, netns] = OBJECTS.map(|name| out.join(name));
        format!(
            "Some(Objects {{ shared: aya::include_bytes_aligned!({shared:?}), \
             netns: aya::include_bytes_aligned!({netns:?}) }})"
        )
    } else {
        "None".to_owned()
    };
    let path = out.join("kernel_object.rs");
    fs::write(&path, source).with_context(|| format!("write {}", path.display()))
}

fn find_compiler() -> Result<Compiler> {
    if let Ok(name) = env::var(CHOSEN) {
        return match library_source(&name) {
            Some(nightly) => Ok(Compiler::Rustup { name, nightly }),
            None => bail!("the toolchain {name} that {CHOSEN} names is not there or has no library source"),
        };
    }
    for name in [LINKED, "nightly"] {
        if let Some(nightly) = library_source(name) {
            return Ok(Compiler::Rustup { name: name.to_owned(), nightly });
        }
    }
    if Path::new("/usr/bin/rustc").exists()
        && Path::new("/usr/bin/cargo").exists()
        && has_library("/usr".as_ref())
    {
        return Ok(Compiler::Distribution);
    }
    Err(anyhow!(
        "no Rust toolchain with its library source (rustup nightly with rust-src, or the distribution's)"
    ))
}

/// Returns whether the rustup toolchain is a nightly; `None` if it cannot build `core`.
fn library_source(name: &str) -> Option<bool> {
    let output = Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    if !output.status.success() || !has_library(sysroot.trim().as_ref()) {
        return None;
    }
    let version = Command::new("rustup").args(["run", name, "rustc", "--version"]).output().ok()?;
    Some(String::from_utf8_lossy(&version.stdout).contains("nightly"))
}

fn has_library(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

fn find_linker() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|folder| folder.join("bpf-linker"))
        .find(|linker| linker.exists())
        .context("bpf-linker is neither in PATH nor in CARGO_HOME/bin")
}

fn build(out: &Path, programs: &Path, compiler: &Compiler, linker: &Path) -> Result<()> {
    // Only the linker is linked there, so that its folder puts no rustup proxies before the distribution's own cargo.
    let folder = out.join("linker");
    fs::create_dir_all(&folder)?;
    let link = folder.join("bpf-linker");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => symlink(linker, &link)?,
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let (name, nightly, rest) = match compiler {
        Compiler::Rustup { name, nightly } => (name.as_str(), *nightly, env::split_paths(&path).collect()),
        Compiler::Distribution => (LINKED, false, vec![PathBuf::from("/usr/bin"), PathBuf::from("/bin")]),
    };
    let path = env::join_paths(std::iter::once(folder).chain(rest))?;
    // SAFETY: a build script of one thread; nothing reads the environment at the same time.
    unsafe {
        env::set_var("PATH", path);
        env::set_var("CARGO_TERM_QUIET", "true");
        // The object contains the paths of its sources; trimmed, they are the same on every machine.
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        env::remove_var("RUSTUP_TOOLCHAIN");
        if !nightly {
            env::set_var("RUSTC_BOOTSTRAP", "1");
        }
    }
    let root = programs.to_str().context("the path of ebpf-programs is not UTF-8")?;
    // Cargo uses its own target directory below OUT_DIR there, so it never waits for the lock of this build.
    build_ebpf([Package { name: PACKAGE, root_dir: root, ..Package::default() }], Toolchain::Custom(name))
        .context("build the kernel programs")
}
