//! Creation, server-side apply and deletion of objects. Field managers own whole objects here, not single fields.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::job_controller;
use crate::api_server::log;
use crate::api_server::query::ObjectRequest;
use crate::api_server::resource::Resource;
use crate::api_server::state::ServerState;
use crate::api_server::store::Store;
use crate::api_server::valid;

type ErrorResponse = Box<Response<Body>>;

/// Answers a request that would create or change an object.
pub fn answer(state: &Arc<ServerState>, target: &ObjectRequest, request: &log::Request) -> Response<Body> {
    let mut store = state.store();
    let before = store.revision;
    let response = match (request.method.as_str(), target.name.as_deref()) {
        ("POST", None) => create(&mut store, target, request).inspect(|_| {
            if target.resource.plural == "jobs" {
                job_controller::run(&mut store, state, namespace(target), &request.body);
            }
        }),
        ("PATCH", Some(name)) => apply(&mut store, target, name, request),
        ("DELETE", Some(name)) => delete(&mut store, target, name, request),
        _ => Err(error_response(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    };
    if store.revision != before {
        state.notify_watches(store.revision);
    }
    response.unwrap_or_else(|error| *error)
}

fn delete(
    store: &mut Store,
    target: &ObjectRequest,
    name: &str,
    request: &log::Request,
) -> Result<Response<Body>, ErrorResponse> {
    if store.delete(target.resource, namespace(target), name).is_none() {
        return Err(error_response(
            404,
            "NotFound",
            &format!("{} \"{name}\" not found", full(target.resource)),
        ));
    }
    if target.resource.plural == "jobs" && !request.body.contains("\"Orphan\"") {
        job_controller::collect(store, namespace(target), name);
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(whole(StatusCode::OK, status.to_string()))
}

fn create(
    store: &mut Store,
    target: &ObjectRequest,
    request: &log::Request,
) -> Result<Response<Body>, ErrorResponse> {
    if request.content_type != "application/json" {
        return Err(unsupported("application/json", &request.content_type));
    }
    let object = object(target, request)?;
    let name = text(&object, "/metadata/name").to_owned();
    check_namespace(store, target, &name)?;
    valid::check(target.resource, &object).map_err(|reason| invalid(target.resource, &name, &reason))?;
    if store.get(target.resource.plural, namespace(target), &name).is_some() {
        return Err(error_response(
            409,
            "AlreadyExists",
            &format!("{} \"{name}\" already exists", full(target.resource)),
        ));
    }
    store.put(target.resource, managed(object, target, "Update"));
    Ok(stored(store, target, &name, StatusCode::CREATED))
}

fn apply(
    store: &mut Store,
    target: &ObjectRequest,
    name: &str,
    request: &log::Request,
) -> Result<Response<Body>, ErrorResponse> {
    if request.content_type != "application/apply-patch+yaml" {
        let known = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(unsupported(known, &request.content_type));
    }
    let manager = target.parameter("fieldManager");
    if manager.is_empty() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(error_response(422, "Invalid", message));
    }
    let mut object = object(target, request)?;
    if text(&object, "/metadata/name") != name {
        let message = "the name of the object does not match the name on the URL";
        return Err(error_response(400, "BadRequest", message));
    }
    let known =
        store.get(target.resource.plural, namespace(target), name).map(|version| version.value.clone());
    let uid = text(&object, "/metadata/uid");
    if !uid.is_empty() && known.as_ref().is_none_or(|known| text(known, "/metadata/uid") != uid) {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": uid mismatch", full(target.resource));
        return Err(error_response(409, "Conflict", &message));
    }
    let Some(known) = known else {
        check_namespace(store, target, name)?;
        valid::check(target.resource, &object).map_err(|reason| invalid(target.resource, name, &reason))?;
        store.put(target.resource, managed(object, target, "Apply"));
        return Ok(stored(store, target, name, StatusCode::CREATED));
    };
    let owner = text(&known, "/metadata/managedFields/0/manager");
    if !owner.is_empty() && owner != manager && !target.is_set("force") {
        let message = format!("Apply failed with 1 conflict: conflict with \"{owner}\": .results");
        return Err(error_response(409, "Conflict", &message));
    }
    valid::check(target.resource, &object).map_err(|reason| invalid(target.resource, name, &reason))?;
    for kept in ["uid", "creationTimestamp", "resourceVersion"] {
        object["metadata"][kept] = known["metadata"][kept].clone();
    }
    let object = managed(object, target, "Apply");
    // An apply that changes nothing makes no new version.
    if object != known {
        store.put(target.resource, object);
    }
    Ok(stored(store, target, name, StatusCode::OK))
}

/// Parses the object that was sent, which must be of the kind and namespace in the path.
fn object(target: &ObjectRequest, request: &log::Request) -> Result<Value, ErrorResponse> {
    let bad = |message: &str| error_response(400, "BadRequest", message);
    let mut object: Value =
        serde_json::from_str(&request.body).map_err(|error| bad(&format!("error decoding: {error}")))?;
    let (wanted, kind) = (target.resource.api_version(), target.resource.kind);
    if text(&object, "/apiVersion") != wanted || text(&object, "/kind") != kind {
        return Err(bad(&format!("the object provided is unrecognized: expected {wanted}, Kind={kind}")));
    }
    let given = text(&object, "/metadata/namespace");
    if !given.is_empty() && given != namespace(target) {
        return Err(bad(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if text(&object, "/metadata/name").is_empty() {
        return Err(invalid(
            target.resource,
            "",
            "metadata.name: Required value: name or generateName is required",
        ));
    }
    object["metadata"]["namespace"] = json!(namespace(target));
    Ok(object)
}

/// Requires that the namespace exists and is not terminating. Without any Namespace object, all namespaces exist.
fn check_namespace(store: &Store, target: &ObjectRequest, name: &str) -> Result<(), ErrorResponse> {
    let namespace = namespace(target);
    let Some(known) = store.get("namespaces", "", namespace) else {
        let any = store.objects("namespaces").next().is_some();
        let message = format!("namespaces \"{namespace}\" not found");
        return if any { Err(error_response(404, "NotFound", &message)) } else { Ok(()) };
    };
    if text(&known.value, "/status/phase") != "Terminating" {
        return Ok(());
    }
    let message = format!(
        "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
        full(target.resource)
    );
    Err(error_response(403, "Forbidden", &message))
}

fn managed(mut object: Value, target: &ObjectRequest, operation: &str) -> Value {
    let manager = target.parameter("fieldManager");
    object["metadata"]["managedFields"] =
        json!([{"manager": manager, "operation": operation, "apiVersion": target.resource.api_version()}]);
    object
}

fn stored(store: &Store, target: &ObjectRequest, name: &str, status: StatusCode) -> Response<Body> {
    let version = store.get(target.resource.plural, namespace(target), name).expect("it was put there");
    whole(status, version.whole.clone())
}

fn namespace(target: &ObjectRequest) -> &str {
    target.namespace.as_deref().unwrap_or_default()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Name of a resource in error messages, such as `reports.openreports.io`.
fn full(resource: &Resource) -> String {
    format!("{}.{}", resource.plural, resource.group).trim_end_matches('.').to_owned()
}

fn error_response(code: u16, reason: &str, message: &str) -> ErrorResponse {
    Box::new(refused(code, reason, message))
}

fn unsupported(known: &str, given: &str) -> ErrorResponse {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {known} (not {given})"
    );
    error_response(415, "UnsupportedMediaType", &message)
}

fn invalid(resource: &Resource, name: &str, reason: &str) -> ErrorResponse {
    let kind = format!("{}.{}", resource.kind, resource.group);
    error_response(422, "Invalid", &format!("{} \"{name}\" is invalid: {reason}", kind.trim_end_matches('.')))
}
