//! `portolan scan`: reads every netns once, evaluates the listeners with the agent's engine, shows the findings and exits.
//! Loads no kernel programs.

pub mod collect;
mod host_pods;
mod host_root;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_client::args::{FindingFilterArgs, Format};
use portolan_client::exit::Exit;
use portolan_client::fail_on::reaches;
use portolan_client::query::show::{self, FindingRows};
use portolan_engine::Engine;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::Listener;
use portolan_engine::model::options::{AnnotationSource, EngineOptions};
use portolan_report::escape::terminal;
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::json_list;
use portolan_report::junit::{self, Asked};
use portolan_report::table::Colour;
use portolan_report::wire::{Finding as WireFinding, Report};

use crate::agent::stage_options;
use crate::args::agent::ExceptionAnnotations;
use crate::args::local::ScanArgs;
use crate::config::{self, AgentConfig, ConfigError, MetadataSource};
use crate::outcome::{accept_closed_pipe, report};
use crate::scan::collect::Collected;
use crate::sink::convert::{AgentIdentity, Converter, Wall};
use crate::source::annotation_lint::AnnotationLint;
use crate::source::clock;
use crate::source::kernel::Capabilities;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::pods::file::Reading;
use crate::source::pods::{cri, file};

/// Size of the output buffer, in bytes: the capacity of a pipe.
const OUTPUT_BUFFER: usize = 64 * 1024;

/// Runs the scan, and returns its exit code.
#[must_use]
pub fn run(args: &ScanArgs) -> Exit {
    let missing = Capabilities::own().missing_to_enter();
    if !missing.is_empty() {
        return refused(&missing.join("; "));
    }
    let (cluster, sources) = match cluster_and_sources(args) {
        Ok(given) => given,
        Err(error) => return report(&error, Exit::WrongUse),
    };
    let (exceptions, annotations) = match args.config.as_deref().map(AgentConfig::exceptions_of).transpose() {
        Ok(read) => read.unwrap_or((Vec::new(), ExceptionAnnotations::Namespace)),
        Err(error) => return report(&error.to_string(), Exit::WrongUse),
    };
    let mut inputs = vec![Input::Exceptions(stage_options::rules(&exceptions))];
    let (from_sources, manifests) = match read_sources(&sources) {
        Ok(read) => read,
        Err(error) => return report(&error, Exit::WrongUse),
    };
    inputs.extend(from_sources);
    let mut options = stage_options::netns(netns_dirs(args), args.include_host, &sources);
    if args.host_root.is_some() {
        say(&host_root::missing_dirs(&options.dirs));
    }
    let host_pods = host_pods::host_pods(&inputs);
    if !host_pods.is_empty() && options.host == HostNetns::FactsOnly {
        // A manifest as `kubectl get -o yaml` writes it has the UID and the container ids that cgroups name.
        options.host = HostNetns::Listed;
    }
    let collected = match collect_from(&options, args.host_root.as_deref()) {
        Ok(collected) => collected,
        Err(error) => {
            return report(&format!("cannot look at the network namespaces: {error}"), Exit::Refused);
        }
    };
    if let Some(missing) = blindness(&collected) {
        return refused(&missing);
    }
    let is_amiss = say_what_is_amiss(&manifests, &collected);
    let Judged { mut findings, unproven, converter } =
        judge(&collected, inputs, stage_options::annotations(annotations), args, cluster);
    let all = findings.len();
    findings.retain(|finding| finding.state == FindingState::Open);
    let suppressed = all - findings.len();
    if suppressed > 0 {
        let count = suppressed;
        let _ = writeln!(io::stderr(), "portolan: {count} suppressed by exceptions are not shown");
    }
    let selector = args.filter.selector.clone().unwrap_or_default();
    let asked = (args.filter.namespace.as_deref(), &selector);
    let notes = [host_pods::note(&host_pods, asked, &options.proc_root), unproven_note(&unproven)];
    say(&notes.into_iter().flatten().collect::<Vec<_>>());
    match show(&findings, suppressed, &converter, &collected, args) {
        Ok(()) if is_amiss && args.strict => report("--strict: the manifests are not right", Exit::WrongUse),
        Ok(()) => exit_of(&findings, &collected, args),
        Err(error) => report(&error, Exit::Partial),
    }
}

/// Writes lines to stderr. If it is closed, there is nowhere left to say them.
fn say(lines: &[String]) {
    for line in lines {
        let _ = writeln!(io::stderr(), "portolan: {line}");
    }
}

/// Returns the name of the cluster and the sources of pods, or what is wrong with the options.
fn cluster_and_sources(args: &ScanArgs) -> Result<(Option<String>, Vec<MetadataSource>), String> {
    args.host_root.as_deref().map_or(Ok(()), host_root::check)?;
    let cluster = config::cluster_name(args.cluster_name.as_ref()).map_err(|error| error.to_string())?;
    let sources = metadata(args).map_err(|error| error.to_string())?;
    Ok((cluster, sources))
}

/// Returns the sources of pods.
fn metadata(args: &ScanArgs) -> Result<Vec<MetadataSource>, ConfigError> {
    let requested = config::metadata_sources(&args.metadata)?;
    Ok(match &args.host_root {
        Some(root) => host_root::sources(root, &requested),
        None => stage_options::metadata(&requested),
    })
}

/// Returns the directories with the names of netns, as this process sees them.
fn netns_dirs(args: &ScanArgs) -> Vec<PathBuf> {
    let dirs = config::netns_dirs(args.netns_dir.clone());
    match &args.host_root {
        Some(root) => dirs.iter().map(|dir| host_root::below(root, dir)).collect(),
        None => dirs,
    }
}

/// Reads every netns, and gives it the name that it has on the node.
fn collect_from(options: &NetnsOptions, host_root: Option<&Path>) -> io::Result<Collected> {
    let mut collected = collect::collect(options)?;
    if let Some(root) = host_root {
        host_root::rename(root, &mut collected);
    }
    Ok(collected)
}

/// Reads each source once. Returns its objects as inputs of the engine, and what manifests held.
fn read_sources(sources: &[MetadataSource]) -> Result<(Vec<Input>, Vec<Reading>), String> {
    let (mut inputs, mut readings) = (Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    for source in sources {
        match source {
            MetadataSource::File(path) => {
                let reading =
                    runtime.block_on(file::read_complete(path)).map_err(|error| error.to_string())?;
                inputs.extend(reading.objects.clone().inputs(None));
                readings.push(reading);
            }
            MetadataSource::Cri(socket) => {
                let pods = runtime.block_on(cri::read(socket.clone())).map_err(|error| error.to_string())?;
                inputs.push(Input::Pods { source: cri::SOURCE, pods });
            }
            MetadataSource::Kubernetes => {
                return Err("--metadata kubernetes: only the agent follows the API server; give scan cri, or a file=PATH such \
                            as the output of `kubectl get pods -A -o yaml`"
                    .to_owned());
            }
        }
    }
    Ok((inputs, readings))
}

/// Names on stderr what is wrong with the manifests; true if anything is.
fn say_what_is_amiss(manifests: &[Reading], collected: &Collected) -> bool {
    let paths = collected.netns.iter().flat_map(|(facts, _)| &facts.paths);
    let failed = collected.failed.iter().flat_map(|failed| &failed.candidate.paths);
    let existing: BTreeSet<&str> = paths.chain(failed).map(|path| path.as_ref()).collect();
    let mut lines = Vec::new();
    for reading in manifests {
        lines.extend(reading.faults.iter().map(|fault| format!("{fault}: left out")));
        lines.extend(reading.remarks.iter().cloned());
        lines.extend(file::missing_netns(&reading.objects, |netns| existing.contains(netns)));
        if reading.cuts > 0 {
            lines.push(format!("{} parts of objects exceed a limit: left out", reading.cuts));
        }
    }
    for line in &lines {
        let _ = writeln!(io::stderr(), "portolan: {line}");
    }
    !lines.is_empty()
}

fn refused(missing: &str) -> Exit {
    report(&format!("this node does not allow it: {missing}"), Exit::Refused)
}

/// Returns why no netns but the host's could be read, if so: a scan that read nothing must not report that all is well.
fn blindness(collected: &Collected) -> Option<String> {
    let reason = collected.failed.first().map(|failed| failed.reason.as_str())?;
    let sees_nothing = collected.netns.iter().all(|(facts, scan)| facts.is_host || scan.is_none());
    sees_nothing.then(|| {
        format!("no network namespace could be entered: {reason}; run as root (CAP_SYS_ADMIN enters them)")
    })
}

/// Result of the evaluation.
struct Judged {
    /// The findings that pass the filters, most severe first.
    findings: Vec<Arc<Finding>>,
    /// UDP ports that may be clients', of the pods that pass the filters: `NAMESPACE/POD PORT`, or the netns instead of the
    /// pod.
    unproven: Vec<String>,
    converter: Converter,
}

/// Returns the names that every object of the scan has.
fn identity(args: &ScanArgs, cluster: Option<String>) -> AgentIdentity {
    let named = args.node_name.as_deref().filter(|name| !name.is_empty());
    let node = named.map_or_else(|| rustix::system::uname().nodename().to_string_lossy().into(), Into::into);
    AgentIdentity { node, cluster: cluster.map(Into::into) }
}

/// Evaluates everything with the engine, without grace periods.
fn judge(
    collected: &Collected,
    inputs: Vec<Input>,
    exception_annotations: AnnotationSource,
    args: &ScanArgs,
    cluster: Option<String>,
) -> Judged {
    let started = clock::now();
    let mut engine = Engine::new(EngineOptions {
        grace: std::time::Duration::ZERO,
        stale_grace: std::time::Duration::ZERO,
        attribution_hold: std::time::Duration::ZERO,
        include_host: args.include_host,
        exception_annotations,
        // No program observes who spoke first.
        knows_direction: false,
        counts_traffic: false,
        ..EngineOptions::default()
    });
    let mut lint = AnnotationLint::default();
    for input in inputs {
        for remark in lint.remarks(&input) {
            let _ = writeln!(io::stderr(), "portolan: {remark}");
        }
        engine.apply(input, started);
    }
    for (facts, scan) in &collected.netns {
        engine.apply(Input::NetnsSeen { facts: facts.clone(), at: started }, started);
        if let Some(scan) = scan {
            engine.apply(Input::NetnsScanned(scan.clone()), started);
        }
    }
    let now = clock::now();
    engine.tick(now);
    let filter = filter(args);
    let converter = Converter {
        agent: identity(args, cluster),
        wall: Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
        now,
    };
    let mut findings: Vec<Arc<_>> = engine.findings().collect();
    findings.retain(|finding| filter.lets_through(&Facts::of_finding(finding)));
    findings.sort_by_cached_key(|finding| (std::cmp::Reverse(finding.code.severity()), finding.id.clone()));
    let listeners = engine.listeners().filter(|listener| listener.unproven);
    // A port without a finding has no code and no severity.
    let of_pods = Filter { code: Vec::default(), severity: Vec::default(), ..filter };
    let shown = listeners.filter(|listener| of_pods.lets_through(&Facts::of_listener(listener)));
    let unproven = shown.map(|listener| place(&listener)).collect();
    Judged { findings, unproven, converter }
}

/// Names a port for people.
fn place(listener: &Listener) -> String {
    let port = listener.port.port;
    match &listener.pod {
        Some(pod) => format!("{}/{} {port}", pod.namespace, pod.name),
        None => format!("netns {} {port}", listener.netns.name.as_deref().unwrap_or("?")),
    }
}

/// Maximum number of ports that the note names.
const NAMED_UNPROVEN: usize = 5;

/// Returns the note about UDP ports that may be clients'; `None` without such ports. One look cannot tell a client that
/// waits for an answer from a server that waits for a call.
fn unproven_note(unproven: &[String]) -> Option<String> {
    let (count, named) = (unproven.len(), unproven.get(..NAMED_UNPROVEN).unwrap_or(unproven));
    let more = if count > named.len() { ", …" } else { "" };
    (count > 0).then(|| {
        let named = named.join(", ");
        format!("{count} UDP ports may be clients' (unproven), and make no finding: {named}{more}")
    })
}

fn filter(args: &ScanArgs) -> Filter {
    let FindingFilterArgs { code, severity, .. } = &args.findings;
    Filter {
        namespace: args.filter.namespace.iter().cloned().collect(),
        labels: args.filter.selector.clone().unwrap_or_default(),
        code: code.clone(),
        severity: severity.iter().map(|severity| severity.as_str().to_owned()).collect(),
        ..Filter::default()
    }
}

fn show(
    findings: &[Arc<Finding>],
    suppressed: usize,
    converter: &Converter,
    collected: &Collected,
    args: &ScanArgs,
) -> Result<(), String> {
    let reports = findings.iter().map(|finding| converter.finding(finding));
    let Some(format) = args.output.of_lists() else {
        let asked = Asked {
            name: format!("node {}", terminal(&identity(args, None).node)),
            missing: partial(collected, Capabilities::own()),
        };
        let report = junit::findings(&reports.collect::<Vec<_>>(), &[asked], args.findings.fail_on);
        let outcome = report.and_then(|text| io::stdout().write_all(text.as_bytes()));
        return accept_closed_pipe(outcome).map_err(|error| error.to_string());
    };
    if format == Format::Json {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, File::from(stdout));
        let outcome = write_json(&mut out, reports).and_then(|()| out.flush());
        return accept_closed_pipe(outcome).map_err(|error| error.to_string());
    }
    let is_table = matches!(format, Format::Table | Format::Wide);
    let text = if is_table && findings.is_empty() {
        empty(collected, suppressed, args)
    } else {
        let colour = Colour::for_stdout(std::env::var_os("NO_COLOR").as_deref());
        let reports: Vec<_> = reports.collect();
        show::findings(&reports, format, &FindingRows::wanted(args.findings.pods), colour)
            .map_err(|error| error.to_string())?
    };
    accept_closed_pipe(io::stdout().write_all(text.as_bytes())).map_err(|error| error.to_string())
}

/// Writes findings as a list of the API, each with its `kind`, one by one.
///
/// # Errors
/// The error of `out`.
pub fn write_json(out: impl Write, findings: impl Iterator<Item = WireFinding> + Clone) -> io::Result<()> {
    json_list::list(out, findings.map(Report::Finding))
}

/// Exit code of a scan that was shown.
fn exit_of(findings: &[Arc<Finding>], collected: &Collected, args: &ScanArgs) -> Exit {
    let partial = partial(collected, Capabilities::own());
    let exit = match &partial {
        Some(reason) => report(&format!("the answer is partial: {reason}"), Exit::Partial),
        None => Exit::Fine,
    };
    let fail_on = args.findings.fail_on;
    let fails = |finding: &Arc<Finding>| reaches(finding.state.as_str(), finding.code.severity(), fail_on);
    // As in `portolan findings`, --fail-on decides the exit code even if the answer is partial.
    if findings.iter().any(fails) { Exit::FailOn } else { exit }
}

/// Returns what could not be read, if anything.
fn partial(collected: &Collected, own: Capabilities) -> Option<String> {
    let mut reasons: Vec<String> = Vec::new();
    if !collected.failed.is_empty() {
        let errors: BTreeSet<&str> = collected.failed.iter().map(|failed| failed.reason.as_str()).collect();
        let errors = errors.into_iter().collect::<Vec<_>>().join(", ");
        reasons.push(format!("{} namespaces could not be looked at: {errors}", collected.failed.len()));
    }
    if let Some(error) = &collected.walk_failure {
        reasons.push(format!("not every namespace was found: {error}"));
    }
    if collected.unreadable > 0 && !own.reads_processes() {
        let count = collected.unreadable;
        reasons
            .push(format!("the namespaces of {count} processes cannot be read: CAP_SYS_PTRACE is missing"));
    }
    if collected.unparsable > 0 {
        reasons.push(format!("{} sockets of the kernel's lists could not be read", collected.unparsable));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Text for a table without rows.
fn empty(collected: &Collected, suppressed: usize, args: &ScanArgs) -> String {
    let sockets: usize =
        collected.netns.iter().filter_map(|(_, scan)| Some(scan.as_ref()?.sockets.len())).sum();
    let netns = collected.netns.iter().filter(|(_, scan)| scan.is_some()).count();
    let narrowed = args.filter.namespace.is_some()
        || args.filter.selector.is_some()
        || !(args.findings.code.is_empty() && args.findings.severity.is_empty());
    let (none, differs) = match (narrowed, suppressed) {
        (true, _) => ("Nothing matches what was asked, of", String::new()),
        (false, 0) => ("No findings:", ", and none differs from its manifest".to_owned()),
        (false, count) => ("No open findings:", format!("; exceptions suppress {count}")),
    };
    format!(
        "{none} {sockets} listening sockets in {netns} network namespaces{differs}.\nOne look cannot see who calls, what is open for moments only, and which ephemeral UDP \
         ports serve: `portolan agent` does.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::collect::FailedNetns;

    #[test]
    fn unproven_ports_are_named_up_to_a_number() {
        assert_eq!(unproven_note(&[]), None);
        let ports: Vec<String> = (1..=6).map(|port| format!("shop/web {port}")).collect();
        let note = |count: usize| unproven_note(&ports[..count]).expect("a note");
        let one = note(1);
        assert!(one.starts_with("1 UDP ports") && one.ends_with(": shop/web 1"), "{one}");
        let six = note(6);
        assert!(six.starts_with("6 UDP ports") && six.ends_with("shop/web 5, …"), "{six}");
    }

    #[test]
    fn what_was_not_looked_at_is_said() {
        let mut collected = Collected::default();
        assert_eq!(partial(&collected, Capabilities::ALL), None);
        collected.unreadable = 3;
        assert_eq!(partial(&collected, Capabilities::ALL), None, "a security module hides some everywhere");
        let without = partial(&collected, Capabilities::NONE).expect("partial");
        assert!(without.contains("3 processes") && without.contains("CAP_SYS_PTRACE"), "{without}");
        collected.failed = vec![FailedNetns {
            inode: 1,
            candidate: crate::source::netns::candidates::Candidate::default(),
            reason: "denied".to_owned(),
        }];
        collected.walk_failure = Some("/proc: full".to_owned());
        collected.unparsable = 2;
        let all = partial(&collected, Capabilities::ALL).expect("partial");
        assert!(all.contains("1 namespaces") && all.contains("denied"), "{all}");
        assert!(all.contains("/proc: full") && all.contains("2 sockets"), "{all}");
        assert!(blindness(&collected).is_some(), "nothing could be looked at");
    }
}
