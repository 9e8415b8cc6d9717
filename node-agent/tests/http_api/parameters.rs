//! The parameters as `/openapi.json` describes them, against what the server accepts: a client that keeps to the description
//! is never refused with 400, and one that does not is.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::exchange::get;
use crate::model::Node;
use crate::served::Served;

/// Values of each parameter of each route.
const ROUNDS: usize = 24;

/// Returns a strategy for values of a schema, as text.
fn of_schema(schema: &Value) -> BoxedStrategy<String> {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        return proptest::sample::select(values).boxed();
    }
    if schema["type"] == "integer" {
        let bound = |name: &str| schema[name].as_i64().expect("a bound");
        return (bound("minimum")..=bound("maximum")).prop_map(|number| number.to_string()).boxed();
    }
    let Some(pattern) = schema["pattern"].as_str() else { return any::<String>().boxed() };
    // The generator has no anchors and no assertions, so that what breaks the assertion is filtered out.
    let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace("(?!nodeport/)", "");
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let fits = move |text: &String| validator.is_valid(&json!(text));
    proptest::string::string_regex(&plain).expect("a pattern").prop_filter("it fits", fits).boxed()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02X}");
        all
    })
}

#[tokio::test]
async fn what_the_description_allows_is_never_a_bad_request() {
    let served = Served::start(Node::default()).await;
    let document = get(served.address, "/openapi.json", "").await.json();
    let mut runner = TestRunner::deterministic();
    let mut sample = |schema: &Value| of_schema(schema).new_tree(&mut runner).expect("a value").current();
    for (path, route) in document["paths"].as_object().expect("paths") {
        let parameters = route["get"]["parameters"].as_array().expect("parameters");
        let in_query: Vec<&Value> = parameters.iter().filter(|one| one["in"] == "query").collect();
        for parameter in in_query.iter().filter(|_| path != "/v1/watch") {
            for _ in 0..ROUNDS {
                let schema = &parameter["schema"];
                let value = sample(if schema["type"] == "array" { &schema["items"] } else { schema });
                let mut query =
                    format!("{}={}", parameter["name"].as_str().expect("a name"), encoded(&value));
                for other in in_query.iter().filter(|other| other["required"] == true && other != &parameter)
                {
                    query += &format!("&{}=pod/web", other["name"].as_str().expect("a name"));
                }
                if path == "/v1/policy" && parameter["name"] == "namespace" {
                    // A description cannot say that one of two parameters must be given.
                    query += "&pod=web";
                }
                let answer = get(served.address, &format!("{path}?{query}"), "").await;
                assert_ne!(answer.status, 400, "{path} {value:?}: {}", answer.body);
            }
        }
        for _ in 0..ROUNDS {
            let part = encoded(&sample(&json!({"type": "string"})));
            let real = path.split('/').map(|one| if one.starts_with('{') { part.as_str() } else { one });
            let real = real.collect::<Vec<_>>().join("/");
            if real != *path && !part.is_empty() {
                let answer = get(served.address, &real, "").await;
                assert_ne!(answer.status, 400, "{real}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn what_the_description_forbids_is_a_bad_request() {
    let served = Served::start(Node::default()).await;
    let document = get(served.address, "/openapi.json", "").await.json();
    let wrong = |name: &str| match name {
        "labels" => ["app in ()x", "a b", "=web", "app=we b", "app=é"].as_slice(),
        "target" => &["", "a/b/c/d", "nodeport/x", ":0", ":65536", "web:http/XYZ", "we b", "web:"],
        "port" => &["0", "65536", "-1", "http", ""],
        "fingerprint" => &["", ",", " "],
        "limit" => &["0", "1001", "many", ""],
        "severity" | "state" | "protocol" | "origin" | "kind" | "code" => &["", "none-of-them"],
        _ => &[],
    };
    let mut tried = 0;
    let paths = document["paths"].as_object().expect("paths");
    // The page reads its parameters itself.
    for (path, route) in paths.iter().filter(|(path, _)| *path != "/") {
        for parameter in route["get"]["parameters"].as_array().expect("parameters") {
            let name = parameter["name"].as_str().expect("a name");
            let schema = &parameter["schema"];
            let one = if schema["type"] == "array" { &schema["items"] } else { schema };
            let validator = jsonschema::validator_for(one).expect("a schema");
            for value in wrong(name).iter().filter(|_| parameter["in"] == "query") {
                let typed = value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number));
                let typed = if one["type"] == "string" { json!(value) } else { typed };
                assert!(!validator.is_valid(&typed), "{name}={value:?} is allowed");
                let answer = get(served.address, &format!("{path}?{name}={}", encoded(value)), "").await;
                assert_eq!(answer.status, 400, "{path} {name}={value:?}: {}", answer.body);
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
    let without = get(served.address, "/v1/explain", "").await;
    assert_eq!(without.status, 400, "a required parameter");
}
