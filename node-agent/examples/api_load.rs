//! Simulates a cluster's agents against a server that stands in, and prints as JSON how often it is asked: at the start, in
//! steady state, while it is away and when it is back. `cargo xtask bench --only api` runs it; all waits are ten times
//! shorter than in an agent, so a tenth of a second here is a second there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portolan::kubernetes_api::timings::ApiTimings;
use portolan::source::kubernetes::{self, KubernetesOptions, Switch, Watching};
use portolan_engine::model::input::Input;
use portolan_testing::api_server::access::{Authority, ClientFiles};
use portolan_testing::api_server::server::{Server, Settings, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How many times faster than real the simulation runs.
const FASTER: u32 = 10;
/// A second of the real agents' time.
const SECOND: Duration = Duration::from_millis(100);
const AGENTS: usize = 5000;
/// Descriptors of one agent: four connections, both ends here.
const DESCRIPTORS: usize = 8;
const SERVICES: usize = 20;

fn main() -> anyhow::Result<()> {
    let wanted = std::env::args().nth(1).map_or(Ok(AGENTS), |text| text.parse())?;
    let agents = wanted.min(open_files(wanted * DESCRIPTORS + 1000)?.saturating_sub(1000) / DESCRIPTORS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(simulate(agents))?;
    println!("{measured}");
    // 20,000 connections: the kernel closes them faster than we do.
    std::process::exit(0);
}

/// How many descriptors there may be: `wanted`, which root gets whatever the limit was, or as many as are allowed.
fn open_files(wanted: usize) -> anyhow::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    if allowed >= wanted {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        return Ok(allowed);
    }
    let most = u64::try_from(wanted).ok();
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(allowed)
}

async fn simulate(agents: usize) -> anyhow::Result<Value> {
    let settings = Settings { bookmark_every: SECOND * 60, ..Settings::default() };
    let server = Server::start(Transport::Plain, settings).await;
    fill(&server, agents);
    let directory = std::env::temp_dir().join(format!("portolan-api-load-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // With an authority of its own no client reads those of the machine.
    let authority = Authority::new();
    let files = ClientFiles::write(&directory, &server.url(), "none", Some(&authority.pem));
    let lists = Arc::new(AtomicU64::new(0));
    let began = server.log().elapsed();
    let watching = start(agents, &files.kubeconfig, &lists);
    let up = all_are(&watching, true).await;
    let start = phase(&server, began, up);

    let steady = quiet_phase(&server, SECOND * 900).await;
    server.log().clear();
    let began = server.log().elapsed();
    server.turn_away().await;
    sleep(SECOND * 600).await;
    let away = phase(&server, began, SECOND * 600);
    server.log().clear();
    let began = server.log().elapsed();
    server.come_back().await;
    let up = all_are(&watching, true).await;
    let back = phase(&server, began, up);
    std::fs::remove_dir_all(directory)?;
    Ok(json!({
        "agents": agents, "watches": watching.len(), "lists": lists.load(Ordering::Relaxed),
        "start": start, "steady": steady, "away": away, "back": back,
    }))
}

fn fill(server: &Server, agents: usize) {
    for n in 0..agents {
        let metadata = json!({"namespace": "shop", "name": format!("web-{n}"), "uid": format!("web-{n}")});
        server.put(
            "pods",
            json!({"metadata": metadata, "spec": {"nodeName": format!("node-{n}"), "containers": []}}),
        );
    }
    for n in 0..SERVICES {
        let metadata = json!({"namespace": "shop", "name": format!("web-{n}")});
        server.put("services", json!({"metadata": metadata, "spec": {"ports": [{"port": 80}]}}));
    }
    server.put("namespaces", json!({"metadata": {"name": "shop"}}));
}

/// The agents, each with its own client, as they would be on nodes of their own.
fn start(agents: usize, kubeconfig: &Path, lists: &Arc<AtomicU64>) -> Vec<Watching> {
    let (inputs, mut told) = mpsc::channel(4096);
    let counted = Arc::clone(lists);
    tokio::spawn(async move {
        while let Some(input) = told.recv().await {
            if matches!(input, Input::Pods { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let real = ApiTimings::default();
    let pace = ApiTimings {
        start_within: real.start_within / FASTER,
        first: real.first / FASTER,
        most: real.most / FASTER,
        seldom: real.seldom / FASTER,
        quiet: real.quiet / FASTER,
        watch_for: real.watch_for / FASTER,
        short: real.short / FASTER,
        // Two cores play the server and all agents: that answers take long is no fault here.
        answer_within: Duration::from_secs(60),
    };
    let one = |n: usize| {
        let options = KubernetesOptions {
            node_name: format!("node-{n}"),
            kubeconfig: Some(PathBuf::from(kubeconfig)),
            services: Switch::On,
            policies: Switch::On,
            pace,
        };
        kubernetes::start(&options, &inputs)
    };
    (0..agents).flat_map(one).collect()
}

/// Waits until every watch is up; how long that took.
async fn all_are(watching: &[Watching], up: bool) -> Duration {
    let began = tokio::time::Instant::now();
    for one in watching {
        let mut states = one.states.clone();
        let _ = states.wait_for(|state| state.up == up).await;
    }
    began.elapsed()
}

/// Requests since `began`, by the real agents' seconds.
fn phase(server: &Server, began: Duration, lasted: Duration) -> Value {
    let times = server.log().times();
    let mut seconds = vec![0u64; usize::try_from(lasted.as_millis() / SECOND.as_millis()).unwrap_or(0) + 1];
    for at in times.iter().filter(|at| **at >= began) {
        let second = usize::try_from((*at - began).as_millis() / SECOND.as_millis()).unwrap_or(0);
        if let Some(count) = seconds.get_mut(second) {
            *count += 1;
        }
    }
    let requests: u64 = seconds.iter().sum();
    json!({
        "requests": requests, "seconds": seconds.len(), "peakPerSecond": seconds.iter().max(),
        "perSecond": requests as f64 / seconds.len() as f64,
    })
}

async fn quiet_phase(server: &Server, lasting: Duration) -> Value {
    server.log().clear();
    let began = server.log().elapsed();
    sleep(lasting).await;
    phase(server, began, lasting)
}
