//! Checks that the agent accepts the arguments and the configuration that the chart generates, with the agent's parsers.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser};
use portolan::args::{Cli, Command};
use portolan::config::{AgentConfig, ListenAddress, MetadataSource};
use portolan_testing::scratch::Scratch;
use serde_json::Value;

use crate::Case;
use crate::helm::{all, template_set};
use crate::objects::{Objects, items};

pub const CASES: &[Case] = &[
    ("the agent accepts the arguments and the configuration of every values file", accepted),
    ("without values the agent's own defaults hold", defaults),
    ("every value reaches the agent", values_reach_it),
    ("every option of the agent is a value, or is left out for a reason", every_option),
    ("the doctor's arguments are accepted", doctor),
    ("the doctor asks the sources that are on", doctor_asks_the_sources_that_are_on),
    ("the image has a full name, since CRI-O refuses short ones", full_image_names),
    ("probes, ports and the address of the telemetry fit", addresses),
    ("the API source learns the node's name", node_name),
];

/// Options that the chart does not set, with the reason.
const LEFT_OUT: [(&str, &str); 4] = [
    ("kubeconfig", "a pod has its service account"),
    ("node-name", "the variable NODE_NAME"),
    ("listener-ring-bytes", "for finding faults only"),
    ("otlp-headers", "a Secret, by its variable"),
];

/// Returns the text of the file that `--config` names, from the ConfigMap that is mounted there.
fn config_text(objects: &Objects) -> String {
    let spec = &objects.the("DaemonSet")["spec"]["template"]["spec"];
    let volume = items(&spec["volumes"]).iter().find(|volume| volume["name"] == "config").expect("a volume");
    let map = objects
        .of_kind("ConfigMap")
        .find(|map| map["metadata"]["name"] == volume["configMap"]["name"])
        .expect("the ConfigMap that is mounted");
    let mount = items(&objects.agent()["volumeMounts"]).iter().find(|mount| mount["name"] == "config");
    assert_eq!(mount.expect("a mount")["mountPath"], "/etc/portolan");
    map["data"]["config.yaml"].as_str().expect("a file").to_owned()
}

fn mounts_of_agent(objects: &Objects) -> Vec<String> {
    let paths = items(&objects.agent()["volumeMounts"]).iter().map(|mount| mount["mountPath"].as_str());
    paths.map(|path| path.expect("a path").to_owned()).collect()
}

/// Writes a file of certificates, as a ConfigMap would have it.
fn write_authorities(scratch: &Scratch) -> PathBuf {
    static PEM: LazyLock<String> = LazyLock::new(|| {
        let signed = rcgen::generate_simple_self_signed(["collector".to_owned()]).expect("a certificate");
        signed.cert.pem()
    });
    scratch.write("ca.crt", &PEM)
}

/// Parses arguments and configuration of these objects as the agent would.
fn parsed(objects: &Objects) -> Result<AgentConfig, String> {
    let scratch = Scratch::new("chart");
    let file = scratch.write("config.yaml", &config_text(objects));
    let mounted = mounts_of_agent(objects);
    let words = objects.args().into_iter().map(|word| match word.as_str() {
        "--config=/etc/portolan/config.yaml" => format!("--config={}", file.display()),
        "--otlp-ca=/etc/portolan-otlp/ca.crt" => {
            assert!(mounted.contains(&"/etc/portolan-otlp".to_owned()), "{mounted:?}");
            format!("--otlp-ca={}", write_authorities(&scratch).display())
        }
        _ => word,
    });
    let words = ["portolan".to_owned()].into_iter().chain(words).chain(["--node-name=node-1".to_owned()]);
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let Command::Agent(args) = cli.command else { panic!("not `agent`") };
    assert!(args.config.is_some(), "--config");
    AgentConfig::load(&args).map_err(|error| error.to_string())
}

fn accepted() {
    for (name, objects) in all() {
        parsed(&objects).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn of(settings: &[&str]) -> AgentConfig {
    parsed(&template_set(settings).expect("renders")).expect("accepted")
}

/// Returns the settings as text, without the typed arguments.
fn meaning(config: &AgentConfig) -> String {
    let text = format!("{config:?}");
    text.split(", typed: ").next().unwrap_or_default().trim_end_matches(" }").to_owned()
}

fn defaults() {
    // An agent by itself has no directory of its own on the node.
    let config = of(&["state.enabled=false"]);
    let cli = Cli::try_parse_from(["portolan", "agent", "--node-name=node-1", "--metadata=cri,kubernetes"]);
    let Command::Agent(args) = cli.expect("parses").command else { panic!("not `agent`") };
    let own = AgentConfig::load(&args).expect("accepted");
    assert_eq!(meaning(&config), meaning(&own));
}

fn values_reach_it() {
    let defaults = meaning(&of(&[]));
    for setting in [
        "clusterName=prod: eu",
        "agent.traffic=connections",
        "agent.record=all",
        "agent.output=text",
        "agent.kinds={finding}",
        "agent.grace=7s",
        "agent.staleGrace=3m",
        "agent.includeHost=true",
        "agent.scanOnly=true",
        "agent.podCidrs={10.0.0.0/8}",
        "agent.nodeCidrs={192.0.2.0/24}",
        "agent.netnsDirs={/run/other}",
        "agent.kernelLog=debug",
        "agent.limits.listeners=1",
        "agent.limits.peers=1",
        "agent.limits.peersPerPort=1",
        "agent.limits.findingsPerPod=1",
        "agent.limits.connections=1",
        "agent.limits.recordsPerSecond=1",
        "agent.limits.connectionLines=1",
        "agent.repeatFindings=1m",
        "agent.api.port=9999",
        "agent.api.enabled=false",
        "agent.telemetry.port=9998",
        "agent.telemetry.address=[::]",
        "sources.runtime.socket=/run/x/y.sock",
        "sources.runtime.enabled=false",
        "sources.apiServer.enabled=false",
        "sources.apiServer.services=false",
        "sources.apiServer.networkPolicies=false",
        "agent.exceptionAnnotations=pod",
        "agent.reports=true",
        "agent.events=true",
        "agent.otlp.endpoint=http://collector:4318",
    ] {
        assert_ne!(meaning(&of(&[setting])), defaults, "{setting}");
    }
    let exported = meaning(&of(&["agent.otlp.endpoint=http://collector:4318"]));
    for setting in ["agent.otlp.signals={logs}", "agent.otlp.interval=30s"] {
        let further = meaning(&of(&["agent.otlp.endpoint=http://collector:4318", setting]));
        assert_ne!(further, exported, "{setting}");
    }
    let config = of(&["sources.runtime.socket=/run/x/y.sock"]);
    let expected = [MetadataSource::Cri(Some("/run/x/y.sock".into())), MetadataSource::Kubernetes];
    assert_eq!(config.metadata, expected);
}

fn every_option() {
    let settings = [
        "agent.includeHost=true,agent.scanOnly=true,agent.kinds={finding},agent.exceptionAnnotations=pod",
        "agent.podCidrs={10.0.0.0/8},agent.nodeCidrs={192.0.2.0/24},agent.reports=true,agent.events=true",
        "agent.otlp.endpoint=https://collector:4318,agent.otlp.caConfigMap=ca,clusterName=prod: eu",
    ];
    let objects = template_set(&settings).expect("renders");
    let given: Vec<String> = objects.args();
    let command = Cli::command();
    let agent = command.find_subcommand("agent").expect("agent");
    for option in agent.get_arguments().filter_map(clap::Arg::get_long) {
        let flag = format!("--{option}");
        let is_given = given.iter().any(|arg| arg == &flag || arg.starts_with(&format!("{flag}=")));
        let is_left_out =
            LEFT_OUT.iter().any(|(name, _)| *name == option) || option == "help" || option == "version";
        assert!(is_given != is_left_out, "{flag} is neither a value of the chart nor left out");
    }
}

fn full_image_names() {
    let version = env!("CARGO_PKG_VERSION");
    for (setting, image) in [
        ("image.tag=", format!("docker.io/library/portolan:{version}")),
        ("image.repository=team/portolan", format!("docker.io/team/portolan:{version}")),
        ("image.repository=ghcr.io/team/portolan", format!("ghcr.io/team/portolan:{version}")),
        ("image.repository=localhost/portolan", format!("localhost/portolan:{version}")),
        ("image.registry=registry.example:5000", format!("registry.example:5000/portolan:{version}")),
    ] {
        let objects = template_set(&[setting]).expect("renders");
        assert_eq!(objects.agent()["image"], image, "{setting}");
    }
}

fn doctor_asks_the_sources_that_are_on() {
    for (settings, metadata) in [
        (["sources.apiServer.enabled=true"], "--metadata=cri,kubernetes"),
        (["sources.apiServer.enabled=false"], "--metadata=cri"),
        (["sources.runtime.enabled=false"], "--metadata=kubernetes"),
    ] {
        let objects = template_set(&settings).expect("renders");
        for pod in objects.of_kind("Pod") {
            let args = crate::objects::texts(&pod["spec"]["containers"][0]["args"]);
            assert_eq!(args, ["doctor", metadata, "--state-dir=/var/lib/portolan"]);
        }
    }
}

fn doctor() {
    for (name, objects) in all() {
        for pod in objects.of_kind("Pod") {
            let args = crate::objects::texts(&pod["spec"]["containers"][0]["args"]);
            let words = ["portolan".to_owned()].into_iter().chain(args);
            let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(matches!(cli.command, Command::Doctor(_)), "{name}");
            let doctor = &pod["spec"]["containers"][0];
            assert_eq!(
                doctor["securityContext"],
                objects.agent()["securityContext"],
                "{name}: else it proves nothing"
            );
            assert_eq!(doctor["image"], objects.agent()["image"], "{name}");
        }
    }
}

fn addresses() {
    for (name, objects) in all() {
        let config = parsed(&objects).expect("accepted");
        let ListenAddress::Tcp(telemetry) = config.telemetry else { panic!("{name}: no telemetry") };
        assert!(telemetry.ip().is_unspecified(), "{name}");
        let port = |wanted: &str| {
            let ports = items(&objects.agent()["ports"]).iter().find(|port| port["name"] == wanted);
            ports.and_then(|port| port["containerPort"].as_u64())
        };
        assert_eq!(port("telemetry"), Some(telemetry.port().into()), "{name}");
        let api = match config.api {
            ListenAddress::Tcp(api) => Some(u64::from(api.port())),
            _ => None,
        };
        assert_eq!(port("api"), api, "{name}");
        let server = variable(&objects, "PORTOLAN_SERVER").and_then(|entry| entry["value"].as_str());
        assert_eq!(server.map(str::to_owned), api.map(|port| format!("http://127.0.0.1:{port}")), "{name}");
    }
}

fn variable<'a>(objects: &'a Objects, name: &str) -> Option<&'a Value> {
    items(&objects.agent()["env"]).iter().find(|entry| entry["name"] == name)
}

fn node_name() {
    for (name, objects) in all() {
        let node = variable(&objects, "NODE_NAME").expect("NODE_NAME");
        assert_eq!(node["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName", "{name}");
        let log =
            variable(&objects, "PORTOLAN_LOG").expect("PORTOLAN_LOG")["value"].as_str().expect("a level");
        // kube_client logs an error for each failed connection.
        assert!(log.ends_with(",kube_client=off"), "{name}: {log}");
    }
}
