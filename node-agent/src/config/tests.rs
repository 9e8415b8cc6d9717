//! Tests of the configuration: precedence, and the message of each invalid input.

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn typed(line: &str) -> AgentArgs {
    let words = ["portolan", "agent"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).expect("parses").command {
        Command::Agent(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn resolved(line: &str, file: &str) -> Result<AgentConfig, String> {
    let file = file::parse("p.yaml", file).map_err(|e| e.to_string())?;
    let mut args = typed(line);
    args.node_name = None;
    AgentConfig::resolve(&args, file).map_err(|e| e.to_string())
}

#[test]
fn without_options_the_defaults_of_the_contract_hold() {
    let config = resolved("", "").expect("valid");
    assert_eq!(config.api, ListenAddress::Tcp("127.0.0.1:9470".parse().expect("address")));
    assert_eq!(config.telemetry, ListenAddress::Tcp("0.0.0.0:9471".parse().expect("address")));
    assert_eq!(config.grace, Duration::from_secs(5));
    assert_eq!(config.record, RecordMode::Undeclared);
    assert_eq!(config.state_dir, None);
    assert_eq!(config.netns_dirs, [PathBuf::from("/run/netns")]);
}

#[test]
fn the_command_line_beats_the_file() {
    let file =
        "grace: 1m\nrecord: all\nmetadata: [file=/a.yaml]\nlimits:\n  peers: 100\npodCidrs: [10.1.2.3/8]\n";
    let config = resolved("--grace 2s --metadata file=/b.yaml --include-host", file).expect("valid");
    assert_eq!(config.grace, Duration::from_secs(2));
    assert_eq!(config.record, RecordMode::All);
    assert_eq!(config.metadata, [MetadataSource::File("/b.yaml".into())]);
    assert_eq!(config.caps.peers, 100);
    assert!(config.include_host);
    assert_eq!(config.pod_cidrs, ["10.0.0.0/8".parse::<IpNet>().expect("net")]);
}

#[test]
fn one_source_of_each_kind_may_be_given() {
    let metadata = |line: &str| resolved(line, "").expect("valid").metadata;
    let socket = |path: &str| MetadataSource::Cri(Some(path.into()));
    assert_eq!(metadata("--metadata cri"), [MetadataSource::Cri(None)]);
    let both = [socket("/run/x.sock"), MetadataSource::File("/a".into())];
    assert_eq!(metadata("--metadata cri=/run/x.sock,file=/a"), both);
    assert_eq!(metadata("--metadata cri=unix:///run/x.sock"), [socket("/run/x.sock")]);
    let file = "nodeName: node-1\nservices: true\npolicies: false\nkubeconfig: /k\n";
    let config = resolved("--metadata kubernetes,file=/a --services=false", file).expect("valid");
    assert_eq!(config.metadata, [MetadataSource::Kubernetes, MetadataSource::File("/a".into())]);
    assert_eq!((config.services, config.policies), (Switch::Off, Switch::Off));
    assert_eq!(config.kubeconfig, Some("/k".into()));
    assert_eq!(resolved("", "").expect("valid").services, Switch::On);
}

#[test]
fn reports_and_events_are_off_unless_they_are_asked_for() {
    let config = resolved("", "").expect("valid");
    assert_eq!((config.reports, config.events), (Switch::Off, Switch::Off));
    let config = resolved("--metadata kubernetes --reports", "nodeName: n\nevents: true").expect("valid");
    assert_eq!((config.reports, config.events), (Switch::On, Switch::On));
    let config = resolved("--reports=false", "reports: true").expect("valid");
    assert_eq!(config.reports, Switch::Off);
}

#[test]
fn state_is_kept_in_a_directory_unless_it_is_off() {
    let directory = |line: &str, file: &str| resolved(line, file).expect("valid").state_dir;
    assert_eq!(directory("--state-dir /var/lib/portolan", ""), Some("/var/lib/portolan".into()));
    assert_eq!(directory("", "stateDir: /s"), Some("/s".into()));
    assert_eq!(directory("--state-dir off", "stateDir: /s"), None);
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (line, file, then) in [
        ("--metadata kubernetes", "", "needs this node's name: give --node-name or set NODE_NAME"),
        ("--metadata kubernetes", "nodeName: a,spec=b", "--node-name: \"a,spec=b\" is not valid"),
        ("--metadata cri --reports", "", "--reports needs the API server as a source of pods"),
        ("--metadata cri", "events: true", "--events needs the API server as a source of pods"),
        ("--metadata kubernetes=x", "", "expected cri, cri=SOCKET, kubernetes or file=PATH"),
        ("--metadata cri=", "", "expected cri, cri=SOCKET, kubernetes or file=PATH"),
        ("--metadata cri=run/x.sock", "", "expected cri, cri=SOCKET, kubernetes or file=PATH"),
        ("--metadata file=", "", "expected cri, cri=SOCKET, kubernetes or file=PATH"),
        ("--metadata file=a,cri,file=b", "", "\"file=b\" is not valid: expected one source of each kind"),
        ("--api 9470", "", "--api: \"9470\" is not valid: expected ADDR:PORT"),
        ("--api unix:rel", "", "absolute path"),
        ("--telemetry unix:/x", "", "--telemetry: \"unix:/x\" is not valid"),
        ("--state-dir lib", "", "--state-dir: \"lib\" is not valid: expected an absolute path"),
        ("--state-dir=", "", "expected an absolute path"),
        ("--grace 5x", "", "such as 5s"),
        ("--grace 2h", "", "up to 1h"),
        ("--pod-cidr 10.0.0.0/33", "", "10.244.0.0/16"),
        ("--max-peers 0", "", "--max-peers"),
        ("--api 127.0.0.1:9 --telemetry 127.0.0.1:9", "", "--api and --telemetry are both"),
        ("", "# x\nrecrod: all\n", "p.yaml:2: unknown key `recrod`: did you mean `record`?"),
        ("", "grace: 1s\nnodename: x\n", "p.yaml:2: unknown key `nodename`: did you mean `nodeName`?"),
        ("", "limits:\n  peer: 3\n", "p.yaml:2: unknown key `peer`: did you mean `peers`?"),
        ("", "zzzzzzzz: 3\n", "p.yaml:1: unknown key `zzzzzzzz`: expected one of metadata,"),
        ("", "grace: 1s\nrecord: some\n", "p.yaml:2:"),
        ("", "limits:\n  peers: many\n", "p.yaml:2:"),
        ("", "a: [\n", "p.yaml:"),
    ] {
        let error = resolved(line, file).expect_err("is wrong");
        assert!(error.contains(then), "{line} {file:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    let error = file::read(std::path::Path::new("/dev/zero")).expect_err("too large").to_string();
    assert!(error.contains("more than"), "{error}");
}
