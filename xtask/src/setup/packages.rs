//! The distribution's packages: which are needed, why, and how to install them.

use std::process::Command;

use anyhow::{Result, bail};

use super::services::{self, NoStarts};
use super::toolchain::Compiler;
use super::{Need, Options};
use crate::step;

/// A package of Debian and its relatives.
struct Package {
    name: &'static str,
    why: &'static str,
    /// Program whose presence in PATH replaces the package.
    program: Option<&'static str>,
}

const COMPILER: [Package; 3] = [
    Package { name: "rustc-web", why: "a Rust compiler that can build for the kernel", program: None },
    Package { name: "cargo-web", why: "the cargo that belongs to it", program: None },
    Package {
        name: "rust-web-src",
        why: "the source of Rust's core library, built for the kernel",
        program: None,
    },
];

const LINKER: [Package; 5] = [
    Package { name: "g++", why: "the C++ library that LLVM needs", program: Some("g++") },
    Package { name: "llvm-22-dev", why: "the LLVM inside bpf-linker", program: None },
    Package { name: "libpolly-22-dev", why: "a part of LLVM that it links", program: None },
    Package { name: "zlib1g-dev", why: "a library that LLVM links", program: None },
    Package { name: "libzstd-dev", why: "a library that LLVM links", program: None },
];

const DEMO: [Package; 2] = [
    Package { name: "iproute2", why: "network namespaces for demo and tests", program: Some("ip") },
    Package { name: "python3", why: "the demo's pods, and tests", program: Some("python3") },
];

/// What `cargo xtask package` needs beside the toolchain.
const PACKAGING: [Package; 2] = [
    Package { name: "dpkg", why: "writes the .deb", program: Some("dpkg-deb") },
    Package { name: "rpm", why: "writes the .rpm", program: Some("rpmbuild") },
];

const TESTS: [Package; 17] = [
    Package {
        name: "libc6-dev",
        why: "the image and the privilege tier: the C library, linked statically",
        program: None,
    },
    Package {
        name: "bpftool",
        why: "finds kernel programs that tests left behind",
        program: Some("bpftool"),
    },
    Package {
        name: "iptables",
        why: "the kernel tier: address translation as kube-proxy does it",
        program: Some("iptables"),
    },
    Package { name: "iperf3", why: "bulk traffic for the benches", program: Some("iperf3") },
    Package {
        name: "qemu-system-x86",
        why: "the vm tier: other kernels",
        program: Some("qemu-system-x86_64"),
    },
    Package { name: "cpio", why: "the vm tier: the guest's file system", program: Some("cpio") },
    Package { name: "xz-utils", why: "the vm tier: unpacks kernel modules", program: Some("xz") },
    Package {
        name: "containerd",
        why: "the cri tier: a container runtime, started by the tests",
        program: Some("containerd"),
    },
    Package { name: "runc", why: "the cri tier: starts its containers", program: Some("runc") },
    Package {
        name: "containernetworking-plugins",
        why: "the cri tier: the network of its pods",
        program: None,
    },
    Package {
        name: "mmdebstrap",
        why: "the package tier: a clean Debian system to install into",
        program: Some("mmdebstrap"),
    },
    Package { name: "gnupg", why: "the package tier: a key that signs the chart", program: Some("gpg") },
    Package { name: "busybox-static", why: "the cri tier: all that its image holds", program: None },
    Package { name: "chromium", why: "the page tier: the browser", program: Some("chromium") },
    Package {
        name: "chromium-driver",
        why: "the page tier: drives the browser",
        program: Some("chromedriver"),
    },
    Package {
        name: "nodejs",
        why: "the page tier: the tests of the page's modules, and its stand-in server",
        program: Some("node"),
    },
    Package {
        name: "poppler-utils",
        why: "the page tier: reads the printed page",
        program: Some("pdftotext"),
    },
];

/// Daemons that the kernel tier starts itself. Their services are neither started nor enabled.
const DAEMONS: [Package; 8] = [
    Package {
        name: "nginx-light",
        why: "the kernel tier: a server that reloads and quits gracefully",
        program: Some("nginx"),
    },
    Package {
        name: "haproxy",
        why: "the kernel tier: a proxy that hands its sockets to its successor",
        program: Some("haproxy"),
    },
    Package {
        name: "dnsmasq-base",
        why: "the kernel tier: a DNS forwarder with random ports",
        program: Some("dnsmasq"),
    },
    Package {
        name: "unbound",
        why: "the kernel tier: a resolver with chosen outgoing ports",
        program: Some("unbound"),
    },
    Package {
        name: "default-jdk-headless",
        why: "the kernel tier: a server whose threads have names (large)",
        program: Some("javac"),
    },
    Package {
        name: "systemd",
        why: "the kernel tier: starts a server at its first connection",
        program: Some("systemd-socket-activate"),
    },
    Package {
        name: "wireguard-go",
        why: "the kernel tier: WireGuard as a process",
        program: Some("wireguard-go"),
    },
    Package { name: "wireguard-tools", why: "the kernel tier: configures WireGuard", program: Some("wg") },
];

/// C compilers for the systems that `cargo xtask plugin` builds for. Only that command installs them.
const C_COMPILERS: [Package; 2] = [
    Package {
        name: "musl-tools",
        why: "the plugin for Linux: the C library musl",
        program: Some("musl-gcc"),
    },
    Package {
        name: "gcc-mingw-w64-x86-64",
        why: "the plugin for Windows: C compiler and linker",
        program: Some("x86_64-w64-mingw32-gcc"),
    },
];

/// Packages whose service would start with the machine, and its unit.
const SERVICES: [(&str, &str); 4] =
    [("nginx-light", "nginx"), ("haproxy", "haproxy"), ("unbound", "unbound"), ("containerd", "containerd")];

pub(super) fn needs(options: Options) -> Vec<Need> {
    wanted(options)
        .into_iter()
        .map(|package| Need {
            name: package.name,
            why: package.why,
            missing: (!package.is_there()).then(|| "not installed".to_owned()),
            remedy: format!("apt-get install --no-install-recommends {}", package.name),
        })
        .collect()
}

/// Installs missing packages. Needs apt-get and root.
pub(super) fn install(options: Options) -> Result<()> {
    install_missing(&wanted(options))
}

/// Installs a package with a C compiler if it is missing.
pub(super) fn install_c_compiler(name: &str) -> Result<()> {
    install_missing(&C_COMPILERS.iter().filter(|package| package.name == name).collect::<Vec<_>>())
}

fn install_missing(wanted: &[&Package]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !step::in_path("apt-get") {
        bail!(
            "missing: {}; this machine has no apt-get: install what fits them here, and repeat",
            names.join(" ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing: {0}; run as root:\n  apt-get update && apt-get install -y --no-install-recommends {0}\nthen repeat this command",
            names.join(" ")
        );
    }
    for package in &missing {
        println!("  {}: {}", package.name, package.why);
    }
    step::run("updating apt's lists", &mut apt_get(&["update"]))?;
    let (known, unknown): (Vec<_>, Vec<_>) = names.iter().copied().partition(|name| has_candidate(name));
    let (daemons, unknown): (Vec<_>, Vec<_>) =
        unknown.into_iter().partition(|name| DAEMONS.iter().any(|daemon| daemon.name == *name));
    if !unknown.is_empty() {
        bail!(
            "apt knows no {}: Debian 12 has them in its security archive, so see that apt's sources name \
             `bookworm-security`; elsewhere run\n  \
             rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
             then repeat this command",
            unknown.join(", ")
        );
    }
    if !daemons.is_empty() {
        eprintln!("  apt knows no {}: the tests that need them are skipped", daemons.join(", "));
    }
    if known.is_empty() {
        return Ok(());
    }
    install_stopped(&known)
}

/// Installs packages. None of their services runs afterwards, nor after the next start of the machine.
fn install_stopped(names: &[&str]) -> Result<()> {
    let _no_starts = NoStarts::begin()?;
    let install = ["install", "-y", "--no-install-recommends"];
    step::run(
        &format!("installing {} packages (the LLVM ones are large)", names.len()),
        apt_get(&install).args(names),
    )?;
    for (_, unit) in SERVICES.iter().filter(|(package, _)| names.contains(package)) {
        services::disable(unit)?;
    }
    Ok(())
}

/// Returns the packages that this machine needs. The compiler's packages are left out if rustup has a toolchain that can build
/// for the kernel.
fn wanted(options: Options) -> Vec<&'static Package> {
    let mut wanted: Vec<&Package> = Vec::new();
    if Compiler::find().is_none() {
        wanted.extend(&COMPILER);
    }
    if !step::in_path("bpf-linker") && Compiler::find() != Some(Compiler::Nightly) {
        wanted.extend(&LINKER);
    }
    wanted.extend(&DEMO);
    if options.packages || options.tests {
        wanted.extend(&PACKAGING);
    }
    if options.tests {
        wanted.extend(&TESTS);
        wanted.extend(&DAEMONS);
    }
    wanted
}

impl Package {
    fn is_there(&self) -> bool {
        if self.program.is_some_and(step::in_path) {
            return true;
        }
        step::output(Command::new("dpkg-query").args(["-W", "-f", "${Status}", self.name]))
            .is_some_and(|status| status.ends_with("ok installed"))
    }
}

/// Returns true if apt can install the package.
fn has_candidate(package: &str) -> bool {
    let policy = step::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
}

fn apt_get(words: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
