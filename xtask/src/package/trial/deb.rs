//! Cases of the .deb, in their order: installed in a clean Debian system, used, upgraded, removed.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::system::eventually;
use super::{Case, World};

pub const CASES: &[Case] = &[
    ("deb/installing starts and enables nothing", installed),
    ("deb/the installed program has the version and its completions", program),
    ("deb/scan finds an undeclared port and says so in its exit code", scan),
    ("unit/systemd finds nothing wrong with it", verified),
    ("unit/the agent finds the port within the unit's limits", observes),
    ("unit/the agent counts a call within the unit's limits", counts),
    ("unit/a reload applies an exception", reloads),
    ("unit/a wrong configuration is not tried again", refused),
    ("deb/an upgrade keeps the configuration and restarts the running service", upgraded),
    ("deb/removing stops the service, and purging leaves nothing", purged),
];

const CONFIGURATION: &str = "etc/portolan/config.yaml";
/// Port of the listener that no manifest declares.
const PORT: u64 = 4711;
/// A pod in the network namespace of the listener.
const PODS: &str = "apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, uid: 0f5a1c52-8a4e-4c0e-9a53-6d1f0c7e8080, annotations: { portolan.dev/netns: probe } }
spec: { containers: [{ name: web, image: web, ports: [{ containerPort: 80 }] }] }
";
/// The unit's capabilities: DAC_READ_SEARCH, NET_ADMIN, SYS_PTRACE, SYS_ADMIN.
const CAPABILITIES: &str = "0000000000281004";

fn installed(world: &World) -> Result<()> {
    let before = world.leftovers()?;
    ensure!(before.is_empty(), "there before: {before}");
    world.system.succeeds(&["dpkg", "--install", &world.deb])?;
    let states = ["is-enabled", "is-active"].map(|verb| world.systemctl(verb));
    let [enabled, active] = states;
    ensure!(enabled? == "disabled" && active? == "inactive", "the service is on by surprise");
    world.system.succeeds(&["dpkg", "--verify", "portolan"])?;
    let status = world.system.succeeds(&["dpkg-query", "--show", "--showformat=${Conffiles}", "portolan"])?;
    ensure!(status.trim().starts_with(&format!("/{CONFIGURATION} ")), "configuration files: {status}");
    Ok(())
}

fn program(world: &World) -> Result<()> {
    let version = world.system.succeeds(&["portolan", "--version"])?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    for completion in [
        "usr/share/bash-completion/completions/portolan",
        "usr/share/zsh/vendor-completions/_portolan",
        "usr/share/fish/vendor_completions.d/portolan.fish",
    ] {
        let text = std::fs::read_to_string(world.system.root().join(completion)).context(completion)?;
        ensure!(text.contains("fail-on"), "{completion} does not know the options");
    }
    Ok(())
}

fn scan(world: &World) -> Result<()> {
    world.listener()?;
    std::fs::write(world.system.root().join("etc/portolan/pods.yaml"), PODS)?;
    let scan = ["portolan", "scan", "--metadata", "file=/etc/portolan/pods.yaml"];
    let found = world.system.succeeds(&[&scan[..], &["--output", "json"]].concat())?;
    let found: Value = serde_json::from_str(&found).with_context(|| format!("no JSON: {found}"))?;
    ensure!(items(&found).any(is_of_the_port), "no finding of port {PORT}: {found}");
    let table = world.system.succeeds(&scan)?;
    ensure!(table.contains("shop") && table.contains(&PORT.to_string()), "{table}");
    println!("{}", table.trim_end());
    let failed = world.system.run(&[&scan[..], &["--fail-on", "info"]].concat())?;
    ensure!(failed.code == 1, "{failed:?}");
    Ok(())
}

fn items(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("items").and_then(Value::as_array).into_iter().flatten()
}

fn is_of_the_port(finding: &Value) -> bool {
    let has = |pointer: &str, wanted: Value| finding.pointer(pointer) == Some(&wanted);
    let code = finding.get("code").and_then(Value::as_str).unwrap_or_default();
    code.starts_with("undeclared-") && has("/listener/port", PORT.into()) && has("/pod/name", "web".into())
}

fn has_state(object: &Value, state: &str) -> bool {
    object.get("state").and_then(Value::as_str) == Some(state)
}

fn verified(world: &World) -> Result<()> {
    let verdict =
        world.system.run(&["systemd-analyze", "verify", "/usr/lib/systemd/system/portolan.service"])?;
    ensure!(verdict.code == 0 && verdict.stdout.is_empty() && verdict.stderr.is_empty(), "{verdict:?}");
    Ok(())
}

fn observes(world: &World) -> Result<()> {
    let shipped = world.configuration()?;
    world.configure(&format!("{shipped}metadata: [file=/etc/portolan/pods.yaml]\n"))?;
    world.system.succeeds(&["systemctl", "start", "portolan"])?;
    eventually("the finding in the journal", || {
        Ok(world.journal()?.iter().any(|line| is_of_the_port(line) && has_state(line, "open")).then_some(()))
    })?;
    let status = world.system.succeeds(&["portolan", "status", "--output", "json"])?;
    let status: Value = serde_json::from_str(&status)?;
    let hooks = status.get("hooks").and_then(Value::as_array).context("no hooks")?;
    let is_attached = |hook: &Value| has_state(hook, "attached");
    ensure!(!hooks.is_empty() && hooks.iter().all(is_attached), "hooks that the unit forbids: {hooks:?}");
    let process = world.main_process()?;
    let limits = world.system.succeeds(&["cat", &format!("/proc/{process}/status")])?;
    for (name, value) in [
        ("CapPrm", CAPABILITIES),
        ("CapEff", CAPABILITIES),
        ("CapBnd", CAPABILITIES),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        ensure!(
            limits.lines().any(|line| line == format!("{name}:\t{value}")),
            "{name} is not {value}: {limits}"
        );
    }
    world.system.succeeds(&["systemd-analyze", "security", "--threshold=60", "portolan.service"])?;
    Ok(())
}

fn counts(world: &World) -> Result<()> {
    world.system.succeeds(&["bash", "-c", "exec 3<>/dev/tcp/10.77.0.2/4711"])?;
    let calls =
        |line: &Value| line.pointer("/traffic/connections").and_then(Value::as_u64).unwrap_or_default();
    let bytes = |line: &Value| line.pointer("/traffic/bytes").and_then(Value::as_u64).unwrap_or_default();
    eventually("the call in the finding", || {
        let journal = world.journal()?;
        Ok(journal
            .iter()
            .any(|line| is_of_the_port(line) && calls(line) == 1 && bytes(line) > 0)
            .then_some(()))
    })
}

fn reloads(world: &World) -> Result<()> {
    let exception = "exceptions: [{ name: probe, reason: a test, match: { port: 4711/TCP } }]\n";
    world.configure(&format!("{}{exception}", world.configuration()?))?;
    world.system.succeeds(&["systemctl", "reload", "portolan"])?;
    eventually("the suppressed finding", || {
        Ok(world
            .journal()?
            .iter()
            .any(|line| is_of_the_port(line) && has_state(line, "suppressed"))
            .then_some(()))
    })
}

fn refused(world: &World) -> Result<()> {
    let good = world.configuration()?;
    world.configure(&format!("{good}noSuchOption: 1\n"))?;
    world.system.succeeds(&["systemctl", "restart", "portolan"])?;
    eventually("the failed service", || Ok((world.systemctl("is-active")? == "failed").then_some(())))?;
    let state =
        world.system.succeeds(&["systemctl", "show", "--property=ExecMainStatus,NRestarts", "portolan"])?;
    ensure!(state.contains("ExecMainStatus=2") && state.contains("NRestarts=0"), "{state}");
    world.configure(&good)?;
    world.system.succeeds(&["systemctl", "restart", "portolan"])?;
    Ok(())
}

fn upgraded(world: &World) -> Result<()> {
    let before = (world.main_process()?, world.configuration()?);
    let upgrade = world.system.run(&["dpkg", "--force-confold", "--install", &world.deb])?;
    ensure!(upgrade.code == 0, "{upgrade:?}");
    ensure!(world.systemctl("is-active")? == "active", "the upgrade stopped the service");
    let after = (world.main_process()?, world.configuration()?);
    ensure!(before.0 != after.0, "the old program runs on");
    ensure!(before.1 == after.1, "the configuration of the user is gone");
    Ok(())
}

fn purged(world: &World) -> Result<()> {
    let root = world.system.root();
    world.system.succeeds(&["systemctl", "enable", "portolan"])?;
    ensure!(root.join("var/lib/portolan").is_dir(), "the unit made no state directory");
    world.system.succeeds(&["dpkg", "--remove", "portolan"])?;
    ensure!(world.systemctl("is-active")? != "active", "the service runs on");
    ensure!(root.join(CONFIGURATION).is_file(), "removing took the configuration");
    std::fs::remove_file(root.join("etc/portolan/pods.yaml"))?;
    world.system.succeeds(&["dpkg", "--purge", "portolan"])?;
    let left = world.leftovers()?;
    ensure!(left.is_empty(), "left behind:\n{left}");
    Ok(())
}
