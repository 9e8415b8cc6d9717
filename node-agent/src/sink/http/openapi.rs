//! `/openapi.json`: the routes with their parameters, and the schemas of the wire types. The document matches the code,
//! because it is generated from the table that requests are checked against and from the types that are written.

use std::sync::LazyLock;

use portolan_report::answer::{List, NodePod, PodDetail};
use portolan_report::chart::{AgentSummary, Chart, Remedies};
use portolan_report::explanation::TargetExplanation;
use portolan_report::label_selector::MAX_LENGTH as MAX_SELECTOR;
use portolan_report::policy_basis::PolicyBasis;
use portolan_report::wire::Report;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::patterns;
use super::problem::Problem;
use super::route_table::{Parameter, ROUTES, ResponseKind, Route};

/// Version of OpenAPI. Its schemas are JSON Schema 2020-12.
const VERSION: &str = "3.1.0";
const COMPONENTS: &str = "/components/schemas";

/// Returns the document, generated once.
pub fn document() -> &'static [u8] {
    static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| format!("{:#}\n", generate()).into_bytes());
    &DOCUMENT
}

/// Generates the document.
fn generate() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = COMPONENTS.into());
    let mut generator = settings.into_generator();
    let paths: Map<String, Value> =
        ROUTES.iter().map(|route| (route.path.to_owned(), path(route, &mut generator))).collect();
    json!({
        "openapi": VERSION,
        "info": {
            "title": "portolan",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What one node's agent sees: listening ports, which of them nobody declared, and who calls them.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn path(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = in_path(route.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.parameters.iter().map(in_query));
    let mut responses = Map::new();
    responses.insert("200".to_owned(), response(route.response, generator));
    if route.response == ResponseKind::List {
        let unchanged = json!({ "description": "Unchanged since the ETag in If-None-Match" });
        responses.insert("304".to_owned(), unchanged);
    }
    if route.response == ResponseKind::Health {
        let text = json!({ "text/plain": { "schema": { "type": "string" } } });
        responses.insert("503".to_owned(), json!({ "description": "Not so", "content": text }));
    }
    let problem = json!({ "application/problem+json": { "schema": generator.subschema_for::<Problem>() } });
    responses.insert("default".to_owned(), json!({ "description": "What is wrong", "content": problem }));
    json!({ "get": { "summary": route.summary, "parameters": parameters, "responses": responses } })
}

/// Returns the names of the path's parameters, which are in braces.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_query(parameter: &Parameter) -> Value {
    let one = match (parameter.name, parameter.values()) {
        _ if parameter.is_text => json!({ "type": "string" }),
        ("port", _) => json!({ "type": "integer", "minimum": 1, "maximum": 65_535 }),
        ("limit", _) => json!({ "type": "integer", "minimum": 1, "maximum": super::query::MAX_LIMIT }),
        ("labels", _) => {
            json!({ "type": "string", "pattern": patterns::labels(), "maxLength": MAX_SELECTOR })
        }
        ("declared", _) => {
            json!({ "type": "integer", "minimum": 0, "maximum": portolan_report::chart::MAX_DECLARED })
        }
        ("fingerprint", _) => json!({ "type": "string", "pattern": patterns::fingerprint() }),
        ("since", _) => json!({ "type": "string", "pattern": patterns::since() }),
        ("target", _) => json!({ "type": "string", "pattern": patterns::target() }),
        ("namespace", _) if !parameter.repeats => {
            json!({ "type": "string", "pattern": patterns::namespace() })
        }
        (_, values) if values.is_empty() => json!({ "type": "string" }),
        (_, values) => json!({ "type": "string", "enum": values }),
    };
    let schema = if parameter.repeats {
        // An empty array would be written as a parameter without a value.
        json!({ "type": "array", "items": one, "minItems": 1 })
    } else {
        one
    };
    let mut described = json!({
        "name": parameter.name, "in": "query", "description": parameter.summary, "schema": schema
    });
    if parameter.name == "target"
        && let Some(fields) = described.as_object_mut()
    {
        fields.insert("required".to_owned(), true.into());
    }
    described
}

fn response(kind: ResponseKind, generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let (media_type, schema) = match kind {
        ResponseKind::List => ("application/json", generator.subschema_for::<List<Report>>().to_value()),
        ResponseKind::Object => ("application/json", generator.subschema_for::<Report>().to_value()),
        ResponseKind::Pod => ("application/json", generator.subschema_for::<PodDetail>().to_value()),
        ResponseKind::Pods => ("application/json", generator.subschema_for::<List<NodePod>>().to_value()),
        ResponseKind::Explanation => {
            ("application/json", generator.subschema_for::<TargetExplanation>().to_value())
        }
        ResponseKind::Policy => ("application/json", generator.subschema_for::<PolicyBasis>().to_value()),
        ResponseKind::Remedies => ("application/json", generator.subschema_for::<Remedies>().to_value()),
        ResponseKind::Chart => ("application/json", generator.subschema_for::<Chart>().to_value()),
        ResponseKind::Agents => {
            ("application/json", generator.subschema_for::<List<AgentSummary>>().to_value())
        }
        ResponseKind::Description => ("application/json", json!({ "type": "object" })),
        ResponseKind::Events => ("text/event-stream", text),
        ResponseKind::Page => ("text/html", text),
        ResponseKind::PageFile => ("text/*", text),
        ResponseKind::Metrics => ("application/openmetrics-text", text),
        ResponseKind::Health => ("text/plain", text),
    };
    json!({ "description": "The answer", "content": { media_type: { "schema": schema } } })
}
