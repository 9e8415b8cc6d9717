//! `kubectl portolan doctor`: what can be checked from outside: the access to the agents, which nodes have one, and how they are.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use portolan_report::amiss::Amiss;
use portolan_report::table::lay_out;
use portolan_report::wire::{AgentStatus, SCHEMA};
use serde_json::{Value, json};

use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Fleet, Question};
use super::status::parsed;
use super::verb_args::DoctorArgs;
use crate::args::Format;
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::show;
use crate::query::status::PATH;

/// Result of one check: what was found and, if something is wrong, what to do.
struct Check {
    name: String,
    state: &'static str,
    found: String,
    fix: &'static str,
}

impl Check {
    fn ok(name: &str, found: String) -> Self {
        Self { name: name.to_owned(), state: "ok", found, fix: "" }
    }

    fn warn(name: &str, found: String, fix: &'static str) -> Self {
        Self { name: name.to_owned(), state: "warn", found, fix }
    }

    fn fail(name: &str, found: String, fix: &'static str) -> Self {
        Self { name: name.to_owned(), state: "FAIL", found, fix }
    }
}

/// Prints the checks. Without access to the agents' pods the command ends with the error that says which role is missing.
pub(super) async fn doctor(
    cluster: &ClusterArgs,
    args: &DoctorArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let fleet = Fleet::find(cluster).await?;
    let answers = fleet.ask(&Question::Object(PATH.to_owned())).await?;
    let statuses = parsed(&answers).map_err(ClusterError::NotUnderstood)?;
    let mut checks = vec![Check::ok(
        "api-server",
        format!("the API server lists the agents' pods, on {} nodes", fleet.nodes().len()),
    )];
    checks.push(nodes(&fleet).await);
    checks.extend(silent(&answers));
    checks.push(versions(&statuses));
    checks.extend(statuses.iter().flat_map(agent));
    let text = match args.output {
        Format::Json => show::pretty(&object(&checks)),
        Format::Yaml => show::yaml(&object(&checks)).map_err(ClusterError::NotUnderstood)?,
        Format::Table | Format::Wide | Format::Name => table(&checks),
    };
    console.write(&text)?;
    let is_partial = answers.report_missing(console)?;
    let fails = checks.iter().any(|check| check.state == "FAIL");
    Ok(if is_partial || fails { Exit::Partial } else { Exit::Fine })
}

/// Checks that every node has the pod of an agent.
async fn nodes(fleet: &Fleet) -> Check {
    let name = "nodes";
    let api: Api<Node> = Api::all(fleet.client());
    let all = match api.list(&ListParams::default()).await {
        Ok(all) => all,
        Err(_) => {
            return Check::warn(
                name,
                "unknown whether every node has an agent: the nodes cannot be listed".to_owned(),
                "allow `list` on nodes, or compare with `kubectl get nodes`",
            );
        }
    };
    let with = fleet.nodes();
    let without: Vec<String> =
        all.items.iter().map(ResourceExt::name_any).filter(|node| !with.contains(node.as_str())).collect();
    if without.is_empty() {
        Check::ok(name, format!("each of {} nodes has the pod of an agent", all.items.len()))
    } else {
        Check::fail(
            name,
            format!("no agent on {}", without.join(", ")),
            "do the DaemonSet's tolerations and node selector fit these nodes?",
        )
    }
}

/// Returns a failed check for each agent that did not answer in full.
fn silent(answers: &Answers) -> Vec<Check> {
    if answers.missing.is_empty() {
        return vec![Check::ok("port-forward", "every agent answers".to_owned())];
    }
    let fix = "`kubectl describe` and `kubectl logs` of the agent's pod say why";
    let check = |node: &str, reason: &str| Check::fail(&format!("agent {node}"), reason.to_owned(), fix);
    answers.missing.iter().map(|missing| check(&missing.node, &missing.reason)).collect()
}

/// Checks that all agents have the version of this plugin.
fn versions(statuses: &[AgentStatus]) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for status in statuses {
        by_version.entry(&status.version).or_default().push(&status.envelope.node);
    }
    if by_version.keys().all(|version| *version == own) {
        return Check::ok("versions", format!("agents and plugin are of version {own}"));
    }
    let found = by_version.iter().map(|(version, nodes)| format!("{version} on {}", nodes.join(", ")));
    Check::warn(
        "versions",
        format!("the plugin is {own}, the agents are {}", found.collect::<Vec<_>>().join("; ")),
        "upgrade the release, or install the plugin of the agents' version",
    )
}

/// Returns the checks of one agent: one per thing that is amiss, or one that is ok.
fn agent(status: &AgentStatus) -> Vec<Check> {
    let name = format!("agent {}", status.envelope.node);
    let amiss = Amiss::of(status);
    if amiss.is_empty() {
        return vec![Check::ok(&name, "hooks, sources and limits are as they should be".to_owned())];
    }
    let with = |found: &[String], prefix: &str, fix: &'static str| {
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

fn table(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let arrow = if check.fix.is_empty() { "" } else { " → " };
        vec![check.name.clone(), check.state.to_owned(), format!("{}{arrow}{}", check.found, check.fix)]
    });
    lay_out(&["CHECK", "STATE", "FOUND, AND WHAT TO DO"], rows)
}

fn object(checks: &[Check]) -> Value {
    let one = |check: &Check| json!({ "name": check.name, "state": check.state.to_lowercase(), "found": check.found, "fix": check.fix });
    json!({ "schema": SCHEMA, "checks": checks.iter().map(one).collect::<Vec<_>>() })
}
