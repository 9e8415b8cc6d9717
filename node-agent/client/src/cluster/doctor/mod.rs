//! `kubectl portolan doctor`: what can be checked from outside: the user's rights, the access to the agents, which nodes have one,
//! and how they are.

mod check;
mod nodes;
mod rights;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portolan_report::amiss::Amiss;
use portolan_report::escape::terminal;
use portolan_report::wire::AgentStatus;

use self::check::Check;
use self::rights::Reviewer;
use super::agents::{self, Agent};
use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Missing, NOT_READY, Question};
use super::status::parsed;
use super::verb_args::DoctorArgs;
use crate::args::Format;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::show;
use crate::query::status::PATH;

/// Where the reason is why an agent is not ready.
const SEE_POD: &str = "`kubectl describe` and `kubectl logs` of the agent's pod say why";

/// Prints the checks. Without access to the agents' pods, prints those of the rights, and ends with the error.
pub(super) async fn doctor(
    cluster: &ClusterArgs,
    args: &DoctorArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let client = agents::client(cluster).await?;
    let found = agents::find(&client, cluster).await;
    let mut namespaces: BTreeSet<&str> = cluster.agents_namespace.as_deref().into_iter().collect();
    namespaces.extend(found.iter().flatten().map(|agent| agent.namespace.as_str()));
    let reviewer = Reviewer::new(&client, Duration::from_secs(cluster.timeout));
    let mut checks = reviewer.checks(cluster.agents_namespace.as_deref(), &namespaces).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            checks.insert(0, Check::fail("api-server", error.to_string(), ""));
            show_checks(&checks, args.output, console)?;
            return Err(error);
        }
    };
    let fleet = Fleet::of(client, found, cluster);
    let answers = fleet.ask(&Question::Object(PATH.to_owned())).await?;
    let statuses = parsed(&answers).map_err(ClusterError::NotUnderstood)?;
    let on = fleet.nodes();
    let listed = format!("the API server lists the agents' pods, on {} nodes", on.len());
    checks.insert(0, Check::ok("api-server", listed));
    checks.push(nodes::check(&fleet.client(), &on, fleet.time_limit()).await);
    checks.extend(silent(&answers, fleet.agents(), &statuses));
    checks.extend(unready_pods(&answers, fleet.agents()));
    checks.extend(versions(&statuses));
    checks.extend(statuses.iter().flat_map(agent));
    show_checks(&checks, args.output, console)?;
    let is_partial = answers.report_missing(console)?;
    Ok(if is_partial || checks.iter().any(Check::is_failure) { Exit::Partial } else { Exit::Fine })
}

fn show_checks(checks: &[Check], output: Format, console: &mut Console<'_>) -> Result<(), ClusterError> {
    let text = match output {
        Format::Json => show::pretty(&check::object(checks)),
        Format::Yaml => show::yaml(&check::object(checks)).map_err(ClusterError::NotUnderstood)?,
        Format::Table | Format::Wide | Format::Name => check::table(checks),
    };
    Ok(console.write(&text)?)
}

/// Returns a failed check for each agent that did not answer in full, with what its pod or its status says about it.
fn silent(answers: &Answers, agents: &[Agent], statuses: &[AgentStatus]) -> Vec<Check> {
    if answers.missing.is_empty() {
        return vec![Check::ok("port-forward", "every agent answers")];
    }
    let check = |missing: &Missing| {
        let name = format!("agent {}", missing.node);
        let pod = agents.iter().find(|agent| terminal(&agent.node) == missing.node);
        let why = pod.and_then(|agent| agent.unready.as_deref()).map(terminal);
        let waits = || {
            let status = statuses.iter().find(|status| terminal(&status.envelope.node) == missing.node);
            let sources =
                status.map(|status| Amiss::of(status).sources).filter(|sources| !sources.is_empty());
            sources.map(|sources| format!("it waits for source {}", sources.join(", source ")))
        };
        let is_unready = why.is_some() || missing.reason == NOT_READY;
        let mut found = format!("{}{}", if is_unready { "not ready: " } else { "" }, missing.reason);
        if let Some(why) = waits().filter(|_| missing.answered).or(why) {
            found.push_str(&format!("; {why}"));
        }
        Check::fail(&name, found, SEE_POD)
    };
    answers.missing.iter().map(check).collect()
}

/// Returns a warning for each agent that answers although its pod is not ready.
fn unready_pods(answers: &Answers, agents: &[Agent]) -> Vec<Check> {
    let is_missing =
        |agent: &Agent| answers.missing.iter().any(|missing| missing.node == terminal(&agent.node));
    let check = |agent: &Agent| {
        let why = terminal(agent.unready.as_deref()?);
        let name = format!("agent {}", terminal(&agent.node));
        let found =
            format!("not ready: its pod {} is not, though the agent answers; {why}", terminal(&agent.pod));
        Some(Check::warn(&name, found, SEE_POD))
    };
    agents.iter().filter(|agent| !is_missing(agent)).filter_map(check).collect()
}

/// Checks that all agents have the version of this plugin. `None` if no agent said its version.
fn versions(statuses: &[AgentStatus]) -> Option<Check> {
    let own = env!("CARGO_PKG_VERSION");
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for status in statuses {
        by_version.entry(&status.version).or_default().push(&status.envelope.node);
    }
    if by_version.is_empty() {
        return None;
    }
    if by_version.keys().all(|version| *version == own) {
        return Some(Check::ok("versions", format!("agents and plugin are of version {own}")));
    }
    let found = by_version
        .iter()
        .map(|(version, nodes)| format!("{version} on {}", check::names(nodes.iter().copied())));
    Some(Check::warn(
        "versions",
        format!("the plugin is {own}, the agents are {}", found.collect::<Vec<_>>().join("; ")),
        "upgrade the release, or install the plugin of the agents' version",
    ))
}

/// Returns the checks of one agent: one per thing that is amiss, or one that is ok.
fn agent(status: &AgentStatus) -> Vec<Check> {
    let name = format!("agent {}", status.envelope.node);
    let amiss = Amiss::of(status);
    if amiss.is_empty() {
        return vec![Check::ok(&name, "hooks, sources and limits are as they should be")];
    }
    let with = |found: &[String], prefix: &str, fix: &str| {
        let check = |what: &String| Check::warn(&name, format!("{prefix}{what}"), fix);
        found.iter().map(check).collect::<Vec<_>>()
    };
    let mut checks = with(
        &amiss.hooks,
        "hook ",
        "`portolan doctor` in the agent's pod tries the hook and says what it lacks",
    );
    checks.extend(with(&amiss.sources, "source ", "see `kubectl logs` of the agent's pod"));
    checks.extend(with(&amiss.lost, "lost ", "docs/operations.md says for each reason what helps"));
    checks.extend(with(&amiss.full, "full: ", "raise the limit in the chart's values"));
    checks
}
