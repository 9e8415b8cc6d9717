//! `/openapi.json`: the routes with their parameters, and the wire types' own schemas. It cannot say anything else than the
//! code does, since it is made of what requests are checked against and of the types that are written.

use std::sync::LazyLock;

use portolan_report::explanation::TargetExplanation;
use portolan_report::wire::{List, PodDetail, PolicyBasis, Report};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::description::{Answer, Described, Parameter, ROUTES, values};
use super::problem::Problem;

/// Of OpenAPI, whose schemas are those of JSON Schema 2020-12.
const VERSION: &str = "3.1.0";
const COMPONENTS: &str = "/components/schemas";

/// The document, made once.
pub fn document() -> &'static [u8] {
    static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| format!("{:#}\n", described()).into_bytes());
    &DOCUMENT
}

fn described() -> Value {
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

fn path(route: &Described, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = in_path(route.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.parameters.iter().map(in_query));
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer(route.answer, generator));
    if route.answer == Answer::List {
        let unchanged = json!({ "description": "Unchanged since the ETag in If-None-Match" });
        responses.insert("304".to_owned(), unchanged);
    }
    if route.answer == Answer::Health {
        let text = json!({ "text/plain": { "schema": { "type": "string" } } });
        responses.insert("503".to_owned(), json!({ "description": "Not so", "content": text }));
    }
    let problem = json!({ "application/problem+json": { "schema": generator.subschema_for::<Problem>() } });
    responses.insert("default".to_owned(), json!({ "description": "What is wrong", "content": problem }));
    json!({ "get": { "summary": route.does, "parameters": parameters, "responses": responses } })
}

/// The parts in braces.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_query(parameter: &Parameter) -> Value {
    let one = match (parameter.name, values(parameter.name)) {
        ("port", _) => json!({ "type": "integer", "minimum": 1, "maximum": 65_535 }),
        ("limit", _) => json!({ "type": "integer", "minimum": 1, "maximum": super::question::MAX_LIMIT }),
        (_, values) if values.is_empty() => json!({ "type": "string" }),
        (_, values) => json!({ "type": "string", "enum": values }),
    };
    let schema = if parameter.repeats { json!({ "type": "array", "items": one }) } else { one };
    json!({ "name": parameter.name, "in": "query", "description": parameter.does, "schema": schema })
}

fn answer(answer: Answer, generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let (kind, schema) = match answer {
        Answer::List => ("application/json", generator.subschema_for::<List<Report>>().to_value()),
        Answer::Object => ("application/json", generator.subschema_for::<Report>().to_value()),
        Answer::Pod => ("application/json", generator.subschema_for::<PodDetail>().to_value()),
        Answer::Explanation => {
            ("application/json", generator.subschema_for::<TargetExplanation>().to_value())
        }
        Answer::Policy => ("application/json", generator.subschema_for::<PolicyBasis>().to_value()),
        Answer::Description => ("application/json", json!({ "type": "object" })),
        Answer::Events => ("text/event-stream", text),
        Answer::Page => ("text/html", text),
        Answer::Script => ("text/javascript", text),
        Answer::Style => ("text/css", text),
        Answer::Metrics => ("application/openmetrics-text", text),
        Answer::Health => ("text/plain", text),
    };
    json!({ "description": "The answer", "content": { kind: { "schema": schema } } })
}
