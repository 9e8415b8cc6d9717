//! What this node lets us do: one row per check, with what was found and what to do. Facts of the system only; whether
//! programs load is found out by loading them, and comes in as rows of the caller.

pub mod sources;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use portolan_client::exit::Exit;
use portolan_report::escape::terminal;
use serde::Serialize;

use crate::agent::stage_options;
use crate::args::{DoctorArgs, DoctorFormat};
use crate::command::written;
use crate::config::{self, MetadataSource};
use crate::kubernetes_api::fault::ApiFault;
use crate::source::confinement::Confinement;
use crate::source::kernel::{
    Capabilities, DetachedBpffs, Extent, KernelHooks, KernelLogLevel, KernelOptions, NetnsPrograms,
    TrafficLevel, root_cgroup,
};
use crate::source::kubernetes::access_check::{self, AccessCheck};
use crate::source::netns::enter;
use crate::source::netns::look::{Interface, LinkHeader};
use crate::source::netns::{NetnsOptions, candidates};
use crate::source::node_access;
use crate::source::scan::listed_sockets;
use crate::source::state::{Hook, State, StateFeed};

/// Of a line of the table.
const COLUMNS: u16 = 100;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    Ok,
    Warn,
    Fail,
}

/// What a failed check takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Nothing works without it.
    ByScan,
    /// Only the scan works without it.
    ByAgent,
    /// Everything works without it.
    ByNothing,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub state: CheckState,
    pub found: String,
    /// What to do; empty when nothing is to be done.
    pub fix: String,
    #[serde(skip)]
    pub needed: Needed,
}

/// What can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    Agent,
    ScanOnly,
    Nothing,
}

impl Ability {
    /// One sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Agent => "this node can run the agent",
            Self::ScanOnly => "this node can run `portolan scan` only",
            Self::Nothing => "this node can run neither the agent nor a scan",
        }
    }
}

/// All rows, and what they add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    pub ability: Ability,
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// Adds the rows up.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let fails =
            |needed| checks.iter().any(|check| check.state == CheckState::Fail && check.needed == needed);
        let ability = match (fails(Needed::ByScan), fails(Needed::ByAgent)) {
            (true, _) => Ability::Nothing,
            (false, true) => Ability::ScanOnly,
            (false, false) => Ability::Agent,
        };
        Self { ability, checks }
    }

    /// A table for people, at most [`COLUMNS`] wide: what to do stands beneath what was found.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
            .set_width(COLUMNS)
            .set_header(["CHECK", "STATE", "FOUND, AND WHAT TO DO"]);
        for (column, is_last) in table.column_iter_mut().zip([false, false, true]) {
            column.set_padding((0, if is_last { 0 } else { 2 }));
            if !is_last {
                column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
            }
        }
        for check in &self.checks {
            let state = match check.state {
                CheckState::Ok => "ok",
                CheckState::Warn => "warn",
                CheckState::Fail => "FAIL",
            };
            let found = terminal(&check.found);
            let words =
                if check.fix.is_empty() { found } else { format!("{found}\n→ {}", terminal(&check.fix)) };
            table.add_row([check.name.as_str(), state, words.as_str()]);
        }
        format!("{}\n\n{}", table.trim_fmt(), self.ability.sentence())
    }
}

/// A row: fine with `Ok(found)`, else `Err((found, fix))`, which fails what needs it, or warns if nothing does.
#[must_use]
pub fn check(name: &str, needed: Needed, result: Result<String, (String, String)>) -> Check {
    let bad = if needed == Needed::ByNothing { CheckState::Warn } else { CheckState::Fail };
    let (state, found, fix) = match result {
        Ok(found) => (CheckState::Ok, found, String::new()),
        Err((found, fix)) => (bad, found, fix),
    };
    Check { name: name.to_owned(), state, found, fix, needed }
}

/// `portolan doctor`: the system's checks, and the programs loaded for real.
#[must_use]
pub fn run(args: &DoctorArgs) -> Exit {
    let asked = config::metadata_sources(&args.metadata).unwrap_or_default();
    let sources = stage_options::metadata(&asked);
    let options = stage_options::netns(config::netns_dirs(Vec::new()), false, &sources);
    let mut checks = system_checks(&options);
    checks.push(check("mounts", Needed::ByAgent, mounts(&options, &sources)));
    checks.extend(hook_checks());
    checks.extend(sources::checks(&args.metadata));
    checks.extend(api_server_checks(args.kubeconfig.clone()));
    let diagnosis = Diagnosis::of(checks);
    let text = match args.output {
        DoctorFormat::Table => diagnosis.table() + "\n",
        DoctorFormat::Json => serde_json::to_string_pretty(&diagnosis).unwrap_or_default() + "\n",
        DoctorFormat::Yaml => serde_saphyr::to_string(&diagnosis).unwrap_or_default(),
    };
    let exit = written(io::stdout().write_all(text.as_bytes()));
    if diagnosis.ability == Ability::Agent { exit } else { Exit::Refused }
}

/// Loads every hook, attaches those of the root cgroup, and takes them away again.
fn hook_checks() -> Vec<Check> {
    let options = KernelOptions {
        traffic: TrafficLevel::Full,
        max_listeners: 64,
        max_peers: 64,
        listener_ring_bytes: 4096,
        connection_ring_bytes: 4096,
        records_per_second: 1,
        log: KernelLogLevel::Off,
    };
    let feed = StateFeed::default();
    match KernelHooks::load(&options, &feed) {
        Ok((_hooks, programs)) => {
            let tried = try_in_new_netns(programs);
            feed.subscribe().borrow().hooks().map(|(hook, state)| hook_check(hook, state, &tried)).collect()
        }
        Err(refusal) => {
            let found = refusal.missing.join("; ");
            let fix = "`portolan scan` and `portolan agent --scan-only` work without".to_owned();
            vec![check("kernel programs", Needed::ByAgent, Err((found, fix)))]
        }
    }
}

fn hook_check(hook: Hook, state: &State, tried: &io::Result<()>) -> Check {
    let stand_in = "the scan stands in for this hook; slower to notice".to_owned();
    let result = match (state.reason(), tried) {
        (Some(reason), _) => Err((reason.to_owned(), stand_in)),
        (None, Err(error)) if *state == State::Starting => {
            Err((format!("loads; cannot be tried in a netns of its own: {error}"), stand_in))
        }
        (None, _) => Ok("loads and attaches".to_owned()),
    };
    check(&format!("hook {}", hook.as_str()), Needed::ByNothing, result)
}

/// Attaches those of a netns in one that ends with this, to its loopback.
fn try_in_new_netns(mut programs: NetnsPrograms) -> io::Result<()> {
    let attach = move || {
        enter::leave_for_a_new_netns()?;
        let home = enter::Home::of_this_thread()?;
        let loopback = Interface { index: 1, name: "lo".to_owned(), link_header: LinkHeader::Ethernet };
        let netns = enter::identity(home.inode)?;
        programs.begin(netns, &[loopback]);
        while programs.attach_next(netns) {}
        Ok(())
    };
    let thread = std::thread::Builder::new().name("doctor".to_owned()).spawn(attach)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// What the API server lets us see, by asking for it.
fn api_server_checks(kubeconfig: Option<PathBuf>) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checks = match runtime {
        Ok(runtime) => runtime.block_on(access_check::check_all(kubeconfig)),
        Err(error) => {
            let result = Err(problem(error.to_string(), "see the rows above"));
            return vec![check("API server", Needed::ByNothing, result)];
        }
    };
    let Some(checks) = checks else {
        let found = "not in a pod, and no kubeconfig: not asked".to_owned();
        return vec![check("API server", Needed::ByNothing, Ok(found))];
    };
    let row = |access: AccessCheck| {
        let name = format!("API server: {}", access.resource);
        let result = access.result.map(|()| "may list and watch".to_owned());
        check(&name, Needed::ByNothing, result.map_err(|fault| problem(fault.to_string(), fix_of(&fault))))
    };
    checks.into_iter().map(row).collect()
}

fn fix_of(fault: &ApiFault) -> &'static str {
    match fault {
        ApiFault::Refused { code: 403, .. } => {
            "allow the service account to list and watch it in all namespaces"
        }
        ApiFault::Refused { code: 401, .. } | ApiFault::Credentials { .. } => {
            "give credentials that the server accepts"
        }
        _ => "see that the server can be reached from here; until then these facts are unknown",
    }
}

/// The checks that read the system; load no program and change nothing.
#[must_use]
pub fn system_checks(options: &NetnsOptions) -> Vec<Check> {
    let mut checks =
        vec![check("kernel", Needed::ByNothing, kernel()), check("user", Needed::ByNothing, Ok(user()))];
    checks.extend(capabilities());
    checks.extend([
        check("cgroup2", Needed::ByAgent, cgroup2()),
        check(
            "BTF",
            Needed::ByNothing,
            exists("/sys/kernel/btf/vmlinux", "use a kernel with CONFIG_DEBUG_INFO_BTF"),
        ),
        check("bpf file system", Needed::ByAgent, bpffs()),
        check("confinement", Needed::ByNothing, Ok(Confinement::own().to_string())),
        check("lockdown", Needed::ByNothing, lockdown()),
        check("netns cookies", Needed::ByAgent, cookies()),
        check("netns of process 1", Needed::ByAgent, process_one(options)),
        check("netns directories", Needed::ByNothing, dirs(options)),
        check("sock_diag", Needed::ByScan, sock_diag()),
        check("SCTP", Needed::ByNothing, Ok(sctp())),
    ]);
    checks
}

fn problem(found: impl Into<String>, fix: impl Into<String>) -> (String, String) {
    (found.into(), fix.into())
}

/// Release, with the advice for kernels that need locked memory or have no full function.
fn kernel() -> Result<String, (String, String)> {
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

/// What counts are the capabilities.
fn user() -> String {
    let uid = rustix::process::geteuid();
    if uid.is_root() { "root".to_owned() } else { format!("uid {}", uid.as_raw()) }
}

fn capabilities() -> Vec<Check> {
    let row = |(name, is_there, what): (&str, bool, &str)| {
        let needed = if name == "CAP_SYS_ADMIN" { Needed::ByScan } else { Needed::ByAgent };
        let missing = problem(format!("missing ({what})"), format!("add the capability {name}"));
        check(name, needed, if is_there { Ok("effective".to_owned()) } else { Err(missing) })
    };
    Capabilities::own().needed().map(row).collect()
}

fn cgroup2() -> Result<String, (String, String)> {
    let seen = |extent: Extent| match extent {
        Extent::Machine => "its root is in sight".to_owned(),
        Extent::NodeInContainer => "this node is a container: its part of the tree is in sight".to_owned(),
    };
    root_cgroup().map(|root| seen(root.extent)).map_err(|refusal| {
        problem(refusal.missing.join("; "), "the host's cgroup2 mount and hostPID show the root to a pod")
    })
}

fn exists(path: &str, fix: &str) -> Result<String, (String, String)> {
    if Path::new(path).exists() { Ok(path.to_owned()) } else { Err(problem(format!("no {path}"), fix)) }
}

fn bpffs() -> Result<String, (String, String)> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.split_whitespace().any(|name| name == "bpf") {
        return Err(problem("not in this kernel", "use a kernel with CONFIG_BPF_SYSCALL"));
    }
    // Without the capability its own row says so.
    match DetachedBpffs::new() {
        Err(error) if Capabilities::own().missing_to_enter().is_empty() => {
            Err(problem(error.to_string(), Confinement::own().advice()))
        }
        _ => Ok("supported".to_owned()),
    }
}

fn lockdown() -> Result<String, (String, String)> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
    if mode == "confidentiality" {
        Err(problem(mode, "programs may be refused: boot with lockdown=integrity or none"))
    } else {
        Ok(mode.to_owned())
    }
}

fn cookies() -> Result<String, (String, String)> {
    match enter::cookie() {
        Ok(Some(_)) => Ok("SO_NETNS_COOKIE".to_owned()),
        Ok(None) => {
            Err(problem("this kernel has none", "5.14 and newer have them; scans use inode numbers instead"))
        }
        Err(error) => Err(problem(error.to_string(), "allow making sockets")),
    }
}

fn process_one(options: &NetnsOptions) -> Result<String, (String, String)> {
    node_access::host_processes(&options.proc_root)
        .map_err(|missing| problem(missing, "in a pod set hostPID and add SYS_PTRACE"))?;
    match candidates::first_netns(&options.proc_root) {
        Ok((inode, _)) => Ok(format!("net:[{inode}], the host's")),
        Err(error) => Ok(format!("{error}: the agent's own is taken for the host's")),
    }
}

fn mounts(options: &NetnsOptions, sources: &[MetadataSource]) -> Result<String, (String, String)> {
    if !node_access::is_in_pod(&options.proc_root) {
        return Ok("on the node itself: all is there".to_owned());
    }
    let missing = node_access::missing_mounts(&stage_options::node_access(&options.dirs, sources));
    if missing.is_empty() {
        return Ok("in a container, with the mounts that it needs".to_owned());
    }
    Err(problem(missing.join("; "), "mount it as the chart does"))
}

fn dirs(options: &NetnsOptions) -> Result<String, (String, String)> {
    let there: Vec<String> =
        options.dirs.iter().filter(|dir| dir.is_dir()).map(|dir| dir.display().to_string()).collect();
    if there.is_empty() {
        return Err(problem("none yet", "watched until they appear; in a pod mount the host's /run/netns"));
    }
    let nsfs = enter::Home::of_this_thread().map_or(0, |home| home.nsfs);
    candidates::named(&options.dirs, nsfs)
        .map(|named| format!("{}: {} netns", there.join(", "), named.len()))
        .map_err(|error| problem(error.to_string(), "let the agent read it: nothing is taken for gone else"))
}

fn sock_diag() -> Result<String, (String, String)> {
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
    use super::*;

    #[test]
    fn failures_add_up_to_what_can_be_run() {
        let fail = |needed| check("x", needed, Err(problem("bad", "fix it")));
        assert_eq!(Diagnosis::of(vec![fail(Needed::ByNothing)]).ability, Ability::Agent);
        assert_eq!(Diagnosis::of(vec![fail(Needed::ByAgent)]).ability, Ability::ScanOnly);
        assert_eq!(
            Diagnosis::of(vec![fail(Needed::ByAgent), fail(Needed::ByScan)]).ability,
            Ability::Nothing
        );
        let table = Diagnosis::of(vec![fail(Needed::ByAgent)]).table();
        assert!(table.contains("fix it") && table.contains("FAIL") && table.contains("scan"), "{table}");
    }

    #[test]
    fn the_table_fits_a_hundred_columns_and_advice_stands_beneath_what_was_found() {
        let long = |word: &str| vec![word; 60].join(" ");
        let row = check("a check with a long name", Needed::ByAgent, Err(problem(long("found"), long("do"))));
        let table = Diagnosis::of(vec![row, check("b", Needed::ByNothing, Ok(String::new()))]).table();
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(COLUMNS)), "{table}");
        assert_eq!(table.matches("found").count(), 60, "{table}");
        let arrow = table.lines().position(|line| line.contains("→ do")).expect("advice");
        assert!(arrow > 3 && table.lines().nth(arrow).is_some_and(|line| line.starts_with("   ")), "{table}");
        assert!(table.lines().any(|line| line.starts_with("b ")), "also one without words: {table}");
    }

    #[test]
    fn the_kernels_texts_parse() {
        assert_eq!(version("5.10.0-28-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44"), Some((6, 18)));
        assert_eq!(version("x"), None);
    }

    #[test]
    fn every_row_that_is_not_fine_says_what_to_do() {
        for check in system_checks(&NetnsOptions::default()) {
            assert_eq!(check.state == CheckState::Ok, check.fix.is_empty(), "{check:?}");
        }
    }
}
