//! From a socket to the report of its pod: engine, pipeline and sinks together.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use portolan::args::agent::OutputMode;
use portolan::config::OutputConfig;
use portolan::kubernetes_api::access::ApiAccess;
use portolan::pipeline::Pipeline;
use portolan::sink::convert::Wall;
use portolan::sink::kubernetes::writer::WriterContext;
use portolan::sink::metrics::Metrics;
use portolan::sink::stream::publish::Publisher;
use portolan::sink::stream::stdout::LineSink;
use portolan::sink::stream::watch_log::WatchLog;
use portolan::source::clock;
use portolan::state::StateFeed;
use portolan_engine::Engine;
use portolan_engine::model::identity::{NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{Container, Pod, PodSource};
use portolan_engine::model::socket::OpenedSocket;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use tokio::time::timeout;

use crate::sink_world::SOON;
use crate::world::{FAST, NODE, PATIENCE, scratch};

const NETNS: NetnsId = NetnsId(7);

fn pipeline() -> Pipeline {
    let options = EngineOptions {
        grace: Duration::ZERO,
        attribution_hold: Duration::ZERO,
        traffic_drained: false,
        ..EngineOptions::default()
    };
    let lines = LineSink::start(std::io::sink(), 16).expect("a thread");
    let output = OutputConfig { mode: OutputMode::None, kinds: Vec::new(), connection_lines: 10 };
    let publisher = Publisher::new(lines, output, Arc::new(WatchLog::new(1, 100)));
    let metrics = Arc::new(Metrics::new("0.1.0", "6.18".to_owned()));
    Pipeline::new(
        Engine::new(options),
        None,
        publisher,
        metrics,
        NODE.into(),
        "6.18".to_owned(),
        StateFeed::default().subscribe(),
    )
}

fn pod(netns: Option<&str>) -> Pod {
    Pod {
        uid: PodUid("uid-app".to_owned()),
        namespace: "shop".to_owned(),
        name: "app".to_owned(),
        netns_path: netns.map(str::to_owned),
        containers: vec![Container { name: "app".to_owned(), ..Container::default() }],
        ..Pod::default()
    }
}

fn open(pipeline: &mut Pipeline) {
    pipeline.apply(Input::NetnsSeen {
        facts: NetnsFacts {
            netns: NETNS,
            inode: 7,
            paths: vec!["/run/netns/app".to_owned()],
            is_host: false,
            addresses: vec!["10.1.0.2/24".parse().expect("an address")],
            has_guest: false,
            ephemeral_ports: (32_768, 60_999),
        },
        at: clock::now(),
    });
    pipeline.apply(Input::Pods { source: PodSource::Runtime, pods: vec![pod(Some("/run/netns/app"))] });
    let port = NonZeroU16::new(9090).expect("not 0");
    pipeline.apply(Input::SocketOpened(OpenedSocket {
        cookie: SocketCookie(1),
        port: PortId { netns: NETNS, protocol: Protocol::Tcp, port },
        address: [0, 0, 0, 0].into(),
        v6_only: None,
        on_loopback: false,
        process: None,
        at: clock::now(),
    }));
    pipeline.tick();
}

/// Updates the sinks, as the agent does each second, until the condition holds.
async fn until(pipeline: &Pipeline, what: &str, holds: impl Fn() -> bool) {
    let reached = timeout(PATIENCE, async {
        while !holds() {
            pipeline.settle_cluster_sinks();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    reached.await.unwrap_or_else(|_| panic!("not in time: {what}; {:?}", pipeline.cluster.totals()));
}

#[tokio::test]
async fn a_socket_becomes_a_report_once_the_api_server_knows_its_pod() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    let directory = scratch();
    let context = WriterContext {
        access: Arc::new(ApiAccess::new(Some(server.client_files(&directory).kubeconfig))),
        agent: NODE.into(),
        now: clock::now,
        wall: || Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
        timings: SOON,
        api_timings: FAST,
    };
    let mut pipeline = pipeline();
    let writing = pipeline.cluster.start_reports(&context, &StateFeed::default());
    open(&mut pipeline);
    assert_eq!(pipeline.engine.at_server(&PodUid("uid-app".to_owned())), None);
    // The pod is static: the API server knows its mirror, with another UID.
    let mirror = Pod { mirror: Some(PodUid("mirror".to_owned())), ..pod(None) };
    pipeline.apply(Input::Pods { source: PodSource::ApiServer, pods: vec![mirror] });
    let summary = || Some(server.objects("reports").first()?["summary"].clone());
    let counts = |field: &'static str| move |summary: serde_json::Value| summary[field].as_u64();
    until(&pipeline, "a report", || summary().and_then(counts("warn")) == Some(1)).await;
    assert_eq!(server.objects("reports")[0]["scope"]["uid"], "mirror");
    pipeline.apply(Input::SocketClosed { netns: NETNS, cookie: SocketCookie(1), at: clock::now() });
    pipeline.tick();
    until(&pipeline, "it passes", || summary().and_then(counts("pass")) == Some(1)).await;
    pipeline.measure();
    let metrics = pipeline.metrics.encode();
    let line = "portolan_sink_writes_total{sink=\"reports\",result=\"written\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    writing.abort();
    let _ = std::fs::remove_dir_all(directory);
}
