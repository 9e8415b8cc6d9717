//! `portolan scan`: reads every netns once, evaluates the listeners with the agent's engine, shows the findings and exits.
//! Loads no kernel programs.

pub mod collect;
mod host_pods;
mod host_root;
mod judge;
mod list_output;
mod reading;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use portolan_client::args::Format;
use portolan_client::exit::Exit;
use portolan_client::fail_on::reaches;
use portolan_client::query::show::{self, FindingRows};
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_report::escape::terminal;
use portolan_report::junit::{self, Asked};
use portolan_report::table::Colour;

use crate::agent::stage_options;
use crate::args::agent::ExceptionAnnotations;
use crate::args::local::ScanArgs;
use crate::config::{self, AgentConfig, ConfigError, MetadataSource};
use crate::outcome::{accept_closed_pipe, report};
use crate::scan::collect::Gaps;
use crate::scan::judge::{Judge, Judged};
use crate::scan::reading::NodeReading;
use crate::sink::convert::{AgentIdentity, Converter};
use crate::source::kernel::Capabilities;
use crate::source::pods::file;

pub use list_output::write_json;

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
    let rules = stage_options::rules(&exceptions);
    let mut judge = Judge::new(args.include_host, stage_options::annotations(annotations), rules);
    let options = stage_options::netns(netns_dirs(args), args.include_host, &sources);
    let reading = match reading::read(&options, args.host_root.as_deref(), &sources, &mut judge) {
        Ok(reading) => reading,
        Err(exit) => return exit,
    };
    if let Some(missing) = blindness(&reading) {
        return refused(&missing);
    }
    let is_amiss = say_what_is_amiss(&reading);
    say(&reading.remarks);
    let Judged { mut findings, unproven, converter } = judge.judged(args, identity(args, cluster));
    let all = findings.len();
    findings.retain(|finding| finding.state == FindingState::Open);
    let suppressed = all - findings.len();
    if suppressed > 0 {
        let count = suppressed;
        let _ = writeln!(io::stderr(), "portolan: {count} suppressed by exceptions are not shown");
    }
    let selector = args.filter.selector.clone().unwrap_or_default();
    let asked = (args.filter.namespace.as_deref(), &selector);
    let notes = [host_pods::note(&reading.host_pods, asked, &options.proc_root), unproven_note(&unproven)];
    say(&notes.into_iter().flatten().collect::<Vec<_>>());
    match show(&findings, suppressed, &converter, &reading, args) {
        Ok(()) if is_amiss && args.strict => report("--strict: the manifests are not right", Exit::WrongUse),
        Ok(()) => exit_of(&findings, &reading.gaps, args),
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

/// Names on stderr what is wrong with the manifests; true if anything is.
fn say_what_is_amiss(reading: &NodeReading) -> bool {
    let paths = reading.netns.iter().flat_map(|(facts, _)| &facts.paths);
    let failed = reading.gaps.failed.iter().flat_map(|failed| &failed.candidate.paths);
    let existing: BTreeSet<&str> = paths.chain(failed).map(|path| path.as_ref()).collect();
    let mut lines = Vec::new();
    for manifests in &reading.manifests {
        lines.extend(manifests.faults.iter().map(|fault| format!("{fault}: left out")));
        lines.extend(manifests.remarks.iter().cloned());
        lines.extend(file::missing_netns(&manifests.objects, |netns| existing.contains(netns)));
        if manifests.cuts > 0 {
            lines.push(format!("{} parts of objects exceed a limit: left out", manifests.cuts));
        }
    }
    say(&lines);
    !lines.is_empty()
}

fn refused(missing: &str) -> Exit {
    report(&format!("this node does not allow it: {missing}"), Exit::Refused)
}

/// Returns why no netns but the host's could be read, if so: a scan that read nothing must not report that all is well.
fn blindness(reading: &NodeReading) -> Option<String> {
    let reason = reading.gaps.failed.first().map(|failed| failed.reason.as_str())?;
    let sees_nothing = reading.netns.iter().all(|(facts, sockets)| facts.is_host || sockets.is_none());
    sees_nothing.then(|| {
        format!("no network namespace could be entered: {reason}; run as root (CAP_SYS_ADMIN enters them)")
    })
}

/// Returns the names that every object of the scan has.
fn identity(args: &ScanArgs, cluster: Option<String>) -> AgentIdentity {
    let named = args.node_name.as_deref().filter(|name| !name.is_empty());
    let node = named.map_or_else(|| rustix::system::uname().nodename().to_string_lossy().into(), Into::into);
    AgentIdentity { node, cluster: cluster.map(Into::into) }
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

fn show(
    findings: &[Arc<Finding>],
    suppressed: usize,
    converter: &Converter,
    reading: &NodeReading,
    args: &ScanArgs,
) -> Result<(), String> {
    let reports = findings.iter().map(|finding| converter.finding(finding));
    let Some(format) = args.output.of_lists() else {
        let asked = Asked {
            name: format!("node {}", terminal(&identity(args, None).node)),
            missing: partial(&reading.gaps, Capabilities::own()),
        };
        let report = junit::findings(&reports.collect::<Vec<_>>(), &[asked], args.findings.fail_on);
        let outcome = report.and_then(|text| io::stdout().write_all(text.as_bytes()));
        return accept_closed_pipe(outcome).map_err(|error| error.to_string());
    };
    if format == Format::Json {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, File::from(stdout));
        let outcome =
            write_json(&mut out, findings, |finding| converter.finding(finding)).and_then(|()| out.flush());
        return accept_closed_pipe(outcome).map_err(|error| error.to_string());
    }
    let is_table = matches!(format, Format::Table | Format::Wide);
    let text = if is_table && findings.is_empty() {
        empty(reading, suppressed, args)
    } else {
        let colour = Colour::for_stdout(std::env::var_os("NO_COLOR").as_deref());
        let reports: Vec<_> = reports.collect();
        show::findings(&reports, format, &FindingRows::wanted(args.findings.pods), colour)
            .map_err(|error| error.to_string())?
    };
    accept_closed_pipe(io::stdout().write_all(text.as_bytes())).map_err(|error| error.to_string())
}

/// Exit code of a scan that was shown.
fn exit_of(findings: &[Arc<Finding>], gaps: &Gaps, args: &ScanArgs) -> Exit {
    let partial = partial(gaps, Capabilities::own());
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
fn partial(gaps: &Gaps, own: Capabilities) -> Option<String> {
    let mut reasons: Vec<String> = Vec::new();
    if !gaps.failed.is_empty() {
        let errors: BTreeSet<&str> = gaps.failed.iter().map(|failed| failed.reason.as_str()).collect();
        let errors = errors.into_iter().collect::<Vec<_>>().join(", ");
        reasons.push(format!("{} namespaces could not be looked at: {errors}", gaps.failed.len()));
    }
    if let Some(error) = &gaps.walk_failure {
        reasons.push(format!("not every namespace was found: {error}"));
    }
    if gaps.unreadable > 0 && !own.reads_processes() {
        let count = gaps.unreadable;
        reasons
            .push(format!("the namespaces of {count} processes cannot be read: CAP_SYS_PTRACE is missing"));
    }
    if gaps.unparsable > 0 {
        reasons.push(format!("{} sockets of the kernel's lists could not be read", gaps.unparsable));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Text for a table without rows.
fn empty(reading: &NodeReading, suppressed: usize, args: &ScanArgs) -> String {
    let sockets: usize = reading.netns.iter().filter_map(|(_, sockets)| *sockets).sum();
    let netns = reading.netns.iter().filter(|(_, sockets)| sockets.is_some()).count();
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
        let mut gaps = Gaps::default();
        assert_eq!(partial(&gaps, Capabilities::ALL), None);
        gaps.unreadable = 3;
        assert_eq!(partial(&gaps, Capabilities::ALL), None, "a security module hides some everywhere");
        let without = partial(&gaps, Capabilities::NONE).expect("partial");
        assert!(without.contains("3 processes") && without.contains("CAP_SYS_PTRACE"), "{without}");
        gaps.failed = vec![FailedNetns {
            inode: 1,
            candidate: crate::source::netns::candidates::Candidate::default(),
            reason: "denied".to_owned(),
        }];
        gaps.walk_failure = Some("/proc: full".to_owned());
        gaps.unparsable = 2;
        let all = partial(&gaps, Capabilities::ALL).expect("partial");
        assert!(all.contains("1 namespaces") && all.contains("denied"), "{all}");
        assert!(all.contains("/proc: full") && all.contains("2 sockets"), "{all}");
        let reading = NodeReading { gaps, ..NodeReading::default() };
        assert!(blindness(&reading).is_some(), "nothing could be looked at");
    }
}
