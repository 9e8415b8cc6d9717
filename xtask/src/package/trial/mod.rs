//! The package tier: makes the packages, and installs them into a clean Debian system in which systemd runs. Signs the chart of a
//! release with a key of its own.

mod chart;
mod deb;
mod debian_root;
mod rpm;
mod system;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{NOBODY, Packages, make};
use crate::image::identity::{Identity, Source};
use crate::image::{self, binary};
use crate::test::tally::Tally;
use crate::test::tier::Tier;
use crate::{setup, step, workspace};
use debian_root::DebianRoot;
use system::{System, eventually};

/// Name of a case, and its check. The cases build on each other.
type Case = (&'static str, fn(&World) -> Result<()>);

/// Programs that the tier needs.
const NEEDED: [&str; 8] = ["dpkg-deb", "gpg", "ip", "mmdebstrap", "rpm", "rpmbuild", "unshare", "nsenter"];
/// Keys of Debian's archive, with which the system is checked.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Directory of the system with the package, which is none of its files.
const DELIVERY: &str = "mnt";

/// What the cases work with.
struct World {
    system: System,
    packages: Packages,
    /// Directory of the work tree for files of the tier.
    directory: PathBuf,
    /// Path of the .deb in the system.
    deb: String,
}

/// Returns what prevents the tier from running and what to do about it. `None`: the tier can run.
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root: run `sudo -E env PATH=$PATH cargo xtask test --tier package`".to_owned());
    }
    let mut missing: Vec<&str> = NEEDED.into_iter().filter(|program| !step::in_path(program)).collect();
    missing.extend(setup::tools::missing_for(Tier::Package));
    if !missing.is_empty() {
        return Some(format!("needs {}: run `cargo xtask setup --tests`", missing.join(", ")));
    }
    if !Path::new(KEYRING).exists() {
        return Some(format!("needs Debian's keys, {KEYRING}: install debian-archive-keyring"));
    }
    (!setup::is_complete()).then(|| "needs the kernel toolchain: run `cargo xtask setup`".to_owned())
}

/// Runs the cases. Failed cases are in the tally.
///
/// # Errors
/// If the packages cannot be made, or the system does not boot.
pub fn run() -> Result<Tally> {
    let directory = workspace::target().join("package");
    let target = binary::host();
    let built = image::agent(&target)?;
    let identity = Identity::of_the_tree(None, &Source::default())?;
    let packages = make(&directory.join("tested"), &built, &target, &identity, NOBODY)?;
    let mut tally = Tally::default();
    count(
        &mut tally,
        "all/two builds of the same binary are the same bytes",
        same_bytes(&directory, &identity),
    );
    let root = DebianRoot::unpacked(&directory)?;
    let deb = delivered(&packages.deb, root.path())?;
    let system = System::boot(root.path(), &directory.join("boot.log"))?;
    let world = World { system, packages, directory, deb };
    for (name, case) in deb::CASES.iter().chain(rpm::CASES).chain(chart::CASES) {
        count(&mut tally, name, case(&world));
    }
    Ok(tally)
}

fn count(tally: &mut Tally, name: &str, outcome: Result<()>) {
    match outcome {
        Ok(()) => {
            tally.passed += 1;
            println!("  {name} ok");
        }
        Err(error) => {
            tally.failed += 1;
            tally.failures.push(name.to_owned());
            println!("  {name} FAILED: {error:#}");
        }
    }
}

/// Makes the packages of a small program twice, and compares them.
fn same_bytes(directory: &Path, identity: &Identity) -> Result<()> {
    let program = Path::new("/bin/echo");
    let twice = ["first", "second"].map(|name| {
        let output = directory.join(name);
        let packages = make(&output, program, &binary::host(), identity, NOBODY)?;
        let bytes = [&packages.tarball, &packages.deb, &packages.rpm].map(std::fs::read);
        std::fs::remove_dir_all(&output)?;
        Ok::<_, anyhow::Error>(bytes)
    });
    let [first, second] = twice;
    for (name, (first, second)) in
        [".tar.gz", ".deb", ".rpm"].into_iter().zip(first?.into_iter().zip(second?))
    {
        anyhow::ensure!(first? == second?, "the two {name} differ");
    }
    Ok(())
}

/// Copies the package into the system. Returns its path there.
fn delivered(deb: &Path, root: &Path) -> Result<String> {
    let name = deb.file_name().context("no name")?.to_string_lossy().into_owned();
    std::fs::copy(deb, root.join(DELIVERY).join(&name))?;
    Ok(format!("/{DELIVERY}/{name}"))
}

impl World {
    /// Returns what systemctl prints about the service. Its exit code is not looked at.
    fn systemctl(&self, verb: &str) -> Result<String> {
        Ok(self.system.run(&["systemctl", verb, "portolan.service"])?.stdout.trim().to_owned())
    }

    fn main_process(&self) -> Result<String> {
        let show = ["systemctl", "show", "--property=MainPID", "--value", "portolan"];
        Ok(self.system.succeeds(&show)?.trim().to_owned())
    }

    fn configuration(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.system.root().join("etc/portolan/config.yaml"))?)
    }

    fn configure(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.system.root().join("etc/portolan/config.yaml"), text)?)
    }

    /// Returns the objects that the agent wrote to the journal.
    fn journal(&self) -> Result<Vec<Value>> {
        let lines = self.system.succeeds(&["journalctl", "--unit=portolan", "--output=cat", "--no-pager"])?;
        Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Starts a listener in a network namespace of its own, which gets the name `probe` and an interface.
    fn listener(&self) -> Result<()> {
        let listen = ["systemd-socket-activate", "--listen=4711", "/bin/sleep", "infinity"];
        let unit = ["systemd-run", "--quiet", "--unit=probe", "--property=PrivateNetwork=yes"];
        self.system.succeeds(&[&unit[..], &listen].concat())?;
        let process =
            self.system.succeeds(&["systemctl", "show", "--property=MainPID", "--value", "probe"])?;
        let netns = format!("/proc/{}/ns/net", process.trim());
        self.system.succeeds(&["mkdir", "/run/netns"])?;
        self.system.succeeds(&["touch", "/run/netns/probe"])?;
        self.system.succeeds(&["mount", "--bind", &netns, "/run/netns/probe"])?;
        self.system.connect("probe", "10.77.0.1/24", "10.77.0.2/24")?;
        // A hexadecimal 4711 in the state LISTEN.
        let table = format!("/proc/{}/net/tcp6", process.trim());
        eventually("the listener", || {
            Ok(self.system.succeeds(&["cat", &table])?.contains(":1267 ").then_some(()))
        })
    }

    /// Returns the paths of all files in the system that have the name of this project.
    fn leftovers(&self) -> Result<String> {
        let pattern = format!("/{DELIVERY}/*");
        self.system.succeeds(&["find", "/", "-xdev", "-name", "*portolan*", "-not", "-path", &pattern])
    }
}
