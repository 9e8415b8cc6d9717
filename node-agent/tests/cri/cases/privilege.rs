//! Least privilege: the image in a real container works with what the chart grants it, and without any one part ends
//! with exit code 4 and names that part. `cargo xtask test --tier privilege` builds the image and runs these cases.

use libtest_mimic::Trial;
use portolan_report::wire::{Finding, Report};

use super::case;
use crate::harness::agent_pod::{
    AgentPod, Given, capabilities, is_given, runtime, runtime_dir, state_directory,
};
use crate::harness::containerd::Node;
use crate::harness::messages::{LOCALHOST, Number, SecurityProfile};
use crate::harness::pod::{Pod, Wanted, address};

/// Returns the cases; none if no image is given.
pub fn cases() -> Vec<Trial> {
    if !is_given() {
        return Vec::new();
    }
    vec![
        case("privilege/the_charts_set_is_enough", enough),
        case("privilege/without_sys_admin", || lacks_capability("SYS_ADMIN")),
        case("privilege/without_net_admin", || lacks_capability("NET_ADMIN")),
        case("privilege/without_sys_ptrace", || lacks_capability("SYS_PTRACE")),
        case("privilege/without_dac_read_search", || lacks_capability("DAC_READ_SEARCH")),
        case("privilege/every_capability_has_its_case", every_capability_has_its_case),
        case("privilege/without_host_pid", without_host_pid),
        case("privilege/without_the_netns_mount", || lacks_mount("/run/netns")),
        case("privilege/without_the_cgroup_mount", || lacks_mount("/sys/fs/cgroup")),
        case("privilege/without_the_runtimes_socket", || lacks_mount(&runtime_dir())),
        case("privilege/without_the_state_directory_it_runs_and_says_so", without_state),
        case("privilege/without_mount_propagation", without_propagation),
        case("privilege/a_seccomp_filter_that_forbids_bpf_is_named", seccomp_is_named),
        case("privilege/privileged_lifts_what_a_profile_forbids", privileged),
        case("privilege/doctor_agrees", doctor_agrees),
    ]
}

const WEB: &str = r#"[{"name":"http","containerPort":8080,"protocol":"TCP"}]"#;

/// Creates a pod of another user that listens before the agent starts.
fn web(name: &str) -> Pod {
    let pod = Wanted::pod(name).run();
    let mut config = pod.container_config("app", WEB);
    let script = "httpd -p 8080; httpd -p 9090; sleep 1000";
    config.command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("one");
    security.run_as_user = Some(Number { value: 1000 });
    pod.start(config);
    pod
}

fn finding(agent: &AgentPod, pod: &Pod, port: u16, code: &str, is_so: impl Fn(&Finding) -> bool) -> Finding {
    agent.wait_report(&format!("{code} of {} on {port}", pod.name), |report| match report {
        Report::Finding(item)
            if item.code == code
                && item.pod.as_ref().is_some_and(|said| said.uid == pod.uid)
                && item.listener.as_ref().is_some_and(|listener| listener.port == port)
                && is_so(item) =>
        {
            Some(item.clone())
        }
        _ => None,
    })
}

fn calls(target: &Pod, port: u16) -> Pod {
    let curler = Wanted::pod("curler").run();
    let script = format!("while sleep 0.2; do wget -q -O- http://{}:{port}/; done", address(target));
    curler.container("curl", "", &script);
    curler
}

fn sees_an_undeclared_port_with_its_traffic(agent: &AgentPod) {
    let web = web("web");
    let _curler = calls(&web, 9090);
    finding(agent, &web, 9090, "undeclared-active", |found| {
        found.traffic.peers.iter().any(|peer| peer.reference.as_deref() == Some("shop/curler"))
    });
}

fn enough() {
    let before = web("before");
    let agent = Given::by_the_chart().run();
    let old = finding(&agent, &before, 9090, "undeclared-reachable", |_| true);
    let process = old.listener.and_then(|listener| listener.process).expect("another user's process");
    assert_eq!(process.name, "httpd");
    let _curler = calls(&before, 9090);
    // Packets are counted once the interface is attached.
    finding(&agent, &before, 9090, "undeclared-active", |found| {
        found.traffic.packets > 0
            && found.traffic.peers.iter().any(|peer| peer.reference.as_deref() == Some("shop/curler"))
    });
    // Sockets that open later are seen through the mount's propagation.
    sees_an_undeclared_port_with_its_traffic(&agent);
    agent.wait_report("the state is kept", |report| match report {
        Report::AgentStatus(status) => {
            let state = status.sources.iter().find(|source| source.name == "state-file")?;
            (state.state == "up" && state.reason.is_none()).then_some(())
        }
        _ => None,
    });
    agent.wait_report("every hook is attached", |report| match report {
        Report::AgentStatus(status) if status.hooks.iter().all(|hook| hook.state == "attached") => Some(()),
        _ => None,
    });
}

fn refused(agent: &AgentPod, name: &str) {
    let code = agent.exit_code();
    let said = agent.output("stderr");
    assert!(code == 4 && said.contains(name), "exit code {code}, not 4 with {name}: {said}");
}

fn lacks_capability(name: &str) {
    refused(&Given::by_the_chart().without_capability(name).run(), &format!("CAP_{name} is missing"));
}

fn every_capability_has_its_case() {
    let names: Vec<String> = cases().iter().map(|trial| trial.name().to_owned()).collect();
    for capability in capabilities() {
        let name = format!("privilege/without_{}", capability.to_lowercase());
        assert!(names.contains(&name), "{name}");
    }
}

fn lacks_mount(path: &str) {
    refused(&Given::by_the_chart().without_mount(path).run(), path);
}

/// The root of the container is read-only, so without the mount there is no directory.
fn without_state() {
    let agent = Given::by_the_chart().without_mount(&state_directory()).run();
    sees_an_undeclared_port_with_its_traffic(&agent);
    let said = agent.output("stderr");
    assert!(said.contains("the state directory") && said.contains("cannot be used"), "{said}");
}

fn without_host_pid() {
    refused(&Given { host_pid: false, ..Given::by_the_chart() }.run(), "hostPID is missing");
}

fn without_propagation() {
    let mut given = Given::by_the_chart();
    given.mounts.iter_mut().for_each(|mount| mount.propagation = 0);
    refused(&given.run(), "the mount /run/netns lacks mountPropagation: HostToContainer");
}

/// Returns a profile that allows everything but bpf(2), as hardened nodes have.
fn forbids_bpf() -> SecurityProfile {
    let path = Node::with(|node| node.path("no-bpf.json"));
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    std::fs::write(&path, profile.to_string()).expect("write");
    SecurityProfile { profile_type: LOCALHOST, localhost_ref: path.display().to_string() }
}

fn seccomp_is_named() {
    let agent = Given { seccomp: forbids_bpf(), ..Given::by_the_chart() }.run();
    refused(&agent, "the seccomp filter forbids it");
    assert!(agent.output("stderr").contains("`privileged: true`"), "{}", agent.output("stderr"));
    let doctor = Given { seccomp: forbids_bpf(), ..Given::by_the_chart() };
    let doctor = doctor.run_command(&["doctor", "--metadata", &runtime()]);
    assert_eq!(doctor.exit_code(), 4, "{}", doctor.output("stdout"));
    let said = doctor.output("stdout").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("`privileged: true`"), "{said}");
}

fn privileged() {
    // Privileged containers have no filter, whatever the request says.
    let given = Given { seccomp: forbids_bpf(), privileged: true, ..Given::by_the_chart() };
    sees_an_undeclared_port_with_its_traffic(&given.run());
}

fn doctor_agrees() {
    let doctor = Given::by_the_chart().run_command(&["doctor", "--metadata", &runtime()]);
    let code = doctor.exit_code();
    let said = doctor.output("stdout");
    assert_eq!(code, 0, "{said}{}", doctor.output("stderr"));
    assert!(said.contains("this node can run the agent"), "{said}");
    assert!(!said.contains("FAIL"), "{said}");
}
