//! The commands that query the runtime without an agent.

use std::process::Command;

use libtest_mimic::Trial;

use super::case;
use crate::harness::agent::binary;
use crate::harness::pod::Wanted;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::metadata;

pub fn cases() -> Vec<Trial> {
    vec![case("commands/scan_asks_the_runtime_once", scan), case("commands/doctor_names_the_runtime", doctor)]
}

fn scan() {
    let pod = Wanted::pod("scanned").run();
    pod.container("app", r#"[{"containerPort":8080}]"#, "httpd -p 8080; httpd -p 9090; sleep 1000");
    let line = eventually(TIMEOUT, "the scan finds the undeclared port", || {
        let output = Command::new(binary())
            .args(["scan", "--output", "wide", "-n", "shop", "--metadata", &metadata()])
            .output()
            .expect("scan runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = text.lines().find(|line| line.contains("9090/TCP")).map(str::to_owned);
        found.ok_or_else(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    });
    assert!(line.contains("shop/scanned") && line.contains("undeclared-reachable"), "{line}");
    assert!(!line.contains("8080/TCP"));
}

fn doctor() {
    let output =
        Command::new(binary()).args(["doctor", "--metadata", &metadata()]).output().expect("doctor runs");
    // Long rows continue on the next line.
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("container runtime ok containerd ") && text.contains("polled each second"),
        "{text}"
    );
}
