//! Checks of the system: kernel, capabilities, file systems, network namespaces.

use std::fs;
use std::path::Path;

use super::check::{Check, CheckResult, NeededBy, check, problem};
use crate::agent::stage_options;
use crate::config::MetadataSource;
use crate::finding_memory::directory;
use crate::source::confinement::Confinement;
use crate::source::kernel::{Capabilities, DetachedBpffs, Extent, root_cgroup};
use crate::source::netns::enter;
use crate::source::netns::{NetnsOptions, candidates};
use crate::source::node_access;
use crate::source::scan::listed_sockets;

/// Directory of the state file in the chart.
const STATE_DIRECTORY: &str = "/var/lib/portolan";

/// Runs the checks that only read the system: they load no program and change nothing.
#[must_use]
pub fn checks(options: &NetnsOptions) -> Vec<Check> {
    let mut checks =
        vec![check("kernel", NeededBy::Nothing, kernel()), check("user", NeededBy::Nothing, Ok(user()))];
    checks.extend(capabilities());
    checks.extend([
        check("cgroup2", NeededBy::Agent, cgroup2()),
        check(
            "BTF",
            NeededBy::Nothing,
            exists("/sys/kernel/btf/vmlinux", "use a kernel with CONFIG_DEBUG_INFO_BTF"),
        ),
        check("bpf file system", NeededBy::Agent, bpffs()),
        check("confinement", NeededBy::Nothing, Ok(Confinement::own().to_string())),
        check("lockdown", NeededBy::Nothing, lockdown()),
        check("netns cookies", NeededBy::Agent, cookies()),
        check("netns of process 1", NeededBy::Agent, process_one(options)),
        check("netns directories", NeededBy::Nothing, dirs(options)),
        check("sock_diag", NeededBy::Scan, sock_diag()),
        check("SCTP", NeededBy::Nothing, Ok(sctp())),
    ]);
    checks
}

/// Kernel release. Before 5.11 programs need locked memory; before 5.15 functions are missing.
fn kernel() -> CheckResult {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    match version(&release) {
        Some(version) if version < (5, 11) => Err(problem(
            release,
            "raise the locked memory limit (ulimit -l unlimited); 5.15 and newer have full function",
        )),
        Some(version) if version < (5, 15) => Err(problem(release, "5.15 and newer have full function")),
        _ => Ok(release),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The user, for information: only the capabilities matter.
fn user() -> String {
    let uid = rustix::process::geteuid();
    if uid.is_root() { "root".to_owned() } else { format!("uid {}", uid.as_raw()) }
}

fn capabilities() -> Vec<Check> {
    let row = |(name, is_there, what): (&str, bool, &str)| {
        let needed = if name == "CAP_SYS_ADMIN" { NeededBy::Scan } else { NeededBy::Agent };
        let missing = problem(format!("missing ({what})"), format!("add the capability {name}"));
        check(name, needed, if is_there { Ok("effective".to_owned()) } else { Err(missing) })
    };
    Capabilities::own().needed().map(row).collect()
}

fn cgroup2() -> CheckResult {
    let description = |extent: Extent| match extent {
        Extent::Machine => "its root is in sight".to_owned(),
        Extent::NodeInContainer => "this node is a container: its part of the tree is in sight".to_owned(),
    };
    root_cgroup().map(|root| description(root.extent)).map_err(|refusal| {
        problem(refusal.missing.join("; "), "the host's cgroup2 mount and hostPID show the root to a pod")
    })
}

fn exists(path: &str, fix: &str) -> CheckResult {
    if Path::new(path).exists() { Ok(path.to_owned()) } else { Err(problem(format!("no {path}"), fix)) }
}

fn bpffs() -> CheckResult {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.split_whitespace().any(|name| name == "bpf") {
        return Err(problem("not in this kernel", "use a kernel with CONFIG_BPF_SYSCALL"));
    }
    // If the capability is missing, its own row reports that.
    match DetachedBpffs::new() {
        Err(error) if Capabilities::own().missing_to_enter().is_empty() => {
            Err(problem(error.to_string(), Confinement::own().advice()))
        }
        _ => Ok("supported".to_owned()),
    }
}

fn lockdown() -> CheckResult {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
    if mode == "confidentiality" {
        Err(problem(mode, "programs may be refused: boot with lockdown=integrity or none"))
    } else {
        Ok(mode.to_owned())
    }
}

fn cookies() -> CheckResult {
    match enter::cookie() {
        Ok(Some(_)) => Ok("SO_NETNS_COOKIE".to_owned()),
        Ok(None) => {
            Err(problem("this kernel has none", "5.14 and newer have them; scans use inode numbers instead"))
        }
        Err(error) => Err(problem(error.to_string(), "allow making sockets")),
    }
}

fn process_one(options: &NetnsOptions) -> CheckResult {
    node_access::host_processes(&options.proc_root)
        .map_err(|missing| problem(missing, "in a pod set hostPID and add SYS_PTRACE"))?;
    match candidates::first_netns(&options.proc_root) {
        Ok((inode, _)) => Ok(format!("net:[{inode}], the host's")),
        Err(error) => Ok(format!("{error}: the agent's own is taken for the host's")),
    }
}

/// In a container, checks that the node's directories that the agent needs are mounted.
pub fn mounts(options: &NetnsOptions, sources: &[MetadataSource]) -> CheckResult {
    if !node_access::is_in_pod(&options.proc_root) {
        return Ok("on the node itself: all is there".to_owned());
    }
    let missing = node_access::missing_mounts(&stage_options::node_access(&options.dirs, sources));
    if missing.is_empty() {
        return Ok("in a container, with the mounts that it needs".to_owned());
    }
    Err(problem(missing.join("; "), "mount it as the chart does"))
}

/// Checks the directory that keeps findings over a restart; by default that of the chart, if it is there.
pub fn state_directory(given: Option<&Path>) -> CheckResult {
    let usual = Path::new(STATE_DIRECTORY);
    let Some(path) = given.or_else(|| Some(usual).filter(|usual| usual.is_dir())) else {
        return Ok("none: after a restart findings lose the severity that traffic gave them".to_owned());
    };
    let found = |error| format!("{}: {error}", path.display());
    directory::examine(path).map(|()| format!("{} is writable", path.display())).map_err(|error| {
        problem(found(error), "give the agent a directory of its own user, or set --state-dir=off")
    })
}

fn dirs(options: &NetnsOptions) -> CheckResult {
    let existing: Vec<String> =
        options.dirs.iter().filter(|dir| dir.is_dir()).map(|dir| dir.display().to_string()).collect();
    if existing.is_empty() {
        return Err(problem("none yet", "watched until they appear; in a pod mount the host's /run/netns"));
    }
    let nsfs = enter::HomeNetns::of_this_thread().map_or(0, |home| home.nsfs);
    candidates::named(&options.dirs, nsfs)
        .map(|named| format!("{}: {} netns", existing.join(", "), named.len()))
        .map_err(|error| problem(error.to_string(), "let the agent read it: nothing is taken for gone else"))
}

fn sock_diag() -> CheckResult {
    match listed_sockets() {
        Ok(list) => Ok(format!("TCP and UDP, {} sockets here", list.sockets.len())),
        Err(error) => Err(problem(error.to_string(), "load the modules inet_diag, tcp_diag and udp_diag")),
    }
}

fn sctp() -> String {
    let loaded = Path::new("/proc/thread-self/net/sctp").exists();
    if loaded { "loaded" } else { "not loaded: nothing can listen on it" }.to_owned()
}

#[cfg(test)]
mod tests {
    use portolan_testing::scratch::Scratch;

    use super::*;
    use crate::doctor::check::CheckState;

    #[test]
    fn the_kernels_texts_parse() {
        assert_eq!(version("5.10.0-28-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44"), Some((6, 18)));
        assert_eq!(version("x"), None);
    }

    #[test]
    fn a_state_directory_must_be_a_writable_directory_and_none_is_fine() {
        let scratch = Scratch::new("doctor");
        assert!(state_directory(Some(scratch.directory())).is_ok());
        for path in ["/proc/version", "/nowhere"] {
            let problem = state_directory(Some(Path::new(path))).expect_err("no state directory");
            assert!(problem.found.starts_with(path) && problem.fix.contains("--state-dir"), "{problem:?}");
        }
    }

    #[test]
    fn every_row_that_is_not_fine_says_what_to_do() {
        for check in checks(&NetnsOptions::default()) {
            assert_eq!(check.state == CheckState::Ok, check.fix.is_empty(), "{check:?}");
        }
    }
}
