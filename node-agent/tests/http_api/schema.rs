//! docs/schema.json and docs/openapi.json match the code, and real output matches both.

use std::path::PathBuf;

use portolan::scan;
use portolan::sink::convert::Converter;
use portolan::sink::http::query::ReadModel;
use portolan::sink::stream::ndjson::ndjson;
use portolan_client::args::Format;
use portolan_client::query::show::{self, FindingRows};
use portolan_report::explanation::TargetExplanation;
use portolan_report::table::Colour;
use portolan_report::wire::{Finding, Report};
use serde_json::{Value, json};

use crate::exchange::get;
use crate::golden;
use crate::model::{Node, converter};
use crate::served::Served;

fn schema() -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let explanation = generator.subschema_for::<TargetExplanation>();
    let mut schema = serde_json::to_value(generator.into_root_schema_for::<Report>()).expect("json");
    schema["oneOf"].as_array_mut().expect("alternatives").push(explanation.into());
    schema["title"] = json!("portolan/v1");
    schema["description"] = json!(
        "One object of `portolan agent`'s stream, one item of its HTTP lists, or the answer of /v1/explain."
    );
    schema
}

/// Returns one line of every kind, as the agent writes it.
fn samples() -> Vec<Value> {
    let node = Node::default();
    let convert: Converter = converter();
    let mut reports: Vec<Report> =
        vec![Report::Loss(convert.loss("ring-full", 3, false)), Report::AgentStatus(node.status())];
    reports.extend(node.findings.iter().map(|finding| Report::Finding(convert.finding(finding))));
    reports.extend(node.listeners.iter().map(|listener| Report::Listener(convert.listener(listener))));
    reports
        .extend(node.connections.iter().map(|connection| Report::Connection(convert.connection(connection))));
    let lines = reports.iter().map(|report| ndjson(report).expect("short"));
    lines.map(|line| serde_json::from_slice(&line).expect("json")).collect()
}

#[test]
fn the_schema_in_docs_is_that_of_the_wire_types() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.json");
    golden::check_file(&path, &format!("{:#}\n", schema()));
}

#[test]
fn what_is_written_obeys_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    for sample in samples() {
        if let Err(error) = validator.validate(&sample) {
            panic!("{error}\n{sample:#}");
        }
    }
}

#[test]
fn findings_of_a_scan_obey_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let findings = samples().into_iter().filter(|sample| sample["kind"] == "Finding");
    let findings: Vec<Finding> =
        findings.map(|sample| serde_json::from_value(sample).expect("a finding")).collect();
    assert!(!findings.is_empty());
    let written =
        |format| show::findings(&findings, format, &FindingRows::Pods, Colour::Plain).expect("written");
    let mut streamed = Vec::new();
    scan::write_json(&mut streamed, &findings, Finding::clone).expect("written");
    let streamed: Value = serde_json::from_slice(&streamed).expect("JSON");
    let yaml: Value = serde_saphyr::from_str(&written(Format::Yaml)).expect("YAML");
    let json: Value = serde_json::from_str(&written(Format::Json)).expect("JSON");
    for list in [&streamed, &yaml, &json] {
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), findings.len());
        for item in items {
            if let Err(error) = validator.validate(item) {
                panic!("{error}\n{item:#}");
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_is_not_an_object_of_ours() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    for sample in samples() {
        let fields = sample.as_object().expect("object");
        for name in ["kind", "schema", "node", "time", "id"] {
            let mut without = fields.clone();
            if without.remove(name).is_some() {
                assert!(!validator.is_valid(&Value::Object(without)), "{} without {name}", sample["kind"]);
            }
        }
        let mut foreign = fields.clone();
        foreign.insert("kind".to_owned(), json!("Pod"));
        assert!(!validator.is_valid(&Value::Object(foreign)));
    }
}

#[tokio::test]
async fn what_http_answers_obeys_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let served = Served::start(Node::default()).await;
    for path in ["/v1/findings", "/v1/listeners", "/v1/connections"] {
        let list = get(served.address, path, "").await.json();
        let items = list["items"].as_array().expect("items").clone();
        assert!(!items.is_empty() && items.iter().all(|item| validator.is_valid(item)), "{path}");
    }
    for path in ["/v1/findings/multi-port-app-tcp-09090", "/v1/listeners/dns-udp-00053", "/v1/status"] {
        assert!(validator.is_valid(&get(served.address, path, "").await.json()), "{path}");
    }
    for target in ["shop/web", ":32264", "svc/shop/db", ":9"] {
        let answer = get(served.address, &format!("/v1/explain?target={target}"), "").await.json();
        if let Err(error) = validator.validate(&answer) {
            panic!("{target}: {error}\n{answer:#}");
        }
    }
}

#[tokio::test]
async fn the_description_is_that_in_docs_and_every_answer_obeys_it() {
    let served = Served::start(Node::default()).await;
    let answer = get(served.address, "/openapi.json", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    golden::check_file(&path, &answer.body);

    let document = answer.json();
    for (path, real) in [
        ("/v1/findings", "/v1/findings"),
        ("/v1/findings/{id}", "/v1/findings/multi-port-app-tcp-09090"),
        ("/v1/listeners", "/v1/listeners"),
        ("/v1/listeners/{id}", "/v1/listeners/dns-udp-00053"),
        ("/v1/connections", "/v1/connections"),
        ("/v1/pods/{namespace}/{name}", "/v1/pods/shop/multi-port-app"),
        ("/v1/explain", "/v1/explain?target=shop/web"),
        ("/v1/policy", "/v1/policy?pod=multi-port-app"),
        ("/v1/status", "/v1/status"),
    ] {
        let described = &document["paths"][path]["get"]["responses"];
        obeys(
            &document,
            &described["200"]["content"]["application/json"]["schema"],
            &get(served.address, real, "").await.json(),
        );
        let wrong = get(
            served.address,
            &format!("{real}{}colour=red", if real.contains('?') { '&' } else { '?' }),
            "",
        )
        .await;
        obeys(
            &document,
            &described["default"]["content"]["application/problem+json"]["schema"],
            &wrong.json(),
        );
    }
}

/// Checks an answer against a schema of the OpenAPI document.
fn obeys(document: &Value, schema: &Value, answer: &Value) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).expect("a schema");
    if let Err(error) = validator.validate(answer) {
        panic!("{error}\n{answer:#}");
    }
    assert!(!validator.is_valid(&json!({ "kind": "Pod" })), "it refuses what is none");
}
