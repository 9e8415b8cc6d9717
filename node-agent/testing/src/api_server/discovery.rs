//! Discovery, which kubectl reads before it reads objects: groups, kinds, version.

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::resource::{RESOURCES, Resource};

/// Answers a request that is not for objects.
pub fn answer(path: &str) -> Response<Body> {
    let value = match path.trim_end_matches('/') {
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "/apis" => groups(),
        "/api/v1" => kinds(""),
        "/apis/batch/v1" => kinds("batch"),
        "/apis/networking.k8s.io/v1" => kinds("networking.k8s.io"),
        "/apis/events.k8s.io/v1" => kinds("events.k8s.io"),
        "/apis/openreports.io/v1alpha1" => kinds("openreports.io"),
        "/version" => json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64", "goVersion": "go1.26"
        }),
        "/openapi/v3" => json!({"paths": {}}),
        "/livez" | "/readyz" => return whole(StatusCode::OK, "ok"),
        _ => return refused(404, "NotFound", "the server could not find the requested resource"),
    };
    whole(StatusCode::OK, value.to_string())
}

/// Answers a request to a group that is not served: plain text, as no API group produces a `Status`.
pub fn absent_group() -> Response<Body> {
    whole(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn groups() -> Value {
    let named = RESOURCES.iter().filter(|resource| !resource.group.is_empty());
    let groups: Vec<Value> = named
        .map(|resource| {
            let version = json!({"groupVersion": resource.api_version(), "version": resource.version});
            json!({"name": resource.group, "versions": [version], "preferredVersion": version})
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn kinds(group: &str) -> Value {
    let resources: Vec<Value> = RESOURCES
        .iter()
        .filter(|resource| resource.group == group)
        .map(|resource| {
            json!({
                "name": resource.plural, "singularName": resource.kind.to_lowercase(), "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["get", "list", "watch"],
            })
        })
        .collect();
    let version = RESOURCES.iter().find(|resource| resource.group == group).map(Resource::api_version);
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}
