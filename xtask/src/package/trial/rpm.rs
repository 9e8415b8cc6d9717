//! Cases of the .rpm: read by rpm, installed into the same system by a real `rpm --install --root`, and erased.

use std::process::Command;

use anyhow::{Result, ensure};

use super::system::ended;
use super::{Case, World};

pub const CASES: &[Case] = &[
    ("rpm/rpm reads its fields, files and scripts", read),
    ("rpm/installing starts nothing and leaves the rest to the presets", installed),
    ("rpm/erasing leaves nothing", erased),
];

fn rpm(words: &[&str]) -> Result<String> {
    let ended = ended(Command::new("rpm").args(words))?;
    ensure!(ended.code == 0, "rpm {} ended with {}: {}", words.join(" "), ended.code, ended.stderr);
    Ok(ended.stdout)
}

fn read(world: &World) -> Result<()> {
    let package = world.packages.rpm.to_string_lossy().into_owned();
    rpm(&["--checksig", "--nosignature", &package])?;
    let fields =
        rpm(&["-qp", "--queryformat", "%{NAME} %{VERSION} %{ARCH} %{LICENSE} %{BUILDHOST}", &package])?;
    let expected =
        format!("portolan {} {} Apache-2.0 portolan", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    ensure!(fields == expected, "{fields}");
    let files = rpm(&["-qpl", &package])?;
    for file in [
        "/usr/bin/portolan",
        "/usr/lib/systemd/system/portolan.service",
        "/usr/share/licenses/portolan/LICENSE",
    ] {
        ensure!(files.lines().any(|line| line == file), "no {file} in {files}");
    }
    ensure!(
        rpm(&["-qpc", &package])?.trim() == "/etc/portolan/config.yaml",
        "the configuration is not marked"
    );
    let needs = rpm(&["-qpR", &package])?;
    ensure!(
        needs.lines().all(|need| need.starts_with("rpmlib(")
            || need.starts_with("/bin/sh")
            || need.starts_with("config(portolan)")),
        "a static program needs nothing: {needs}"
    );
    let scripts = rpm(&["-qp", "--scripts", &package])?;
    for part in ["systemctl --no-reload preset", "systemctl --no-reload disable --now", "try-restart"] {
        ensure!(scripts.contains(part), "no `{part}` in {scripts}");
    }
    Ok(())
}

fn installed(world: &World) -> Result<()> {
    // As on Fedora, RHEL and SUSE, and unlike Debian.
    let presets = world.system.root().join("etc/systemd/system-preset");
    std::fs::create_dir_all(&presets)?;
    std::fs::write(presets.join("99-default-disable.preset"), "disable *\n")?;
    let root = world.system.root().to_string_lossy();
    // Debian's database of packages provides nothing to RPM, so /bin/sh cannot be found in it.
    rpm(&["--root", &root, "--nodeps", "--install", &world.packages.rpm.to_string_lossy()])?;
    world.system.succeeds(&["systemctl", "daemon-reload"])?;
    ensure!(world.systemctl("is-enabled")? == "disabled", "the presets are not heeded");
    ensure!(world.systemctl("is-active")? == "inactive", "the service is on by surprise");
    let version = world.system.succeeds(&["portolan", "--version"])?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    rpm(&["--root", &root, "--verify", "--nodeps", "portolan"])?;
    Ok(())
}

fn erased(world: &World) -> Result<()> {
    world.system.succeeds(&["systemctl", "start", "portolan"])?;
    world.system.succeeds(&["systemctl", "stop", "portolan"])?;
    let root = world.system.root();
    rpm(&["--root", &root.to_string_lossy(), "--erase", "portolan"])?;
    // As RPM's packages do, it leaves what the service wrote.
    std::fs::remove_dir_all(root.join("var/lib/portolan"))?;
    let left = world.leftovers()?;
    ensure!(left.is_empty(), "left behind:\n{left}");
    Ok(())
}
