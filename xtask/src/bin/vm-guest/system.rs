//! The tasks of an init process: mount, load modules, run programs, power off.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use crate::console::Console;

const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// # Errors
/// If the kernel lacks one of the file systems.
pub fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place)?;
        match mount(kind, place, kind, MountFlags::empty(), None) {
            // Some kernels mount this file system themselves.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {kind} on {place}")),
        }
    }
    fs::create_dir_all("/run/netns")?;
    Ok(())
}

/// Loads the modules in the guest's file system, in the order of their names.
///
/// # Errors
/// If the directory cannot be read. A module that does not load is only noted; its check fails later.
pub fn load_modules(console: &mut Console) -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir("/modules")?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let image = File::open(&path)?;
        if let Err(error) = finit_module(&image, c"", 0) {
            console.note(&format!("{} does not load: {error}", path.display()));
        }
    }
    Ok(())
}

/// Checks that the kernel is locked down to confidentiality. Returns the kernel's state.
///
/// # Errors
/// If the kernel is not locked down.
pub fn lockdown() -> Result<String> {
    mount("securityfs", "/sys/kernel/security", "securityfs", MountFlags::empty(), None)?;
    let said = fs::read_to_string("/sys/kernel/security/lockdown")?;
    ensure!(said.contains("[confidentiality]"), "it is not locked down: {said}");
    Ok(said.trim().to_owned())
}

/// Returns true if the kernel has the protocol, as a module or built in.
pub fn has_protocol(name: &str) -> bool {
    let table = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().next() == Some(name))
}

/// Runs one of the tools. Returns its standard output.
///
/// # Errors
/// If the tool fails; the message contains its output.
pub fn tool(words: &[&str]) -> Result<String> {
    let (name, rest) = words.split_first().context("no tool")?;
    let output = Command::new(Path::new("/sbin").join(name)).args(rest).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("`{}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends the guest.
pub fn power_off() -> ! {
    // With `-no-reboot` a restart ends the guest too, if the machine cannot power itself off.
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
