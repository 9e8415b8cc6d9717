//! Export to a receiver that works, is down, rejects requests, or does not answer.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_report::wire::Finding;
use portolan_testing::api_server::access::Authority;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::backlog::BacklogLimits;
use super::receiver::{Receiver, Reply};
use super::record::log_record;
use super::tests::finding;
use super::{Export, ExportTimings, FULL, METRICS_FAILED, OtlpOptions, REFUSED, start};
use crate::args::agent::OtlpSignal;
use crate::config::otlp::OtlpConfig;
use crate::sink::metrics::Metrics;
use crate::state::{State, StateFeed, States};

const TIMINGS: ExportTimings = ExportTimings {
    linger: Duration::from_millis(20),
    first_wait: Duration::from_millis(20),
    max_wait: Duration::from_millis(100),
    request_timeout: Duration::from_secs(10),
};
const LIMITS: BacklogLimits = BacklogLimits { records: 100, bytes: 1 << 20, batch: 8, batch_bytes: 1 << 20 };
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn options(address: std::net::SocketAddr, signal: OtlpSignal) -> OtlpOptions {
    let mut headers = hyper::HeaderMap::new();
    headers.insert("x-key", "secret".parse().expect("a value"));
    let config = OtlpConfig {
        endpoint: format!("http://{address}/base/").parse().expect("a URL"),
        headers,
        signals: vec![signal],
        every: Duration::from_millis(50),
        ca: None,
    };
    OtlpOptions { config, agent: "node-1".into(), clock: Timestamp::now, timings: TIMINGS, limits: LIMITS }
}

fn logs(address: std::net::SocketAddr) -> Started {
    begin(options(address, OtlpSignal::Logs))
}

/// A running export with one sender, and how that is doing.
pub(super) struct Started {
    export: Export,
    states: watch::Receiver<States>,
}

impl std::ops::Deref for Started {
    type Target = Export;

    fn deref(&self) -> &Export {
        &self.export
    }
}

impl Started {
    pub(super) async fn finish(self, patience: Duration) -> usize {
        self.export.finish(patience).await
    }
}

pub(super) fn begin(options: OtlpOptions) -> Started {
    let feed = StateFeed::default();
    let export = start(options, Arc::new(Metrics::new("0.1.0", "6.18".to_owned())), &feed);
    Started { export, states: feed.subscribe() }
}

pub(super) fn with_id(id: &str, state: &str) -> Finding {
    Finding { id: id.to_owned(), state: state.to_owned(), ..finding() }
}

pub(super) fn offer(export: &Export, ids: std::ops::Range<usize>) {
    ids.for_each(|id| export.records.offer(&with_id(&id.to_string(), "open")));
}

fn ids(ids: std::ops::Range<usize>) -> Vec<(String, String)> {
    ids.map(|id| (id.to_string(), "open".to_owned())).collect()
}

fn lost(export: &Export, reason: &str) -> u64 {
    export.records.lost().into_iter().find(|(name, _)| *name == reason).expect("a reason").1
}

pub(super) async fn until_state(export: &mut Started, mut is_so: impl FnMut(&State) -> bool) -> State {
    let latest =
        |states: &States| states.sources().next().map(|(_, entry)| entry.state.clone()).unwrap_or_default();
    let reached = export.states.wait_for(|states| is_so(&latest(states)));
    latest(&tokio::time::timeout(PATIENCE, reached).await.expect("in time").expect("it runs"))
}

pub(super) fn has_begun(state: &State) -> bool {
    *state != State::Starting
}

fn reason_of(state: &State) -> &str {
    state.reason().expect("a reason")
}

#[tokio::test]
async fn findings_arrive_and_so_does_their_end() {
    let mut receiver = Receiver::start([]).await;
    let mut export = logs(receiver.address);
    export.records.offer(&with_id("a", "open"));
    receiver.until(|arrived| arrived.findings().len() == 1).await;
    export.records.offer(&with_id("a", "resolved"));
    let arrived = receiver.until(|arrived| arrived.findings().len() == 2).await;
    let states: Vec<String> = arrived.findings().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["open", "resolved"]);
    assert_eq!(arrived.headers["x-key"], "secret");
    assert_eq!(until_state(&mut export, has_begun).await, State::Up);
    assert_eq!(export.finish(PATIENCE).await, 0);
}

#[tokio::test]
async fn many_findings_travel_in_batches_and_in_order() {
    let mut receiver = Receiver::start([]).await;
    let export = logs(receiver.address);
    offer(&export, 0..50);
    let arrived = receiver.until(|arrived| arrived.findings().len() == 50).await;
    assert_eq!(arrived.findings(), ids(0..50));
    assert!(arrived.batches.iter().all(|batch| batch.len() <= 8), "{:?}", arrived.batches);
    assert!(arrived.requests < 20, "{}", arrived.requests);
}

#[tokio::test]
async fn what_a_receiver_that_was_down_missed_arrives_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let mut export = logs(address);
    offer(&export, 0..3);
    let state = until_state(&mut export, has_begun).await;
    let reason = reason_of(&state);
    assert!(reason.to_lowercase().contains("connection refused"), "{reason}");
    let mut receiver = Receiver::start_at(address, []).await;
    let arrived = receiver.until(|arrived| arrived.findings().len() == 3).await;
    assert_eq!(arrived.findings(), ids(0..3));
    until_state(&mut export, |state| *state == State::Up).await;
    assert_eq!(export.records.lost().map(|(_, count)| count), [0, 0, 0]);
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_asked_again_when_it_wants() {
    let mut receiver =
        Receiver::start([Reply::Status(503), Reply::Status(502), Reply::Throttle(1), Reply::Accept]).await;
    let export = logs(receiver.address);
    offer(&export, 0..2);
    let begun = receiver.until(|arrived| arrived.requests == 3).await;
    assert!(begun.batches.is_empty());
    let at = tokio::time::Instant::now();
    let arrived = receiver.until(|arrived| arrived.requests == 4).await;
    assert!(at.elapsed() >= Duration::from_millis(800), "{:?}", at.elapsed());
    assert_eq!(arrived.findings(), ids(0..2));
    assert_eq!((lost(&export, REFUSED), lost(&export, FULL)), (0, 0));
}

#[tokio::test]
async fn what_is_refused_is_counted_and_not_sent_again() {
    let mut receiver =
        Receiver::start([Reply::Status(400), Reply::Partly(1, "too old"), Reply::Partly(1, "")]).await;
    let mut export = logs(receiver.address);
    offer(&export, 0..2);
    let state = until_state(&mut export, has_begun).await;
    let reason = reason_of(&state);
    assert_eq!(reason, "the receiver answers 400 Bad Request: not so");
    assert_eq!(lost(&export, REFUSED), 2);
    offer(&export, 2..5);
    until_state(&mut export, |state| state.reason() == Some("too old")).await;
    assert_eq!(lost(&export, REFUSED), 3);
    offer(&export, 5..6);
    let arrived = receiver.until(|arrived| arrived.requests == 3).await;
    assert_eq!(arrived.findings(), ids(2..6));
    until_state(&mut export, |state| state.reason() == Some("the receiver rejected 1 of them")).await;
}

#[tokio::test]
async fn what_is_too_much_at_once_comes_in_smaller_parts_and_only_what_is_too_much_alone_is_refused() {
    let one = log_record(&with_id("0", "open")).encoded_len();
    let mut receiver = Receiver::start([Reply::AtMost(3 * one)]).await;
    let export = logs(receiver.address);
    offer(&export, 0..8);
    let huge = Finding { message: "x".repeat(4 * one), ..with_id("8", "open") };
    export.records.offer(&huge);
    offer(&export, 9..12);
    let arrived = receiver.until(|arrived| arrived.findings().len() == 11).await;
    assert_eq!(arrived.findings(), [ids(0..8), ids(9..12)].concat());
    assert_eq!((lost(&export, REFUSED), lost(&export, FULL)), (1, 0));
}

/// Minimum sum of five waits.
const FIVE_WAITS: Duration = Duration::from_millis(10 + 20 + 40 + 50 + 50);

#[tokio::test]
async fn a_receiver_that_asks_for_no_wait_is_not_hammered() {
    for signal in [OtlpSignal::Logs, OtlpSignal::Metrics] {
        let mut receiver = Receiver::start(std::iter::repeat_n(Reply::Throttle(0), 5)).await;
        let mut options = options(receiver.address, signal);
        options.config.every = Duration::from_secs(2);
        let export = begin(options);
        offer(&export, 0..2);
        receiver.until(|arrived| arrived.requests >= 1).await;
        let at = tokio::time::Instant::now();
        receiver.until(|arrived| arrived.requests == 6).await;
        assert!(at.elapsed() >= FIVE_WAITS, "{signal:?}: {:?}", at.elapsed());
    }
}

#[tokio::test]
async fn a_receiver_that_says_nothing_costs_the_oldest_and_never_time() {
    let mut receiver = Receiver::start([Reply::Silent]).await;
    let export = logs(receiver.address);
    offer(&export, 0..8);
    receiver.until(|arrived| arrived.requests == 1).await;
    // Eight records are in flight, and 92 more fit into the backlog.
    offer(&export, 8..208);
    assert_eq!(lost(&export, FULL), 108);
    assert_eq!(export.finish(Duration::from_millis(50)).await, 100);
}

#[tokio::test]
async fn a_request_without_an_answer_is_sent_again() {
    let mut receiver = Receiver::start([Reply::Silent]).await;
    let mut options = options(receiver.address, OtlpSignal::Logs);
    options.timings.request_timeout = Duration::from_millis(200);
    let export = begin(options);
    offer(&export, 0..2);
    let arrived = receiver.until(|arrived| !arrived.batches.is_empty()).await;
    assert_eq!((arrived.requests, arrived.findings()), (2, ids(0..2)));
}

#[tokio::test]
async fn the_end_sends_what_waits_without_waiting_itself() {
    let receiver = Receiver::start([]).await;
    let mut options = options(receiver.address, OtlpSignal::Logs);
    options.timings.linger = Duration::from_secs(600);
    let export = begin(options);
    offer(&export, 0..20);
    assert_eq!(export.finish(PATIENCE).await, 0);
    assert_eq!(receiver.arrived().findings(), ids(0..20));
}

#[tokio::test]
async fn the_end_tries_a_receiver_in_trouble_once_more_and_no_longer() {
    let mut receiver = Receiver::start([Reply::Throttle(300), Reply::Throttle(300)]).await;
    let mut export = logs(receiver.address);
    offer(&export, 0..2);
    receiver.until(|arrived| arrived.requests == 1).await;
    until_state(&mut export, has_begun).await;
    assert_eq!(export.finish(PATIENCE).await, 2);
    assert_eq!(receiver.arrived().requests, 2);
}

#[tokio::test]
async fn metrics_arrive_again_and_again_and_at_the_end() {
    let mut receiver = Receiver::start([]).await;
    let export = begin(options(receiver.address, OtlpSignal::Metrics));
    let arrived = receiver.until(|arrived| arrived.metrics.len() >= 2).await;
    let scope = arrived.metrics[1].resource_metrics[0].scope_metrics[0].clone();
    assert!(scope.metrics.iter().any(|metric| metric.name == "portolan.namespaces"), "{scope:?}");
    assert_eq!(export.records.lost()[2], (METRICS_FAILED, 0));
    // Log records are not exported, so findings are not queued.
    offer(&export, 0..2);
    assert_eq!(export.finish(PATIENCE).await, 0);
    assert!(receiver.arrived().batches.is_empty());

    let receiver = Receiver::start([]).await;
    let mut seldom = options(receiver.address, OtlpSignal::Metrics);
    seldom.config.every = Duration::from_secs(3600);
    assert_eq!(begin(seldom).finish(PATIENCE).await, 0);
    assert_eq!(receiver.arrived().metrics.len(), 1);
}

#[tokio::test]
async fn readings_that_do_not_get_through_are_counted() {
    let mut receiver = Receiver::start([Reply::Status(404), Reply::Status(404)]).await;
    let mut export = begin(options(receiver.address, OtlpSignal::Metrics));
    receiver.until(|arrived| !arrived.metrics.is_empty()).await;
    assert_eq!(lost(&export, METRICS_FAILED), 2);
    until_state(&mut export, |state| *state == State::Up).await;
}

#[tokio::test]
async fn a_reading_is_given_up_when_the_next_is_due_however_long_the_answers_take() {
    let mut receiver = Receiver::start([Reply::Silent, Reply::Silent, Reply::Silent, Reply::Silent]).await;
    let mut options = options(receiver.address, OtlpSignal::Metrics);
    options.timings.request_timeout = Duration::from_millis(150);
    options.config.every = Duration::from_millis(200);
    let export = begin(options);
    receiver.until(|arrived| !arrived.metrics.is_empty()).await;
    assert!(lost(&export, METRICS_FAILED) >= 2);
}

/// A file that is removed on drop.
struct CaFile(std::path::PathBuf);

impl CaFile {
    fn new(pem: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-otlp-ca-{}.pem", std::process::id()));
        std::fs::write(&path, pem).expect("write");
        Self(path)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn over_tls_only_the_given_authority_is_trusted_and_its_file_is_read_again() {
    let authority = Authority::new();
    let mut receiver = Receiver::start_with(&authority).await;
    let file = CaFile::new(&Authority::new().pem);
    let mut options = options(receiver.address, OtlpSignal::Logs);
    options.config.endpoint = format!("https://{}/base", receiver.address).parse().expect("a URL");
    options.config.ca = Some(file.0.clone());
    let mut export = begin(options);
    offer(&export, 0..2);
    let state = until_state(&mut export, has_begun).await;
    let reason = reason_of(&state);
    assert!(reason.contains("certificate"), "{reason}");
    assert_eq!(receiver.arrived().requests, 0);
    std::fs::write(&file.0, &authority.pem).expect("write");
    let arrived = receiver.until(|arrived| arrived.requests == 1).await;
    assert_eq!(arrived.findings(), ids(0..2));
}
