//! Debian's kernels for virtual machines: found in the package lists, downloaded and unpacked once below target/vm. The
//! machine's own apt lists are not changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

/// Expected behaviour of the agent on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Everything works.
    Full,
    /// The agent ends with exit code 4, and scans work.
    Refusal,
}

/// A series of kernels, of which the newest is booted.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub name: &'static str,
    /// Prefix of its releases. Empty: any release.
    release: &'static str,
    /// Additional words of the kernel's command line.
    pub options: &'static str,
    pub expect: Expect,
}

impl Line {
    const fn new(name: &'static str, release: &'static str, options: &'static str, expect: Expect) -> Self {
        Self { name, release, options, expect }
    }

    /// Returns the directory of the unpacked kernel.
    fn unpacked_to(self, directory: &Path) -> PathBuf {
        let release = self.release.trim_end_matches('.');
        directory.join("kernels").join(if release.is_empty() { "newest" } else { release })
    }
}

/// All series, oldest first.
pub const LINES: [Line; 5] = [
    Line::new("5.10", "5.10.", "", Expect::Refusal),
    Line::new("6.1", "6.1.", "", Expect::Full),
    Line::new("6.12", "6.12.", "", Expect::Full),
    // As with secure boot: nothing can read the kernel's memory, BPF programs included.
    Line::new("6.12-locked-down", "6.12.", "lockdown=confidentiality", Expect::Full),
    Line::new("newest", "", "", Expect::Full),
];

/// Suites that contain these series, and whether they are on the mirror of security updates.
const SUITES: [(&str, bool); 6] = [
    ("bullseye", false),
    ("bullseye-security", true),
    ("bookworm", false),
    ("bookworm-security", true),
    ("bookworm-backports", false),
    ("sid", false),
];
/// Debian's kernels for virtual machines.
const FLAVOUR: &str = "-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Maximum number of releases of a series that are tried: a list may name packages that the mirror has removed.
const TRIES: usize = 3;

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub image: PathBuf,
    pub modules: PathBuf,
    pub release: String,
}

/// Returns what prevents downloading kernels. `None`: nothing.
pub fn obstacle() -> Option<String> {
    let missing = ["apt-get", "apt-cache", "dpkg-deb"].into_iter().find(|program| !step::in_path(program));
    if let Some(program) = missing {
        return Some(format!("needs Debian's kernel packages, and this machine has no {program}"));
    }
    (!Path::new(KEYRING).exists())
        .then(|| format!("needs Debian's keys, {KEYRING}: install debian-archive-keyring"))
}

/// Returns the kernel of every series, downloading missing ones.
///
/// # Errors
/// If the package lists cannot be downloaded. The error of a single series is in its entry.
pub fn fetch(directory: &Path) -> Result<Vec<(Line, Result<Kernel>)>> {
    let there = |line: &Line| unpacked(&line.unpacked_to(directory)).ok();
    let lists = if LINES.iter().all(|line| there(line).is_some()) {
        None
    } else {
        Some(Lists::update(&directory.join("apt"))?)
    };
    let fetched = LINES.into_iter().map(|line| {
        let kernel = match (there(&line), &lists) {
            (Some(kernel), _) => Ok(kernel),
            (None, Some(lists)) => lists.install(line, &line.unpacked_to(directory)),
            (None, None) => Err(anyhow::anyhow!("it has gone")),
        };
        (line, kernel)
    });
    Ok(fetched.collect())
}

/// Package lists in a directory of this project.
struct Lists {
    directory: PathBuf,
    /// Names of all kernel packages.
    packages: BTreeSet<String>,
    /// All series, oldest first.
    releases: Vec<String>,
}

impl Lists {
    fn update(directory: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let (main, security) = mirrors()?;
        let sources: String = SUITES
            .iter()
            .map(|(suite, is_security)| {
                let mirror = if *is_security { &security } else { &main };
                format!("deb [signed-by={KEYRING} check-valid-until=no] {mirror} {suite} main\n")
            })
            .collect();
        std::fs::write(directory.join("sources.list"), sources)?;
        let mut lists =
            Self { directory: directory.to_owned(), packages: BTreeSet::new(), releases: Vec::new() };
        step::run("reading the lists of kernel packages", lists.apt("apt-get").arg("update"))?;
        let names = step::output(lists.apt("apt-cache").args(["pkgnames", "linux-"]))
            .context("apt-cache knows no kernels")?;
        lists.packages = names.lines().map(str::to_owned).collect();
        lists.releases = names.lines().filter_map(release_of).map(str::to_owned).collect();
        lists.releases.sort_by_key(|release| numbers(release));
        lists.releases.dedup();
        Ok(lists)
    }

    fn apt(&self, program: &str) -> Command {
        let at = |part: &str| self.directory.join(part).display().to_string();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// Installs the newest release of the series that can be downloaded.
    fn install(&self, line: Line, target: &Path) -> Result<Kernel> {
        let mut last = anyhow::anyhow!("no package of the line {} in the lists", line.name);
        let fitting = self.releases.iter().rev().filter(|release| release.starts_with(line.release));
        for release in fitting.take(TRIES) {
            for packages in packagings(release) {
                if !packages.iter().all(|package| self.packages.contains(package)) {
                    continue;
                }
                match self.download(&packages, target) {
                    Ok(kernel) => return Ok(kernel),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    fn download(&self, packages: &[String], target: &Path) -> Result<Kernel> {
        let parcels = self.directory.join("parcels");
        let fresh = self.directory.join("unpacked");
        for directory in [&parcels, &fresh, &target.to_owned()] {
            if directory.exists() {
                std::fs::remove_dir_all(directory)?;
            }
        }
        std::fs::create_dir_all(&parcels)?;
        let what = packages.join(" and ");
        let mut download = self.apt("apt-get");
        download.arg("download").args(packages).current_dir(&parcels);
        step::run(&format!("fetching {what}"), &mut download)?;
        for deb in std::fs::read_dir(&parcels)?.flatten() {
            step::run(
                &format!("unpacking {}", deb.file_name().display()),
                Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&fresh),
            )?;
        }
        unpacked(&fresh)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::rename(&fresh, target)?;
        std::fs::remove_dir_all(&parcels)?;
        unpacked(target)
    }
}

/// Returns the possible packages of one kernel: two packages for recent releases, one for older ones.
fn packagings(release: &str) -> [Vec<String>; 3] {
    [
        vec![format!("linux-binary-{release}{FLAVOUR}"), format!("linux-modules-{release}{FLAVOUR}")],
        vec![format!("linux-image-{release}{FLAVOUR}")],
        vec![format!("linux-image-{release}{FLAVOUR}-unsigned")],
    ]
}

/// Finds the kernel in unpacked packages.
fn unpacked(directory: &Path) -> Result<Kernel> {
    for parent in ["lib/modules", "usr/lib/modules"] {
        for entry in std::fs::read_dir(directory.join(parent)).into_iter().flatten().flatten() {
            let release = entry.file_name().to_string_lossy().into_owned();
            let places =
                [directory.join("boot").join(format!("vmlinuz-{release}")), entry.path().join("vmlinuz")];
            if let Some(image) = places.into_iter().find(|place| place.is_file()) {
                return Ok(Kernel { image, modules: entry.path(), release });
            }
        }
    }
    bail!("{} has no kernel with its modules", directory.display())
}

/// Returns the mirrors of this machine's packages: the main one and the one for security updates.
fn mirrors() -> Result<(String, String)> {
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = system
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no release of Debian")?
        .trim_matches('"');
    let targets =
        step::output(Command::new("apt-get").args(["indextargets", "--format", "$(CODENAME) $(REPO_URI)"]))
            .context("apt-get does not say where this machine's packages come from")?;
    let of = |wanted: &str| {
        let mut pairs = targets.lines().filter_map(|line| line.split_once(' '));
        pairs.find(|(codename, _)| *codename == wanted).map(|(_, mirror)| mirror.to_owned())
    };
    let main = of(codename).with_context(|| format!("no mirror of {codename}: run `apt-get update`"))?;
    let security = of(&format!("{codename}-security")).unwrap_or_else(|| main.clone());
    Ok((main, security))
}

/// Returns the release in a package name: `6.1.0-49` for `linux-image-6.1.0-49-cloud-amd64`, signed or not.
fn release_of(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    let release = release.strip_suffix("-unsigned").unwrap_or(release).strip_suffix(FLAVOUR)?;
    // Only two numbers: a package that depends on the newest release.
    let is_one = release.starts_with(|first: char| first.is_ascii_digit()) && numbers(release).len() > 2;
    is_one.then_some(release)
}

/// Returns the numbers in a release, as a sort key: 46 after 9.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_releases_by_their_numbers() {
        let mut releases = ["6.1.0-9", "6.12.94+deb12", "5.10.0-46", "6.1.0-49", "7.2.3+deb14"];
        releases.sort_by_key(|release| numbers(release));
        assert_eq!(releases, ["5.10.0-46", "6.1.0-9", "6.1.0-49", "6.12.94+deb12", "7.2.3+deb14"]);
    }

    #[test]
    fn knows_kernels_for_small_machines() {
        assert_eq!(release_of("linux-image-6.1.0-49-cloud-amd64"), Some("6.1.0-49"));
        assert_eq!(release_of("linux-image-7.2.3+deb14-cloud-amd64-unsigned"), Some("7.2.3+deb14"));
        assert_eq!(release_of("linux-image-6.12-cloud-amd64"), None);
        assert_eq!(release_of("linux-image-cloud-amd64"), None);
        assert_eq!(release_of("linux-image-6.1.0-49-amd64"), None);
        assert_eq!(release_of("linux-image-6.1.0-49-cloud-amd64-dbg"), None);
    }
}
