//! `portolan baseline`: prints the open findings as exception rules for the configuration file.
//!
//! The rules name workloads instead of pods. A rule covers the finding's code and all milder codes, so that a port that gets
//! worse opens a finding again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use jiff::Timestamp;
use portolan_engine::model::finding_code::FindingCode;
use portolan_report::escape::json_text;
use portolan_report::exception_rule;
use portolan_report::wire::Finding;
use serde::Deserialize;
use serde_json::Value;

use super::console::Console;
use super::error::QueryError;
use super::filters::{Pairs, Scope, alternatives};
use super::outcome::{end, list_completeness};
use super::pages;
use super::server::Server;
use super::show::Subject;
use crate::args::{BaselineArgs, RuleArgs};
use crate::exit::Exit;

/// Maximum number of ports or ranges in one rule.
const MAX_PORTS: usize = 500;

/// Runs `portolan baseline`.
pub async fn baseline(args: &BaselineArgs, console: &mut Console<'_>) -> Exit {
    let result = match args.rules.check() {
        Ok(()) => print(args, console).await,
        Err(problem) => console.message(&problem).map(|()| Exit::WrongUse),
    };
    end(result, console)
}

async fn print(args: &BaselineArgs, console: &mut Console<'_>) -> Result<Exit, QueryError> {
    let server = Server::parse(&args.agent.server)?;
    let list = pages::gather(&server, Subject::Findings.path(), &args.rules.pairs()).await?;
    let rules = Rules::of(&list.items);
    rules.print(&args.rules, Scope::OneNode, console)?;
    let exit = list_completeness(&server, &list, console).await?;
    Ok(if rules.is_partial() { Exit::Partial } else { exit })
}

impl RuleArgs {
    /// Refuses a reason or an expiry that the agent would refuse in a rule.
    pub(crate) fn check(&self) -> Result<(), String> {
        exception_rule::reason(&self.reason).map_err(|problem| format!("--{problem}"))?;
        let Some(expires) = self.expires.as_deref() else { return Ok(()) };
        let end = exception_rule::expiry(expires).map_err(|problem| format!("--{problem}"))?;
        if end <= Timestamp::now() {
            return Err(format!(
                "--expires: {expires:?} is over: such rules would suppress nothing; expected a day or a time to come"
            ));
        }
        Ok(())
    }

    /// Returns the query parameters for the findings that the rules are for.
    pub(crate) fn pairs(&self) -> Pairs {
        let severities: Vec<String> =
            self.severity.iter().map(|severity| severity.as_str().to_owned()).collect();
        let mut pairs = self.filter.pairs();
        pairs.extend(alternatives("code", &self.code));
        pairs.extend(alternatives("severity", &severities));
        pairs.push(("state", "open".to_owned()));
        pairs
    }

    /// Returns the message for an answer without findings.
    fn nothing_found(&self, scope: Scope) -> String {
        let none = self.filter.nothing_found("open finding", false, scope);
        let by_code = if self.code.is_empty() && self.severity.is_empty() {
            ""
        } else {
            " Without --code and --severity there may be more."
        };
        format!("{none}{by_code} There is nothing to make an exception of.")
    }
}

/// Returns a rule for one finding, as YAML with the key `exceptions`; `None` if no rule can name what it is about.
pub(crate) fn rule(finding: &Finding, reason: &str) -> Option<String> {
    let mut rules = Rules::default();
    if finding.pod.is_some() {
        rules.add(finding);
    }
    (!rules.groups.is_empty()).then(|| rules.yaml(reason, None))
}

/// Findings that one rule covers: those of one workload with one code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    namespace: String,
    owner: Owner,
    code: FindingCode,
}

/// Workload of the findings, or a single pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Workload {
        kind: String,
        name: String,
    },
    /// Name of a pod without a known workload.
    Pod(String),
}

/// Findings grouped into rules, and counts of the findings that are in no rule.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Ports of each group, as protocol and number.
    groups: BTreeMap<Group, BTreeSet<(String, u16)>>,
    /// Number of findings in rules.
    findings: usize,
    /// Number of findings without a known pod.
    unclaimed: usize,
    /// Number of findings that cannot be parsed, or that no rule can name.
    not_understood: usize,
}

impl Rules {
    /// Groups findings into rules. Findings of replicas, also on several nodes, fold into one rule.
    pub(crate) fn of(findings: &[Value]) -> Self {
        let mut rules = Self::default();
        for item in findings {
            match Finding::deserialize(item).ok() {
                Some(finding) if finding.pod.is_none() => rules.unclaimed += 1,
                Some(finding) => rules.add(&finding),
                None => rules.not_understood += 1,
            }
        }
        rules
    }

    /// Returns true if a finding is left out because it cannot be parsed or named.
    pub(crate) fn is_partial(&self) -> bool {
        self.not_understood > 0
    }

    /// Prints the rules, and messages about them.
    pub(crate) fn print(
        &self,
        args: &RuleArgs,
        scope: Scope,
        console: &mut Console<'_>,
    ) -> Result<(), QueryError> {
        console.write(&self.yaml(&args.reason, args.expires.as_deref()))?;
        self.summary(&args.nothing_found(scope), scope)
            .iter()
            .try_for_each(|message| console.message(message))
    }

    fn add(&mut self, finding: &Finding) {
        let code = FindingCode::ALL.into_iter().find(|code| code.as_str() == finding.code);
        let group = code.zip(finding.pod.as_ref()).map(|(code, pod)| Group {
            namespace: pod.namespace.clone(),
            owner: match &pod.workload {
                Some(workload) => {
                    Owner::Workload { kind: workload.kind.clone(), name: workload.name.clone() }
                }
                None => Owner::Pod(pod.name.clone()),
            },
            code,
        });
        // Kubernetes allows no such names, and in a rule a name with `*` would match several.
        let Some(group) = group.filter(|group| group.names().iter().all(|name| is_exact(name))) else {
            self.not_understood += 1;
            return;
        };
        self.findings += 1;
        self.groups.entry(group).or_default().extend(finding.protocol.clone().zip(finding.port));
    }

    fn yaml(&self, reason: &str, expires: Option<&str>) -> String {
        if self.groups.is_empty() {
            return "exceptions: []\n".to_owned();
        }
        let mut out = "exceptions:\n".to_owned();
        let mut names = BTreeSet::new();
        for (group, ports) in &self.groups {
            let ranges = ranges(ports);
            let mut parts: Vec<&[String]> = ranges.chunks(MAX_PORTS).collect();
            if parts.is_empty() {
                parts.push(&[]);
            }
            for part in parts {
                let name = unused(&group.title(), &mut names);
                // Writing to a String cannot fail.
                let _ = group.write(&mut out, &name, part, (reason, expires));
            }
        }
        out
    }

    /// Returns messages about the number of rules, what to do with them, and what is left out.
    fn summary(&self, nothing_found: &str, scope: Scope) -> Vec<String> {
        let mut messages = Vec::new();
        if self.findings == 0 {
            messages.push(nothing_found.to_owned());
        } else {
            messages.push(format!(
                "{} as {}. Read them, strike out what should be mended, and put the rest under `exceptions:` in the \
                 file of `portolan agent --config`: a running agent takes them over.",
                counted(self.findings, "open finding"),
                counted(self.groups.len(), "exception")
            ));
        }
        let single = self.groups.keys().filter(|group| matches!(group.owner, Owner::Pod(_))).count();
        if single > 0 {
            messages.push(format!(
                "{} of them name a single pod, since nobody knows what made it: they end with that pod's name.",
                single
            ));
        }
        if self.unclaimed > 0 {
            messages.push(format!(
                "{} of no known pod left out: `{}portolan status` tells whether a source of pods is down.",
                counted(self.unclaimed, "finding"),
                if scope == Scope::AllNodes { "kubectl " } else { "" }
            ));
        }
        if self.not_understood > 0 {
            messages.push(format!(
                "the answer is partial: {} not understood; is the agent another version?",
                counted(self.not_understood, "finding")
            ));
        }
        messages
    }
}

impl Group {
    fn names(&self) -> Vec<&str> {
        match &self.owner {
            Owner::Workload { kind, name } => vec![&self.namespace, kind, name],
            Owner::Pod(name) => vec![&self.namespace, name],
        }
    }

    fn title(&self) -> String {
        let (kind, name) = match &self.owner {
            Owner::Workload { kind, name } => (kind.as_str(), name),
            Owner::Pod(name) => ("Pod", name),
        };
        format!("baseline/{}/{kind}/{name}/{}", self.namespace, self.code.as_str())
    }

    /// Returns the group's code and, for an undeclared port, all milder codes.
    fn codes(&self) -> String {
        let from = FindingCode::UNDECLARED.iter().position(|code| *code == self.code);
        let codes = from
            .and_then(|from| FindingCode::UNDECLARED.get(from..))
            .unwrap_or(std::slice::from_ref(&self.code));
        codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn write(
        &self,
        out: &mut String,
        name: &str,
        ports: &[String],
        (reason, expires): (&str, Option<&str>),
    ) -> std::fmt::Result {
        writeln!(out, "- name: {}", quoted(name))?;
        writeln!(out, "  reason: {}", quoted(reason.trim()))?;
        if let Some(expires) = expires {
            writeln!(out, "  expires: {}", quoted(expires))?;
        }
        writeln!(out, "  match:")?;
        writeln!(out, "    namespace: {}", quoted(&self.namespace))?;
        match &self.owner {
            Owner::Workload { kind, name } => {
                writeln!(out, "    workload: {{kind: {}, name: {}}}", quoted(kind), quoted(name))?;
            }
            Owner::Pod(name) => writeln!(out, "    pod: {}", quoted(name))?,
        }
        if !ports.is_empty() {
            writeln!(out, "    port: [{}]", ports.join(", "))?;
        }
        writeln!(out, "    code: [{}]", self.codes())
    }
}

/// Joins consecutive ports of one protocol into ranges.
fn ranges(ports: &BTreeSet<(String, u16)>) -> Vec<String> {
    let mut runs: Vec<(&str, u16, u16)> = Vec::new();
    for (protocol, port) in ports {
        match runs.last_mut() {
            Some((of, _, last)) if of == protocol && last.checked_add(1) == Some(*port) => *last = *port,
            _ => runs.push((protocol, *port, *port)),
        }
    }
    let text = |(protocol, first, last): (&str, u16, u16)| {
        if first == last { format!("{first}/{protocol}") } else { format!("{first}-{last}/{protocol}") }
    };
    runs.into_iter().map(text).collect()
}

/// Returns the title, cut to the maximum length of a rule's name, with a number appended if the name is already used.
fn unused(title: &str, names: &mut BTreeSet<String>) -> String {
    let cut: String = title.chars().take(exception_rule::MAX_NAME - 8).collect();
    let numbered = (2..).map(|number: u32| format!("{cut}-{number}"));
    let name = std::iter::once(cut.clone()).chain(numbered).find(|name| !names.contains(name));
    let name = name.unwrap_or(cut);
    names.insert(name.clone());
    name
}

/// Returns true if a name in a rule matches only itself.
fn is_exact(name: &str) -> bool {
    !name.is_empty() && !name.contains('*') && !name.chars().any(char::is_control)
}

/// Quotes text for YAML: a JSON string is a valid YAML scalar.
fn quoted(text: &str) -> String {
    json_text(&serde_json::Value::from(text).to_string()).into_owned()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
