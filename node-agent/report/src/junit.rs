//! Findings as a JUnit report, which CI systems show: one test case for each port, and one for each agent that was asked.
//!
//! Pods choose much of the text. XML 1.0 has no way to write most control characters, so they are escaped as for a terminal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;

use portolan_engine::model::finding_code::Severity;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::escape::terminal;
use crate::fingerprint::owner;
use crate::wire::Finding;

/// Maximum number of pods that the text of a failure names.
const MAX_PODS: usize = 20;
/// Name of the suite, and class of the cases of agents.
const SUITE: &str = "portolan";

/// An agent, or a node, that was asked. It is a test case of its own, so that a run without findings is no empty report, and a
/// missing answer is an error in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Name of the case, such as `node worker-1`.
    pub name: String,
    /// Reason why the answer is missing or incomplete.
    pub missing: Option<String>,
}

/// Result of a test case.
#[derive(Clone, Copy, Debug)]
enum Outcome<'a> {
    Passed,
    Failed(&'a Finding),
    Skipped(&'a Finding),
}

/// Findings of one port of a workload.
struct Case<'a> {
    findings: Vec<&'a Finding>,
    outcome: Outcome<'a>,
}

/// Formats the report. An open finding fails if it is at least as severe as `fail_on`; without it, every open finding does.
///
/// # Errors
/// None is known: the report is written to memory.
pub fn findings(findings: &[Finding], asked: &[Asked], fail_on: Option<Severity>) -> io::Result<String> {
    let cases = cases(findings, fail_on);
    let count = |wanted: fn(&Outcome<'_>) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    let tests = (cases.len() + asked.len()).to_string();
    let failures = count(|outcome| matches!(outcome, Outcome::Failed(_))).to_string();
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_))).to_string();
    let errors = asked.iter().filter(|asked| asked.missing.is_some()).count().to_string();
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let counts = [("tests", &*tests), ("failures", &*failures), ("errors", &*errors)];
    let suites = writer.create_element("testsuites").with_attribute(("name", SUITE)).with_attributes(counts);
    suites.write_inner_content(|writer| {
        let suite =
            writer.create_element("testsuite").with_attribute(("name", SUITE)).with_attributes(counts);
        suite.with_attribute(("skipped", &*skipped)).write_inner_content(|writer| {
            asked.iter().try_for_each(|asked| agent(writer, asked))?;
            cases.iter().try_for_each(|case| port(writer, case))
        })?;
        Ok(())
    })?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

/// Groups findings by port, in the order of their names.
fn cases<'a>(findings: &'a [Finding], fail_on: Option<Severity>) -> Vec<Case<'a>> {
    let mut ports: BTreeMap<(String, String, &str), Vec<&'a Finding>> = BTreeMap::new();
    for finding in findings {
        let key = if finding.fingerprint.is_empty() { &finding.id } else { &finding.fingerprint };
        ports.entry((class(finding), name(finding), key)).or_default().push(finding);
    }
    let case = |mut findings: Vec<&'a Finding>| {
        findings.sort_by_key(|finding| {
            (Reverse(Severity::parse(&finding.severity)), finding.pod.as_ref().map(|pod| &pod.name))
        });
        let fails = |finding: &&Finding| {
            let severity = Severity::parse(&finding.severity);
            finding.state == "open" && fail_on.is_none_or(|least| severity.is_none_or(|is| is >= least))
        };
        let failed = findings.iter().copied().find(fails).map(Outcome::Failed);
        let skipped = findings.iter().copied().find(|finding| finding.state == "suppressed");
        let outcome = failed.or(skipped.map(Outcome::Skipped)).unwrap_or(Outcome::Passed);
        Case { findings, outcome }
    };
    ports.into_values().map(case).collect()
}

/// Returns the class of a case: `NAMESPACE.KIND/NAME` of the workload, or `node.NODE.netns/NAME` without a pod.
fn class(finding: &Finding) -> String {
    let node = &finding.envelope.node;
    let netns = finding.listener.as_deref().and_then(|listener| listener.netns.name.as_deref());
    finding.pod.as_ref().map_or_else(
        || netns.map_or_else(|| format!("node.{node}"), |netns| format!("node.{node}.netns/{netns}")),
        |pod| {
            let (kind, name) = owner(pod, node);
            format!("{}.{kind}/{name}", pod.namespace)
        },
    )
}

/// Returns the name of a case: `CONTAINER:PORT/PROTOCOL`. A port that nothing serves has the code too, since another pod of the
/// workload may serve it. Without a port number, the reference of what looks for one tells findings apart.
fn name(finding: &Finding) -> String {
    let container =
        finding.container.as_ref().map(|container| format!("{}:", container.name)).unwrap_or_default();
    match (finding.port, &finding.protocol, &finding.listener) {
        (Some(port), Some(protocol), Some(_)) => format!("{container}{port}/{protocol}"),
        (Some(port), Some(protocol), None) => format!("{container}{port}/{protocol} {}", finding.code),
        _ => match finding.declaration.explained_by.first() {
            Some(by) => format!("{container}{} {}", finding.code, by.reference),
            None => format!("{container}{}", finding.code),
        },
    }
}

fn agent(writer: &mut Writer<Vec<u8>>, asked: &Asked) -> io::Result<()> {
    let case = writer.create_element("testcase").with_attribute(("classname", SUITE));
    let case = case.with_attribute(("name", &*xml(&asked.name)));
    match &asked.missing {
        None => case.write_empty()?,
        Some(reason) => case.write_inner_content(|writer| {
            let error = writer.create_element("error").with_attribute(("message", &*xml(reason)));
            error.with_attribute(("type", "partial")).write_empty()?;
            Ok(())
        })?,
    };
    Ok(())
}

fn port(writer: &mut Writer<Vec<u8>>, case: &Case<'_>) -> io::Result<()> {
    let Some(first) = case.findings.first() else { return Ok(()) };
    let names = [("classname", xml(&class(first))), ("name", xml(&name(first)))];
    let names = names.iter().map(|(key, value)| (*key, value.as_str()));
    let element = writer.create_element("testcase").with_attributes(names);
    match case.outcome {
        Outcome::Passed => element.write_empty()?,
        Outcome::Failed(finding) => element.write_inner_content(|writer| {
            let failure =
                writer.create_element("failure").with_attribute(("message", &*xml(&finding.message)));
            let failure = failure.with_attribute(("type", &*xml(&finding.code)));
            failure.write_text_content(BytesText::new(&details(&case.findings, finding)))?;
            Ok(())
        })?,
        Outcome::Skipped(finding) => element.write_inner_content(|writer| {
            let by = finding.suppressed_by.as_ref();
            let reason = by.map(|by| format!("{} ({})", by.reason, by.rule)).unwrap_or_default();
            writer.create_element("skipped").with_attribute(("message", &*xml(&reason))).write_empty()?;
            Ok(())
        })?,
    };
    Ok(())
}

/// Returns severity, code and message of the worst finding, and the pods of all that are open.
fn details(findings: &[&Finding], worst: &Finding) -> String {
    let mut lines = vec![format!("{} {}: {}", worst.severity, worst.code, worst.message)];
    let open =
        findings.iter().filter(|finding| finding.state == "open").filter_map(|finding| finding.pod.as_ref());
    let pods: Vec<String> = open.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    lines.extend(pods.iter().take(MAX_PODS).map(|pod| format!("pod {pod}")));
    if pods.len() > MAX_PODS {
        lines.push(format!("and {} more", pods.len() - MAX_PODS));
    }
    lines.iter().map(|line| xml(line) + "\n").collect()
}

/// Escapes what a terminal may not get, and the two other characters that XML 1.0 has no way to write.
fn xml(text: &str) -> String {
    terminal(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}
