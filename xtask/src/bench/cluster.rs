//! A node of 250 pods in a cluster with 2,000 Services: time from the agent's start to a correct verdict on every pod, and memory
//! at that point.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::agent::Agent;
use super::pods::Pods;
use super::{Bench, Row};
use crate::stopwatch::monotonic;

const PODS: usize = 250;
const SERVICES: usize = 2_000;
/// Undeclared ports of each pod. A Service targets one of them.
const PORTS: &str = "2";
const PATIENCE: Duration = Duration::from_secs(60);
/// Time until caches and buffers of the start are released.
const SETTLE: Duration = Duration::from_secs(15);

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let pods = Pods::start("cluster", PODS, &["--tcp", PORTS])?;
    let manifest = bench.directory.join("cluster.yaml");
    std::fs::write(&manifest, manifests(&pods.names())?)?;
    let began = monotonic();
    let (agent, out) =
        Agent::start_piped(&bench.agent, &manifest, &["--grace", "1ms", "--kinds", "finding"])?;
    let judged = all_judged(out)?.saturating_sub(began);
    std::thread::sleep(SETTLE);
    let megabytes = agent.resident_bytes()? as f64 / f64::from(1 << 20);
    Ok(vec![
        Row::new(
            "first verdict on every pod after the agent's start",
            format!("{:.2} s", judged.as_secs_f64()),
            "≤ 2 s",
            judged <= Duration::from_secs(2),
            format!(
                "{PODS} netns with {PORTS} undeclared listeners each, {SERVICES} Services, from manifests, grace 1 ms"
            ),
        ),
        Row::new(
            "resident memory with these pods and Services",
            format!("{megabytes:.1} MB"),
            "≤ 60 MB",
            megabytes <= 60.0,
            format!("{PODS} pods with 6 labels and 2 containers, {SERVICES} Services, programs attached"),
        ),
    ])
}

/// Returns the time at which the last pod got its first finding.
fn all_judged(out: ChildStdout) -> Result<Duration> {
    let (sender, findings) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let name = line.split("\"pod\":{").nth(1).and_then(|pod| pod.split("\"name\":\"").nth(1));
            let name = name.and_then(|name| name.split('"').next()).unwrap_or_default().to_owned();
            if sender.send((name, monotonic())).is_err() {
                return;
            }
        }
    });
    let mut judged = BTreeSet::new();
    loop {
        match findings.recv_timeout(PATIENCE) {
            Ok((name, at)) => {
                judged.insert(name);
                if judged.len() == PODS {
                    return Ok(at);
                }
            }
            Err(_) => bail!("{} of {PODS} pods were judged", judged.len()),
        }
    }
}

fn manifests(names: &[&str]) -> Result<String> {
    let mut text = String::new();
    for (n, netns) in names.iter().enumerate() {
        let app = n / 3;
        write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  namespace: bench\n  name: {netns}\n  \
             uid: 00000000-0000-4000-8000-{n:012x}\n  annotations:\n    portolan.dev/netns: {netns}\n  labels:\n    \
             app.kubernetes.io/name: app-{app}\n    app.kubernetes.io/instance: release-{}\n    \
             app.kubernetes.io/part-of: shop\n    app.kubernetes.io/managed-by: Helm\n    \
             pod-template-hash: h{app:08x}\n    team: blue\nspec:\n  containers:\n    - name: app\n      \
             image: registry.example/shop/app:1.2.3\n      ports:\n        - {{name: http, containerPort: 1}}\n    \
             - name: proxy\n      image: registry.example/shop/proxy:1.2.3\n      ports:\n        \
             - containerPort: 2\n",
            n / 10
        )?;
    }
    for n in 0..SERVICES {
        // One Service of 24 selects pods of this node.
        let app = if n % 24 == 0 { format!("app-{}", n / 24) } else { format!("far-{n}") };
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  namespace: bench\n  name: service-{n}\nspec:\n  \
             clusterIP: 10.96.{}.{}\n  selector:\n    app.kubernetes.io/name: {app}\n  ports:\n    \
             - {{port: 80, targetPort: http}}\n",
            n / 250,
            n % 250 + 1
        )?;
    }
    Ok(text)
}
