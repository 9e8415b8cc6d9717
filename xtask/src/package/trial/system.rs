//! A running system: systemd as the first process of its own namespaces and cgroup, in the directory of a Debian system. It has
//! no network but loopback.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::stopwatch::Stopwatch;

/// Maximum time for what the tests wait for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Prefix of the cgroup's name.
const CGROUP: &str = "portolan-package";
/// Enters the cgroup `$1` and new namespaces, mounts what systemd expects in the directory `$2`, and starts it there.
const BOOT: &str = "set -eu
echo $$ > \"$1/cgroup.procs\"
exec unshare --mount --pid --fork --kill-child --ipc --uts --cgroup --net sh -euc '
mount --make-rprivate /
mount --bind \"$1\" \"$1\"
cd \"$1\"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
exec env -i container=portolan-test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --unit=basic.target \
  --log-target=console
' boot \"$2\"
";

/// Output of a finished program.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The system. All its processes end when dropped.
pub struct System {
    root: PathBuf,
    cgroup: PathBuf,
    supervisor: Child,
    /// Process id of systemd, outside.
    first: u32,
}

impl System {
    /// Starts systemd and waits until it has booted. `log` gets its console.
    ///
    /// # Errors
    /// If it cannot be started or does not boot.
    pub fn boot(root: &Path, log: &Path) -> Result<Self> {
        let cgroup = cgroup2()?.join(format!("{CGROUP}-{}", std::process::id()));
        std::fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        let console = File::create(log)?;
        let mut command = Command::new("sh");
        command.args(["-c", BOOT, "boot"]).arg(&cgroup).arg(root);
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        let supervisor = command.spawn().inspect_err(|_| remove(&cgroup))?;
        let mut system = Self { root: root.to_owned(), cgroup, supervisor, first: 0 };
        system.first = eventually("the first process", || system.child())?;
        eventually("the end of the boot", || system.booted())
            .with_context(|| format!("see {}", log.display()))?;
        Ok(system)
    }

    /// Returns the directory of the system, seen from outside. Its /run and /tmp are not there.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs a program in the system.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, words: &[&str]) -> Result<Ended> {
        let first = format!("/proc/{}", self.first);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--net"])
            .args([format!("--root={first}/root"), "--wd=/".to_owned(), "--".to_owned()])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        ended(&mut command)
    }

    /// Runs a program that must succeed. Returns its standard output.
    ///
    /// # Errors
    /// If it fails.
    pub fn succeeds(&self, words: &[&str]) -> Result<String> {
        let ended = self.run(words)?;
        ensure!(
            ended.code == 0,
            "{} ended with {}: {}{}",
            words.join(" "),
            ended.code,
            ended.stdout,
            ended.stderr
        );
        Ok(ended.stdout)
    }

    /// Connects a network namespace of /run/netns to the system by a pair of interfaces with these addresses. The programs are the
    /// outer machine's, because the system has none for this.
    ///
    /// # Errors
    /// If the kernel does not allow it.
    pub fn connect(&self, netns: &str, outside: &str, inside: &str) -> Result<()> {
        let system = format!("/proc/{}/ns/net", self.first);
        let netns = format!("/proc/{}/root/run/netns/{netns}", self.first);
        let first = self.first.to_string();
        let pair = ["link", "add", "eth0", "type", "veth", "peer", "name", "probe0", "netns", &first];
        for (netns, words) in [
            (&netns, &pair[..]),
            (&netns, &["address", "add", inside, "dev", "eth0"]),
            (&netns, &["link", "set", "eth0", "up"]),
            (&system, &["address", "add", outside, "dev", "probe0"]),
            (&system, &["link", "set", "probe0", "up"]),
        ] {
            let ended = ended(Command::new("nsenter").arg(format!("--net={netns}")).arg("ip").args(words))?;
            ensure!(ended.code == 0, "ip {}: {}", words.join(" "), ended.stderr);
        }
        Ok(())
    }

    /// Returns the child of unshare, once it runs systemd.
    fn child(&self) -> Result<Option<u32>> {
        let unshare = self.supervisor.id();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))
            .context("the system ended early")?;
        let Some(first) = children.split_whitespace().next() else { return Ok(None) };
        let name = std::fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
        Ok(if name.trim() == "systemd" { Some(first.parse()?) } else { None })
    }

    fn booted(&self) -> Result<Option<()>> {
        let state = self.run(&["systemctl", "is-system-running", "--wait"])?;
        Ok(matches!(state.stdout.trim(), "running" | "degraded").then_some(()))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // unshare takes systemd with it, and with systemd its process namespace ends.
        if let Err(error) = self.supervisor.kill().and_then(|()| self.supervisor.wait().map(drop)) {
            eprintln!("the system cannot be ended: {error}");
        }
        remove(&self.cgroup);
    }
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started.
pub fn ended(command: &mut Command) -> Result<Ended> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Ended { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Asks again until there is an answer.
///
/// # Errors
/// If asking fails, or there is no answer in time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let since = Stopwatch::start();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if since.elapsed() > PATIENCE {
            bail!("no sign of {what} after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns where cgroup2 is mounted.
fn cgroup2() -> Result<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = table.lines().find(|line| line.contains(" - cgroup2 "));
    let point = line.and_then(|line| line.split(' ').nth(4)).context("cgroup2 is not mounted")?;
    Ok(PathBuf::from(point))
}

/// Removes a cgroup with all below, once its processes have ended.
fn remove(cgroup: &Path) {
    let removed = eventually("an empty cgroup", || {
        remove_below(cgroup);
        Ok((!cgroup.exists()).then_some(()))
    });
    if let Err(error) = removed {
        eprintln!("{} is left: {error:#}", cgroup.display());
    }
}

fn remove_below(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // Fails while it has processes; the caller tries again.
    let _ = std::fs::remove_dir(cgroup);
}
