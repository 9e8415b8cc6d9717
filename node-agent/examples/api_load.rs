//! Simulates a cluster's agents against the stand-in API server, and prints the rate of requests as JSON: at the start, in
//! steady state, while the server is away and after it is back. `cargo xtask bench --only api` runs it. All waits are ten
//! times shorter than in an agent, so that a tenth of a second here is a second there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portolan::kubernetes_api::timings::ApiTimings;
use portolan::source::kubernetes::{self, KubernetesOptions, Switch};
use portolan::state::{StateFeed, States};
use portolan_engine::model::input::Input;
use portolan_testing::api_server::access::{Authority, ClientFiles};
use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Factor by which the simulation is faster than real agents.
const FASTER: u32 = 10;
/// One second of the real agents' time.
const SECOND: Duration = Duration::from_millis(100);
const AGENTS: usize = 5000;
/// Number of descriptors per agent: four connections, with both ends in this process.
const DESCRIPTORS: usize = 8;
const SERVICES: usize = 20;
/// Kinds of objects that each agent watches.
const WATCHES: usize = 4;

fn main() -> anyhow::Result<()> {
    let requested = std::env::args().nth(1).map_or(Ok(AGENTS), |text| text.parse())?;
    let agents =
        requested.min(open_files(requested * DESCRIPTORS + 1000)?.saturating_sub(1000) / DESCRIPTORS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(simulate(agents))?;
    println!("{measured}");
    // The kernel closes 20,000 connections faster than their destructors.
    std::process::exit(0);
}

/// Raises the limit of open files to `wanted`, which root may do, else to the hard limit. Returns the new limit.
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
    let scratch = Scratch::new("api-load");
    // With an authority of its own, no client loads the authorities of the machine.
    let authority = Authority::new();
    let files = ClientFiles::write(scratch.directory(), &server.url(), "none", Some(&authority.pem));
    let lists = Arc::new(AtomicU64::new(0));
    let began = server.log().elapsed();
    let feeds = start(agents, &files.kubeconfig, &lists);
    let up = all_are_up(&feeds).await;
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
    let up = all_are_up(&feeds).await;
    let back = phase(&server, began, up);
    drop(scratch);
    Ok(json!({
        "agents": agents, "watches": feeds.len() * WATCHES, "lists": lists.load(Ordering::Relaxed),
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

/// Starts the agents' watchers, each agent with its own client, as on different nodes.
fn start(agents: usize, kubeconfig: &Path, lists: &Arc<AtomicU64>) -> Vec<StateFeed> {
    let (sender, mut inputs) = mpsc::channel(4096);
    let counted = Arc::clone(lists);
    tokio::spawn(async move {
        while let Some(input) = inputs.recv().await {
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
        // Two cores run the server and all agents, so that slow answers are no fault here.
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
        let feed = StateFeed::default();
        drop(kubernetes::start(&options, &sender, &feed));
        feed
    };
    (0..agents).map(one).collect()
}

/// Waits until every watch is up. Returns how long that took.
async fn all_are_up(feeds: &[StateFeed]) -> Duration {
    let began = tokio::time::Instant::now();
    for feed in feeds {
        let is_up = |states: &States| {
            let mut up = states.sources().map(|(_, entry)| entry.state.is_up());
            states.sources().count() == WATCHES && up.all(|is_up| is_up)
        };
        let _ = feed.subscribe().wait_for(is_up).await;
    }
    began.elapsed()
}

/// Summarizes the requests since `began`, per second of the real agents' time.
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
