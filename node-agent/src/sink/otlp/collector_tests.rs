//! Export through a real OpenTelemetry collector, which forwards to the receiver of these tests.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portolan_testing::tools;
use tokio::net::{TcpListener, TcpStream};

use super::OtlpOptions;
use super::receiver::Receiver;
use super::sending_tests::{PATIENCE, begin, has_begun, offer, options, until_state, with_id};
use crate::args::agent::OtlpSignal;
use crate::state::State;

/// A running collector, killed on drop.
struct Collector {
    address: SocketAddr,
    process: Child,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Collector {
    /// Starts a collector that forwards to `receiver`, and waits until it listens. `None` if the program is not installed.
    async fn start(receiver: &Receiver) -> Option<Self> {
        let Some(program) = tools::program("rotel-agent") else {
            println!("skipped: no collector; run `cargo xtask setup --tests`");
            return None;
        };
        let (address, other) = (free().await, free().await);
        let process = Command::new(program)
            .env_clear()
            .arg("start")
            .args(["--otlp-http-endpoint", &address.to_string(), "--otlp-grpc-endpoint", &other.to_string()])
            .args(["--otlp-receiver-logs-http-path", "/base/v1/logs"])
            .args(["--otlp-receiver-metrics-http-path", "/base/v1/metrics"])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &format!("http://{}/base", receiver.address)])
            .args(["--batch-timeout", "20ms"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the collector starts");
        let mut collector = Self { address, process };
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                assert_eq!(collector.process.try_wait().expect("a state"), None, "the collector has ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("the collector listens in time");
        Some(collector)
    }

    fn options(&self, signal: OtlpSignal) -> OtlpOptions {
        options(self.address, signal)
    }
}

/// Returns a loopback address without a listener.
async fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address")
}

#[tokio::test]
async fn a_collector_takes_findings_and_hands_them_on() {
    let mut receiver = Receiver::start([]).await;
    let Some(collector) = Collector::start(&receiver).await else { return };
    let mut export = begin(collector.options(OtlpSignal::Logs));
    offer(&export, 0..20);
    export.records.offer(&with_id("0", "resolved"));
    let arrived = receiver.until(|arrived| arrived.findings().len() == 21).await;
    // A collector may merge and reorder batches.
    let mut findings = arrived.findings();
    findings.sort();
    let mut expected: Vec<_> = (0..20).map(|id| (id.to_string(), "open".to_owned())).collect();
    expected.push(("0".to_owned(), "resolved".to_owned()));
    expected.sort();
    assert_eq!(findings, expected);
    assert_eq!(until_state(&mut export, has_begun).await, State::Up);
    assert_eq!(export.records.lost().map(|(_, count)| count), [0, 0, 0]);
    assert_eq!(export.finish(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_collector_takes_metrics_and_hands_them_on() {
    let mut receiver = Receiver::start([]).await;
    let Some(collector) = Collector::start(&receiver).await else { return };
    let export = begin(collector.options(OtlpSignal::Metrics));
    let arrived = receiver.until(|arrived| !arrived.metrics.is_empty()).await;
    let resource = arrived.metrics[0].resource_metrics.first().expect("a resource");
    let names: Vec<&str> =
        resource.scope_metrics.iter().flat_map(|scope| &scope.metrics).map(|metric| &*metric.name).collect();
    // A gauge, a sum and a histogram.
    for name in ["portolan.namespaces", "portolan.unattributed", "portolan.scan_duration"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let attributes = &resource.resource.as_ref().expect("attributes").attributes;
    assert!(attributes.iter().any(|attribute| attribute.key == "k8s.node.name"), "{attributes:?}");
    assert_eq!(export.records.lost().map(|(_, count)| count), [0, 0, 0]);
    export.finish(PATIENCE).await;
}
