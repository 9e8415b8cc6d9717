//! `portolan scan`: one look at every netns, judged by the same engine as the agent's, then exit. No programs are loaded.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use crate::args::{FindingFilterArgs, Format, ScanArgs};
use crate::config::{self, MetadataSource};
use crate::engine::Engine;
use crate::engine::input::Input;
use crate::engine::options::EngineOptions;
use crate::exit::Exit;
use crate::query::pages::Gathered;
use crate::query::show::{self, Subject};
use crate::scan_once::{self, Collected};
use crate::sink::convert::{Converter, Wall};
use crate::sink::facts::Facts;
use crate::sink::filter::Filter;
use crate::sink::report;
use crate::sink::table::Colour;
use crate::source::clock;
use crate::source::pods::file;
use crate::wiring_options;

/// Looks, judges, shows.
#[must_use]
pub fn run(args: &ScanArgs) -> Exit {
    let pods = match read_pods(args) {
        Ok(pods) => pods,
        Err(error) => return say(&error, Exit::WrongUse),
    };
    let options = wiring_options::netns(config::netns_dirs(args.netns_dir.clone()), args.include_host);
    let collected = match scan_once::collect(&options) {
        Ok(collected) => collected,
        Err(error) => return say(&format!("cannot look at the network namespaces: {error}"), Exit::Refused),
    };
    if collected.netns.is_empty() && !collected.failed.is_empty() {
        return refused(&collected);
    }
    let findings = judge(&collected, pods, args);
    show(&findings, &collected, args)
}

fn read_pods(args: &ScanArgs) -> Result<Vec<crate::engine::pod::Pod>, String> {
    let mut pods = Vec::new();
    for source in config::metadata_sources(&args.metadata).map_err(|error| error.to_string())? {
        match source {
            MetadataSource::File(path) => pods.extend(file::read(&path).map_err(|error| error.to_string())?),
            MetadataSource::Kubernetes => {
                return Err("--metadata kubernetes: only the agent follows the API server; give scan a file=PATH, such as the \
                            output of `kubectl get pods -A -o yaml`"
                    .to_owned());
            }
        }
    }
    Ok(pods)
}

/// Everything through the engine, with no grace: what is seen now is judged now.
fn judge(collected: &Collected, pods: Vec<crate::engine::pod::Pod>, args: &ScanArgs) -> Vec<report::Finding> {
    let started = clock::now();
    let mut engine = Engine::new(EngineOptions {
        grace: std::time::Duration::ZERO,
        attribution_hold: std::time::Duration::ZERO,
        include_host: args.include_host,
        ..EngineOptions::default()
    });
    engine.apply(Input::Pods { source: "file", pods }, started);
    for (facts, scan) in &collected.netns {
        engine.apply(Input::NetnsSeen(facts.clone()), started);
        if let Some(scan) = scan {
            engine.apply(Input::NetnsScanned(scan.clone()), started);
        }
    }
    let now = clock::now();
    engine.tick(now);
    let filter = filter(args);
    let converter = Converter {
        node: rustix::system::uname().nodename().to_string_lossy().into(),
        wall: Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
        now,
    };
    let mut findings: Vec<Arc<_>> = engine.findings().collect();
    findings.retain(|finding| filter.lets_through(&Facts::of_finding(finding)));
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.code.severity()), finding.id.clone()));
    findings.iter().map(|finding| converter.finding(finding)).collect()
}

fn filter(args: &ScanArgs) -> Filter {
    let FindingFilterArgs { code, severity, .. } = &args.findings;
    Filter {
        namespace: args.filter.namespace.iter().cloned().collect(),
        code: code.clone(),
        severity: severity.iter().map(|severity| severity.as_str().to_owned()).collect(),
        ..Filter::default()
    }
}

fn show(findings: &[report::Finding], collected: &Collected, args: &ScanArgs) -> Exit {
    let items: Vec<_> = findings.iter().filter_map(|finding| serde_json::to_value(finding).ok()).collect();
    let gathered = Gathered { items, generation: 0, broken: None };
    let colour = Colour::for_stdout(std::env::var_os("NO_COLOR").as_deref());
    let is_table = matches!(args.output, Format::Table | Format::Wide);
    let text = match show::list(Subject::Findings, &gathered, args.output, colour) {
        Ok(_) if is_table && findings.is_empty() => empty(collected),
        Ok(text) => text,
        Err(error) => return say(&error.to_string(), Exit::Partial),
    };
    // A reader that went away wants no more.
    let _ = io::stdout().write_all(text.as_bytes());
    if !collected.failed.is_empty() {
        let reasons: BTreeSet<&str> = collected.failed.iter().map(|failed| failed.reason.as_str()).collect();
        let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("{} namespaces could not be looked at: {reasons}", collected.failed.len());
        return say(&text, Exit::Partial);
    }
    let worst = args.findings.fail_on.map(|severity| severity.as_str());
    let fails =
        worst.is_some_and(|least| findings.iter().any(|finding| rank(&finding.severity) >= rank(least)));
    if fails { Exit::FailOn } else { Exit::Fine }
}

fn empty(collected: &Collected) -> String {
    let sockets: usize =
        collected.netns.iter().filter_map(|(_, scan)| Some(scan.as_ref()?.sockets.len())).sum();
    let netns = collected.netns.iter().filter(|(_, scan)| scan.is_some()).count();
    format!(
        "No findings: {sockets} listening sockets in {netns} network namespaces, and none differs from its manifest.\n"
    )
}

fn rank(severity: &str) -> usize {
    ["info", "low", "medium", "high", "critical"].iter().position(|name| *name == severity).unwrap_or(0)
}

fn refused(collected: &Collected) -> Exit {
    let reason = collected.failed.first().map_or("", |failed| failed.reason.as_str());
    say(
        &format!("no network namespace could be entered: {reason}; run as root (CAP_SYS_ADMIN enters them)"),
        Exit::Refused,
    )
}

fn say(text: &str, exit: Exit) -> Exit {
    let _ = writeln!(io::stderr(), "portolan: {text}");
    exit
}
