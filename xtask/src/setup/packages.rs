//! The distribution's packages: which are needed, why, and how to install them.

use std::process::Command;

use anyhow::{Result, bail};

use super::Need;
use super::toolchain::Compiler;
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

const TESTS: [Package; 11] = [
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
    Package { name: "busybox-static", why: "the cri tier: all that its image holds", program: None },
];

pub(super) fn needs(tests: bool) -> Vec<Need> {
    wanted(tests)
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
pub(super) fn install(tests: bool) -> Result<()> {
    let missing: Vec<_> = wanted(tests).into_iter().filter(|p| !p.is_there()).collect();
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
    let unknown: Vec<_> = names.iter().copied().filter(|name| !has_candidate(name)).collect();
    if !unknown.is_empty() {
        bail!(
            "apt knows no {}: Debian 12 has them in its security archive, so see that apt's sources name \
             `bookworm-security`; elsewhere run\n  \
             rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
             then repeat this command",
            unknown.join(", ")
        );
    }
    let install = ["install", "-y", "--no-install-recommends"];
    step::run(
        &format!("installing {} packages (the LLVM ones are large)", names.len()),
        apt_get(&install).args(&names),
    )
}

/// Returns the packages that this machine needs. The compiler's packages are left out if rustup has a toolchain that can build
/// for the kernel.
fn wanted(tests: bool) -> Vec<&'static Package> {
    let mut wanted: Vec<&Package> = Vec::new();
    if Compiler::find().is_none() {
        wanted.extend(&COMPILER);
    }
    if !step::in_path("bpf-linker") && Compiler::find() != Some(Compiler::Nightly) {
        wanted.extend(&LINKER);
    }
    wanted.extend(&DEMO);
    if tests {
        wanted.extend(&TESTS);
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
