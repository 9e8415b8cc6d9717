//! What an init must do: mount, load modules, run programs, power off.

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
/// Where the kernel lacks one of the file systems.
pub fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place)?;
        match mount(kind, place, kind, MountFlags::empty(), None) {
            // Some kernels mount it by themselves.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {kind} on {place}")),
        }
    }
    fs::create_dir_all("/run/netns")?;
    Ok(())
}

/// Loads what came along, in the order of its names.
///
/// # Errors
/// Where the directory cannot be read; a module that does not load is a note, its check will say more.
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

/// Whether the kernel is locked down as far as it can be; what it says of that.
///
/// # Errors
/// Where it is not.
pub fn lockdown() -> Result<String> {
    mount("securityfs", "/sys/kernel/security", "securityfs", MountFlags::empty(), None)?;
    let said = fs::read_to_string("/sys/kernel/security/lockdown")?;
    ensure!(said.contains("[confidentiality]"), "it is not locked down: {said}");
    Ok(said.trim().to_owned())
}

/// Whether the kernel has it, as a module or built in.
pub fn has_protocol(name: &str) -> bool {
    let table = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().next() == Some(name))
}

/// Runs one of the tools; its standard output.
///
/// # Errors
/// Where it fails; with what it said.
pub fn tool(words: &[&str]) -> Result<String> {
    let (name, rest) = words.split_first().context("no tool")?;
    let output = Command::new(Path::new("/sbin").join(name)).args(rest).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("`{}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The end of the guest.
pub fn power_off() -> ! {
    // `-no-reboot` makes a restart an end too, where the machine cannot power itself off.
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
