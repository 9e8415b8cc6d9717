//! Tests of the pipeline through its outputs: lists, findings, the watch log, status and metrics.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_engine::Engine;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{Container, DeclaredPort, Pod, PodSource, Workload};
use portolan_engine::model::process::Holder;
use portolan_engine::model::socket::{NetnsScan, OpenedSocket, ScannedSocket};
use portolan_report::filter::Filter;
use portolan_report::wire::Report;
use tokio::sync::oneshot;

use crate::args::agent::{Kind, OutputMode};
use crate::config::OutputConfig;
use crate::pipeline::Pipeline;
use crate::sink::http::query::{ListAnswer, ListQuery, Query, ReadModel, answer};
use crate::sink::metrics::Metrics;
use crate::sink::stream::ended::CLOSED;
use crate::sink::stream::publish::Publisher;
use crate::sink::stream::stdout::LineSink;
use crate::sink::stream::watch_log::WatchLog;
use crate::source::clock;
use crate::state::{Source, State, StateFeed};

mod counting;

const NETNS: NetnsId = NetnsId(7);

/// A pipeline without grace times, and the log of its output.
struct Running {
    pipeline: Pipeline,
    feed: StateFeed,
    log: Arc<WatchLog>,
}

impl Running {
    fn start() -> Self {
        let lines = LineSink::start(std::io::sink(), 16).expect("thread");
        Self::write_to(
            lines,
            OutputConfig { mode: OutputMode::None, kinds: vec![Kind::Status], connection_lines: 10 },
        )
    }

    fn write_to(lines: LineSink, output: OutputConfig) -> Self {
        let options = EngineOptions {
            grace: Duration::ZERO,
            attribution_hold: Duration::ZERO,
            stale_grace: Duration::ZERO,
            traffic_drained: false,
            ..EngineOptions::default()
        };
        let log = Arc::new(WatchLog::new(1, 10_000));
        let publisher = Publisher::new(lines, output, Arc::clone(&log));
        let metrics = Arc::new(Metrics::new("0.1.0", "6.18".to_owned()));
        let engine = Engine::new(options);
        let feed = StateFeed::default();
        let release = "6.18".to_owned();
        let pipeline =
            Pipeline::new(engine, None, publisher, metrics, "node".into(), release, feed.subscribe());
        let mut running = Self { pipeline, feed, log };
        running.pipeline.apply(Input::NetnsSeen { facts: facts(), at: clock::now() });
        running.set_pod("Deployment", &[5432]);
        running
    }

    fn set_pod(&mut self, workload: &str, declared: &[u16]) {
        self.pipeline.apply(Input::Pods { source: PodSource::File, pods: vec![pod(workload, declared)] });
    }

    fn open(&mut self, cookie: u64, number: u16) -> BootTime {
        let at = clock::now();
        self.pipeline.apply(Input::SocketOpened(OpenedSocket {
            cookie: SocketCookie(cookie),
            port: port(number),
            address: [0, 0, 0, 0].into(),
            v6_only: None,
            on_loopback: false,
            process: None,
            at,
        }));
        self.pipeline.tick();
        at
    }

    fn close(&mut self, cookie: u64) {
        let at = clock::now();
        self.pipeline.apply(Input::SocketClosed { netns: NETNS, cookie: SocketCookie(cookie), at });
        self.pipeline.tick();
    }

    fn list(&self, ask: fn(ListQuery, oneshot::Sender<ListAnswer>) -> Query, list: ListQuery) -> ListAnswer {
        let (reply, mut got) = oneshot::channel();
        answer(ask(list, reply), &self.pipeline);
        got.try_recv().expect("an answer")
    }

    /// Returns the ports on the page, and the token of the next page.
    fn ports(
        &self,
        ask: fn(ListQuery, oneshot::Sender<ListAnswer>) -> Query,
        list: ListQuery,
    ) -> (Vec<u16>, Option<String>) {
        let ListAnswer::Page(page) = self.list(ask, list) else { panic!("no page") };
        let port = |report: &Report| match report {
            Report::Finding(finding) => finding.port.unwrap_or(0),
            Report::Listener(listener) => listener.port,
            _ => 0,
        };
        let mut ports: Vec<u16> = page.items.iter().map(port).collect();
        ports.sort_unstable();
        (ports, page.r#continue)
    }

    fn statuses(&self) -> usize {
        let filter = Filter { kind: vec!["AgentStatus".to_owned()], ..Filter::default() };
        self.log.read(0, usize::MAX, &filter).lines.len()
    }
}

fn facts() -> NetnsFacts {
    NetnsFacts {
        netns: NETNS,
        inode: 4_026_530_007,
        paths: vec!["/run/netns/app".to_owned()],
        is_host: false,
        addresses: vec!["10.1.0.2/24".parse().expect("an address")],
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    }
}

fn pod(workload: &str, declared: &[u16]) -> Pod {
    let ports = declared.iter().map(|number| DeclaredPort {
        name: None,
        port: NonZeroU16::new(*number).expect("a port"),
        protocol: Protocol::Tcp,
        host_port: None,
    });
    Pod {
        uid: PodUid("uid-app".to_owned()),
        namespace: "shop".to_owned(),
        name: "app".to_owned(),
        netns_path: Some("/run/netns/app".to_owned()),
        workload: Some(Workload { kind: workload.to_owned(), name: "app".to_owned() }),
        containers: vec![Container {
            name: "app".to_owned(),
            ports: ports.collect(),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

fn port(number: u16) -> PortId {
    PortId { netns: NETNS, protocol: Protocol::Tcp, port: NonZeroU16::new(number).expect("a port") }
}

fn with(name: &str, value: &str) -> ListQuery {
    let mut list = ListQuery::default();
    let field = match name {
        "state" => &mut list.filter.state,
        "protocol" => &mut list.filter.protocol,
        "pod" => &mut list.filter.pod,
        _ => &mut list.filter.origin,
    };
    field.push(value.to_owned());
    list
}

#[test]
fn the_first_line_of_a_finding_measures_how_long_it_took() {
    let mut running = Running::start();
    running.open(1, 9090);
    running.set_pod("StatefulSet", &[5432]);
    let text = running.pipeline.metrics.encode();
    assert!(text.contains("portolan_detection_latency_seconds_count 1\n"), "{text}");
}

#[test]
fn lists_page_through_what_is_open_and_nothing_else() {
    let mut running = Running::start();
    for number in 1..=20 {
        running.open(number.into(), 9000 + number);
    }
    running.close(3);
    let open: Vec<u16> = (9001..=9020).filter(|number| *number != 9003).collect();
    for ask in [Query::Listeners, Query::Findings] {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (ports, more) = running.ports(ask, ListQuery { limit: 7, after, ..with("pod", "app") });
            all.extend(ports);
            after = more;
            if after.is_none() {
                break;
            }
        }
        all.sort_unstable();
        all.retain(|number| *number != 5432);
        assert_eq!(all, open);
        assert!(running.ports(ask, with("origin", "external")).0.is_empty());
        assert!(running.ports(ask, with("pod", "other")).0.is_empty());
    }
}

#[test]
fn what_ended_is_found_by_id_and_by_state_until_it_is_open_again() {
    let mut running = Running::start();
    running.open(1, 9090);
    let wanted = ListQuery::default();
    let ListAnswer::Page(page) = running.list(Query::Listeners, wanted) else { panic!("no page") };
    let Some(Report::Listener(listener)) = page.items.first() else { panic!("no listener") };
    let id = listener.id.clone();
    running.close(1);
    assert_eq!(running.ports(Query::Listeners, with("state", "closed")).0, [9090]);
    assert_eq!(running.ports(Query::Findings, with("state", "resolved")).0, [9090]);
    assert!(running.pipeline.listener(&id).is_some() && running.pipeline.finding(&id).is_some());
    running.open(2, 9090);
    assert!(running.ports(Query::Listeners, with("state", "closed")).0.is_empty());
    assert!(running.ports(Query::Findings, with("state", "resolved")).0.is_empty());
    for cookie in 10..10 + 2 * CLOSED as u64 {
        let number = 10_000 + u16::try_from(cookie).expect("a port");
        running.open(cookie, number);
        running.close(cookie);
    }
    let most = ListQuery { limit: 1000, ..with("state", "closed") };
    assert!(running.ports(Query::Listeners, most).0.len() <= CLOSED);
}

#[test]
fn a_silent_declaration_has_its_port_in_lists_and_on_the_stream() {
    let mut running = Running::start();
    running.pipeline.apply(Input::NetnsScanned(NetnsScan {
        netns: NETNS,
        at: clock::now(),
        sockets: Vec::new(),
    }));
    running.pipeline.tick();
    assert_eq!(running.ports(Query::Findings, with("protocol", "TCP")).0, [5432]);
    let filter = Filter { port: vec![5432], protocol: vec!["TCP".to_owned()], ..Filter::default() };
    assert_eq!(running.log.read(0, usize::MAX, &filter).lines.len(), 1);
}

#[test]
fn an_answer_that_differs_is_of_another_generation() {
    let mut running = Running::start();
    running.open(1, 9090);
    let shown = |running: &Running| {
        let both = [Query::Listeners, Query::Findings].map(|ask| {
            let ListAnswer::Page(page) = running.list(ask, ListQuery::default()) else { panic!("no page") };
            // Without the time of writing.
            page.items.iter().map(|item| format!("{item:?}").replace(&time_of(item), "")).collect::<String>()
        });
        (running.pipeline.generation(), both)
    };
    let mut before = shown(&running);
    let scan = |cookies: std::ops::Range<u64>| {
        let socket = |cookie| ScannedSocket {
            cookie: SocketCookie(cookie),
            port: port(9090),
            address: [0, 0, 0, 0].into(),
            v6_only: None,
            on_loopback: false,
            holder: Holder::Unknown,
        };
        Input::NetnsScanned(NetnsScan {
            netns: NETNS,
            at: clock::now(),
            sockets: cookies.map(socket).collect(),
        })
    };
    let renamed = NetnsFacts { paths: vec!["/run/netns/app".to_owned(), "/a/z".to_owned()], ..facts() };
    let steps = [
        scan(1..25),
        Input::Pods { source: PodSource::File, pods: vec![pod("StatefulSet", &[5432])] },
        Input::NetnsSeen { facts: NetnsFacts { inode: 1, ..renamed }, at: clock::now() },
        scan(1..2),
    ];
    for step in steps {
        let name = format!("{step:?}");
        running.pipeline.apply(step);
        let after = shown(&running);
        assert!(before.1 != after.1, "nothing to see of {name}");
        assert!(before.0 < after.0, "{name}");
        before = after;
    }
    let known = ListQuery { known: Some(before.0), ..ListQuery::default() };
    assert_eq!(running.list(Query::Listeners, known), ListAnswer::Unchanged(before.0));
}

fn time_of(report: &Report) -> String {
    match report {
        Report::Finding(finding) => finding.envelope.time.clone(),
        Report::Listener(listener) => listener.envelope.time.clone(),
        _ => String::new(),
    }
}

#[test]
fn a_query_without_a_reader_is_dropped() {
    let running = Running::start();
    let (reply, got) = oneshot::channel();
    drop(got);
    let query = Query::Listeners(ListQuery::default(), reply);
    assert!(query.is_abandoned());
    answer(query, &running.pipeline);
}

fn down(reason: &str) -> State {
    State::Down { reason: reason.to_owned() }
}

#[test]
fn the_status_is_published_when_a_source_changes_and_once_a_minute() {
    let mut running = Running::start();
    let file = running.feed.reporter(Source::File("x".into()));
    let start = clock::now();
    let at = |seconds| start.after(Duration::from_secs(seconds));
    let mut published = BTreeMap::new();
    let mut emit = |running: &mut Running, second| {
        running.pipeline.emit_status_at(at(second));
        published.insert(second, running.statuses());
    };
    emit(&mut running, 0);
    emit(&mut running, 1);
    file.report(down("it is not there"));
    emit(&mut running, 2);
    file.report(down("it cannot be read"));
    emit(&mut running, 3);
    file.report(State::Up);
    emit(&mut running, 4);
    emit(&mut running, 63);
    emit(&mut running, 64);
    assert_eq!(published.into_values().collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3, 4]);
}

#[test]
fn the_status_is_published_at_once_when_a_source_that_was_up_with_a_reason_goes_down() {
    let mut running = Running::start();
    let pods = running.feed.reporter(Source::Pods);
    let now = clock::now();
    let emit = |running: &mut Running| {
        running.pipeline.emit_status_at(now);
        running.statuses()
    };
    pods.report(State::Degraded { reason: "more than is kept".to_owned() });
    assert_eq!(emit(&mut running), 1);
    let shown = |running: &Running| running.pipeline.status().sources[0].state.clone();
    assert_eq!(shown(&running), "up");
    pods.report(down("no answer"));
    assert_eq!((emit(&mut running), shown(&running).as_str()), (2, "down"));
}

#[test]
fn each_source_has_its_own_label_in_the_metrics() {
    let mut running = Running::start();
    running.feed.reporter(Source::Cri(Some("/run/x.sock".into()))).report(down("no answer"));
    running.feed.reporter(Source::OtlpMetrics).report(State::Up);
    running.pipeline.measure();
    let text = running.pipeline.metrics.encode();
    let mut up: Vec<&str> = text.lines().filter(|line| line.starts_with("portolan_source_up{")).collect();
    up.sort_unstable();
    assert_eq!(up, ["portolan_source_up{source=\"cri\"} 0", "portolan_source_up{source=\"otlp/metrics\"} 1"]);
}

#[test]
fn a_listener_that_came_and_went_at_once_is_counted() {
    let mut running = Running::start();
    running.open(1, 9090);
    running.pipeline.measure();
    assert!(running.pipeline.metrics.encode().contains("portolan_short_lived_total 0\n"));
}

#[test]
fn lost_lines_are_reported_once_there_is_room_also_without_kernel_programs() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let lines = LineSink::start(writer, 1).expect("thread");
    let counts = lines.counts();
    let mut running = Running::write_to(
        lines,
        OutputConfig { mode: OutputMode::Ndjson, kinds: vec![Kind::Listener], connection_lines: 10 },
    );
    for cookie in 1..=400 {
        running.open(cookie, 9000 + u16::try_from(cookie).expect("small"));
    }
    let lost = counts.blocked.load(Ordering::Relaxed);
    assert!(lost > 0);
    let (sender, read) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut reported = 0;
    for _ in 0..1000 {
        running.pipeline.drain();
        let Ok(line) = read.recv_timeout(Duration::from_millis(10)) else { continue };
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        reported += line["count"].as_u64().filter(|_| line["kind"] == "Loss").unwrap_or(0);
        if reported == lost {
            return;
        }
    }
    panic!("{reported} of {lost} are reported");
}
