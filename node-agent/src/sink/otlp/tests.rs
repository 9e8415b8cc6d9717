//! Content of records and metrics, decoded with the generated messages of OpenTelemetry.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Theirs;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use portolan_report::wire::{Finding, Suppression};
use prost::Message;
use serde_json::{Map, Value, json};

use super::exposition::{self, Span};
use super::record::log_record;
use crate::sink::metrics::{ConnectionLabels, FindingLabels, Metrics};

/// Returns a finding in which every field has a value.
pub fn finding() -> Finding {
    serde_json::from_str(include_str!("finding.json")).expect("a finding")
}

fn read(finding: &Finding) -> LogRecord {
    LogRecord::decode(log_record(finding).encode_to_vec().as_slice()).expect("a log record")
}

fn plain(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value).expect("a value") {
        Theirs::StringValue(text) => text.into(),
        Theirs::BoolValue(truth) => truth.into(),
        Theirs::IntValue(number) => number.into(),
        Theirs::ArrayValue(array) => array.values.into_iter().map(|value| plain(Some(value))).collect(),
        Theirs::KvlistValue(map) => attributes(map.values),
        other => panic!("{other:?}"),
    }
}

/// Converts a list to JSON. Each key must occur once.
fn attributes(list: Vec<KeyValue>) -> Value {
    let count = list.len();
    let map: Map<String, Value> = list.into_iter().map(|pair| (pair.key, plain(pair.value))).collect();
    assert_eq!(map.len(), count, "{map:?}");
    map.into()
}

fn json_of(record: LogRecord) -> Value {
    json!({
        "timeUnixNano": record.time_unix_nano,
        "observedTimeUnixNano": record.observed_time_unix_nano,
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "eventName": record.event_name,
        "body": plain(record.body),
        "attributes": attributes(record.attributes),
    })
}

#[test]
fn the_record_of_a_finding_is_the_golden_one() {
    let json = serde_json::to_string_pretty(&json_of(read(&finding()))).expect("json") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sink/otlp/record.json");
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(path, &json).expect("write");
    }
    assert_eq!(json, std::fs::read_to_string(path).expect("the golden file; PORTOLAN_BLESS=1 writes it"));
}

#[test]
fn severities_have_the_numbers_of_syslog_and_what_is_over_is_no_alarm() {
    for (state, severity, then) in [
        ("open", "critical", (18, "critical")),
        ("open", "high", (17, "high")),
        ("open", "medium", (13, "medium")),
        ("open", "low", (10, "low")),
        ("open", "info", (9, "info")),
        ("resolved", "critical", (9, "info")),
        ("suppressed", "high", (9, "info")),
    ] {
        let record = read(&Finding { state: state.to_owned(), severity: severity.to_owned(), ..finding() });
        assert_eq!((record.severity_number, record.severity_text.as_str()), then);
        let json = json_of(record);
        assert_eq!(json["attributes"]["portolan.finding.severity"], severity);
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let rule = Suppression { rule: "r1".to_owned(), reason: "debug port".to_owned() };
    let unknown = Finding {
        pod: None,
        container: None,
        listener: None,
        protocol: None,
        port: None,
        suppressed_by: Some(rule),
        changed_at: None,
        previous_code: None,
        ..finding()
    };
    let json = json_of(read(&unknown));
    let attributes = json["attributes"].as_object().expect("attributes");
    let foreign =
        ["k8s.", "container.", "process.", "network.", "server.", "portolan.listener", "portolan.netns"];
    for key in attributes.keys() {
        assert!(!foreign.iter().any(|prefix| key.starts_with(prefix)), "{key}");
    }
    assert_eq!(attributes["portolan.suppressed_by.rule"], "r1");
    assert_eq!(attributes["portolan.suppressed_by.reason"], "debug port");
}

#[test]
fn images_are_split_into_name_tag_and_digest() {
    for (image, name, tag, digest) in [
        ("nginx", "nginx", None, None),
        ("r:5000/a/b", "r:5000/a/b", None, None),
        ("r:5000/a/b:v1", "r:5000/a/b", Some("v1"), None),
        ("a@sha256:00", "a", None, Some("a@sha256:00")),
    ] {
        let mut finding = finding();
        finding.container.as_mut().expect("one").image = image.to_owned();
        let json = json_of(read(&finding));
        let of = |key: &str| json["attributes"].get(key).cloned();
        assert_eq!(of("container.image.name"), Some(name.into()));
        assert_eq!(of("container.image.tags"), tag.map(|tag| json!([tag])));
        assert_eq!(of("container.image.repo_digests"), digest.map(|digest| json!([digest])));
    }
}

#[test]
fn the_digest_that_the_runtime_pulled_is_a_digest_of_the_repository() {
    let mut finding = finding();
    let container = finding.container.as_mut().expect("one");
    (container.image, container.image_digest) = ("r:5000/a:v1".to_owned(), Some("sha256:00".to_owned()));
    let json = json_of(read(&finding));
    assert_eq!(json["attributes"]["container.image.repo_digests"], json!(["r:5000/a@sha256:00"]));
}

#[test]
fn a_request_is_what_opentelemetry_reads() {
    use super::messages::{LogsRequest, ResourceLogs, ScopeLogs};
    let log_records = vec![log_record(&finding()).encode_to_vec().into(); 2];
    let scope_logs = Some(ScopeLogs { scope: Some(super::attributes::scope()), log_records });
    let logs = ResourceLogs { resource: Some(super::attributes::resource(&"node-1".into())), scope_logs };
    let bytes = LogsRequest { resource_logs: Some(logs) }.encode_to_vec();
    let mut request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("a request");
    assert_eq!(request.resource_logs.len(), 1);
    let logs = request.resource_logs.remove(0);
    let resource = attributes(logs.resource.expect("a resource").attributes);
    assert_eq!(
        (&resource["service.name"], &resource["k8s.node.name"]),
        (&json!("portolan"), &json!("node-1"))
    );
    assert_eq!(logs.scope_logs[0].log_records, [read(&finding()), read(&finding())]);
}

fn exported(metrics: &Metrics) -> Vec<Metric> {
    let list = exposition::metrics(&metrics.encode(), Span { start: 1, now: 2 });
    list.iter().map(|one| Metric::decode(one.encode_to_vec().as_slice()).expect("a metric")).collect()
}

fn named(metrics: &[Metric], name: &str) -> Metric {
    metrics
        .iter()
        .find(|metric| metric.name == name)
        .unwrap_or_else(|| panic!("{name} in {metrics:?}"))
        .clone()
}

#[test]
fn counters_are_monotonic_sums_and_gauges_have_no_start() {
    let metrics = Metrics::new("0.1.0", "6.18 \"a\\b\"".to_owned());
    let labels = ConnectionLabels { declaration: "undeclared", origin: "pod" };
    metrics.connections.get_or_create(&labels).inc_by(7);
    let labels =
        FindingLabels { code: "undeclared-active", severity: "high", namespace: "a}\",b\n".to_owned() };
    metrics.set_findings([(labels, 3)]);
    let all = exported(&metrics);

    let connections = named(&all, "portolan.connections");
    assert!(
        connections.description.contains("connections to listening ports"),
        "{}",
        connections.description
    );
    let Some(Data::Sum(sum)) = connections.data else { panic!("no sum") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = sum.data_points[0].clone();
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano, point.value),
        (1, 2, Some(Number::AsInt(7)))
    );
    assert_eq!(attributes(point.attributes), json!({ "declaration": "undeclared", "origin": "pod" }));

    let Some(Data::Gauge(gauge)) = named(&all, "portolan.findings").data else { panic!("no gauge") };
    let point = gauge.data_points[0].clone();
    assert_eq!((point.start_time_unix_nano, point.value), (0, Some(Number::AsInt(3))));
    let then = json!({ "code": "undeclared-active", "severity": "high", "k8s.namespace.name": "a}\",b\n" });
    assert_eq!(attributes(point.attributes), then);

    let Some(Data::Gauge(build)) = named(&all, "portolan.build_info").data else { panic!("no gauge") };
    let labels = attributes(build.data_points[0].attributes.clone());
    assert_eq!(labels, json!({ "version": "0.1.0", "kernel": "6.18 \"a\\b\"" }));
}

#[test]
fn histograms_have_a_count_for_each_bucket() {
    let metrics = Metrics::new("0.1.0", "6.18".to_owned());
    [0.000_05, 0.000_2, 0.000_3, 1e6].into_iter().for_each(|seconds| metrics.scan_duration.observe(seconds));
    let metric = named(&exported(&metrics), "portolan.scan_duration");
    assert_eq!(metric.unit, "s");
    let Some(Data::Histogram(histogram)) = metric.data else { panic!("no histogram") };
    assert_eq!(histogram.aggregation_temporality, 2);
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum.map(f64::round)), (4, Some(1e6)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!((&point.bucket_counts[..2], point.bucket_counts.last()), (&[1, 2][..], Some(&1)));
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
}
