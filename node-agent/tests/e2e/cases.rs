//! The cases, in the order in which they run: each way to read the findings, the chart's own test, an upgrade.

use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use super::example::APP;
use super::forward::Forward;
use super::tools::output;
use super::verdict::{Ids, in_list, in_log, of_example};
use super::workload;
use super::world::{POLLING, World, chart};

/// Name of a case, and its test.
type Case = (&'static str, fn(&World));

const CASES: [Case; 11] = [
    ("findings/in_the_agents_log", in_the_log),
    ("findings/over_the_http_api_by_port_forward", over_http),
    ("findings/by_the_client_in_the_agents_pod", in_the_pod),
    ("findings/by_kubectl_portolan", by_the_plugin),
    ("kubectl_portolan/explains_the_service", explained),
    ("workload/a_rollout_adds_no_fingerprint_and_no_row", workload::survives_a_rollout),
    ("kubectl_portolan/answers_each_question_for_the_cluster", workload::asked),
    ("workload/a_scan_finds_the_ports_without_agents_and_leaves_nothing", workload::scanned),
    ("workload/what_declare_writes_resolves_the_findings", workload::declared),
    ("helm/its_own_test_passes", chart_test),
    ("helm/an_upgrade_changes_a_value_and_keeps_the_findings", upgrade),
];

/// Returns all cases. Without a world they can be listed, but not run.
pub fn trials(world: Option<&Arc<World>>) -> Vec<Trial> {
    let trial = |(name, case): Case| {
        let world = world.map(Arc::clone);
        Trial::test(name, move || {
            case(world.as_ref().expect("a world that is set up"));
            Ok::<(), Failed>(())
        })
    };
    CASES.into_iter().map(trial).collect()
}

/// Findings in the log of the agent on the example's node.
fn in_agent_log(world: &World) -> Result<Ids, String> {
    let log = ["--namespace", &world.release, "logs", &world.agent()?, "--container=agent", "--tail=-1"];
    of_example(&in_log(&world.kubectl(&log)?)?, &world.examples)
}

fn in_the_log(world: &World) {
    POLLING.eventually("the agent's log tells the findings", || in_agent_log(world));
}

fn over_http(world: &World) {
    let agent = world.agent().expect("an agent");
    let forward = Forward::start(&world.tools, &world.release, &agent, 9470).expect("a port-forward");
    let server = format!("http://127.0.0.1:{}", forward.port);
    POLLING.eventually("the HTTP API lists the findings", || {
        let mut client = Command::new(env!("CARGO_BIN_EXE_portolan"));
        client.args(["findings", "--server", &server, "--output", "json"]);
        of_example(&in_list(&output(&mut client)?)?, &world.examples)
    });
}

fn in_the_pod(world: &World) {
    POLLING.eventually("the client in the pod lists the findings", || {
        let agent = world.agent()?;
        let words = ["--namespace", &world.release, "exec", &agent, "--container=agent", "--"];
        let mut command = world.tools.kubectl(&words);
        command.args(["/portolan", "findings", "--output", "json"]);
        of_example(&in_list(&output(&mut command)?)?, &world.examples)
    });
}

fn by_plugin(world: &World) -> Result<Ids, String> {
    let words = ["portolan", "findings", "--agents-namespace", &world.release, "--output", "json"];
    of_example(&in_list(&world.kubectl(&words)?)?, &world.examples)
}

fn by_the_plugin(world: &World) {
    POLLING.eventually("kubectl portolan lists the findings", || by_plugin(world));
}

fn explained(world: &World) {
    let target = format!("svc/{}/{APP}", world.examples);
    let text = world.kubectl(&["portolan", "explain", &target, "--agents-namespace", &world.release]);
    // The text is wrapped at the width of a terminal.
    let text = text.expect("an explanation").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("pod {}/{APP}", world.examples)) && text.contains("8080/TCP"), "{text}");
}

fn chart_test(world: &World) {
    let text = world.helm(&["test", &world.release, "--timeout=5m"]).expect("the chart's test passes");
    assert!(text.contains("Succeeded"), "{text}");
}

fn upgrade(world: &World) {
    let before = POLLING.eventually("findings before the upgrade", || by_plugin(world));
    let chart = chart().display().to_string();
    let words =
        ["upgrade", &world.release, &chart, "--reset-then-reuse-values", "--set=agent.grace=3s", "--wait"];
    world.helm(&[&words[..], &["--timeout=5m"]].concat()).expect("an upgrade");
    world.rolled_out().expect("every node has the new agent");
    let agent = world.agent().expect("one agent, the new one");
    let pod = world.object("pod", &world.release, &agent).expect("its pod");
    let args = pod["spec"]["containers"][0]["args"].as_array().expect("arguments");
    assert!(args.iter().any(|arg| arg == "--grace=3s"), "{args:?}");
    // The new agent starts without state, so its findings are its own.
    let after = POLLING.eventually("the new agent's log tells the findings", || in_agent_log(world));
    assert_eq!(after, before, "a finding keeps its id");
    POLLING.eventually("kubectl portolan lists the findings after the upgrade", || by_plugin(world));
}
