//! Evaluates a scan with the agent's engine, without grace periods.

use std::sync::Arc;
use std::time::Duration;

use portolan_client::args::FindingFilterArgs;
use portolan_engine::Engine;
use portolan_engine::model::exception::Rule;
use portolan_engine::model::finding::Finding;
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::Listener;
use portolan_engine::model::options::{AnnotationSource, EngineOptions};
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;

use crate::args::local::ScanArgs;
use crate::scan::collect::CollectedNetns;
use crate::sink::convert::{AgentIdentity, Converter, Wall};
use crate::source::clock;

/// The engine of one scan.
#[derive(Debug)]
pub(super) struct Judge {
    engine: Engine,
}

/// Result of the evaluation.
pub(super) struct Judged {
    /// The findings that pass the filters, most severe first.
    pub findings: Vec<Arc<Finding>>,
    /// UDP ports that may be clients', of the pods that pass the filters: `NAMESPACE/POD PORT`, or the netns instead of the
    /// pod.
    pub unproven: Vec<String>,
    pub converter: Converter,
}

impl Judge {
    pub fn new(include_host: bool, exception_annotations: AnnotationSource, rules: Vec<Arc<Rule>>) -> Self {
        let engine = Engine::new(EngineOptions {
            grace: Duration::ZERO,
            stale_grace: Duration::ZERO,
            attribution_hold: Duration::ZERO,
            include_host,
            exception_annotations,
            // No program observes who spoke first.
            knows_direction: false,
            counts_traffic: false,
            emits_reports: false,
            ..EngineOptions::default()
        });
        let mut judge = Self { engine };
        judge.apply(Input::Exceptions(rules));
        judge
    }

    pub fn apply(&mut self, input: Input) {
        self.engine.apply(input, clock::now());
    }

    pub fn apply_netns(&mut self, netns: CollectedNetns) {
        let now = clock::now();
        self.engine.apply(Input::NetnsSeen { facts: netns.facts, at: now }, now);
        if let Some(scan) = netns.scan {
            self.engine.apply(Input::NetnsScanned(scan), now);
        }
    }

    /// Evaluates what was applied.
    pub fn judged(mut self, args: &ScanArgs, agent: AgentIdentity) -> Judged {
        let now = clock::now();
        self.engine.tick(now);
        let filter = filter(args);
        let wall = Wall { unix_ns_at_boot: clock::booted_at().as_nanos() };
        let mut findings: Vec<Arc<_>> = self.engine.findings().collect();
        findings.retain(|finding| filter.lets_through(&Facts::of_finding(finding)));
        findings
            .sort_by_cached_key(|finding| (std::cmp::Reverse(finding.code.severity()), finding.id.clone()));
        // A port without a finding has no code and no severity.
        let of_pods = Filter { code: Vec::default(), severity: Vec::default(), ..filter };
        let listeners = self.engine.unproven_listeners();
        let shown = listeners.filter(|listener| of_pods.lets_through(&Facts::of_listener(listener)));
        let unproven = shown.map(|listener| place(&listener)).collect();
        Judged { findings, unproven, converter: Converter { agent, wall, now } }
    }
}

/// Names a port for people.
fn place(listener: &Listener) -> String {
    let port = listener.port.port;
    match &listener.pod {
        Some(pod) => format!("{}/{} {port}", pod.namespace, pod.name),
        None => format!("netns {} {port}", listener.netns.name.as_deref().unwrap_or("?")),
    }
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
