//! What makes and changes objects: creation, and server-side apply whose owners are told apart by name, for whole objects.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::log;
use crate::api_server::query::Asked;
use crate::api_server::resource::Resource;
use crate::api_server::server::Inner;
use crate::api_server::store::Store;
use crate::api_server::valid;

type Refusal = Box<Response<Body>>;

/// The answer to a request that would change something.
pub fn answer(inner: &Arc<Inner>, asked: &Asked, request: &log::Request) -> Response<Body> {
    let mut store = inner.store();
    let before = store.revision;
    let answered = match (request.method.as_str(), asked.name.as_deref()) {
        ("POST", None) => create(&mut store, asked, request),
        ("PATCH", Some(name)) => apply(&mut store, asked, name, request),
        _ => Err(refusal(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    };
    if store.revision != before {
        inner.tell(store.revision);
    }
    answered.unwrap_or_else(|refusal| *refusal)
}

fn create(store: &mut Store, asked: &Asked, request: &log::Request) -> Result<Response<Body>, Refusal> {
    if request.content_type != "application/json" {
        return Err(unsupported("application/json", &request.content_type));
    }
    let object = object(asked, request)?;
    let name = text(&object, "/metadata/name").to_owned();
    is_room(store, asked, &name)?;
    valid::check(asked.resource, &object).map_err(|reason| invalid(asked.resource, &name, &reason))?;
    if store.get(asked.resource.plural, namespace(asked), &name).is_some() {
        return Err(refusal(
            409,
            "AlreadyExists",
            &format!("{} \"{name}\" already exists", full(asked.resource)),
        ));
    }
    store.put(asked.resource, managed(object, asked, "Update"));
    Ok(stored(store, asked, &name, StatusCode::CREATED))
}

fn apply(
    store: &mut Store,
    asked: &Asked,
    name: &str,
    request: &log::Request,
) -> Result<Response<Body>, Refusal> {
    if request.content_type != "application/apply-patch+yaml" {
        let known = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(unsupported(known, &request.content_type));
    }
    let manager = asked.parameter("fieldManager");
    if manager.is_empty() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(refusal(422, "Invalid", message));
    }
    let mut object = object(asked, request)?;
    if text(&object, "/metadata/name") != name {
        let message = "the name of the object does not match the name on the URL";
        return Err(refusal(400, "BadRequest", message));
    }
    let known = store.get(asked.resource.plural, namespace(asked), name).map(|version| version.value.clone());
    let uid = text(&object, "/metadata/uid");
    if !uid.is_empty() && known.as_ref().is_none_or(|known| text(known, "/metadata/uid") != uid) {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": uid mismatch", full(asked.resource));
        return Err(refusal(409, "Conflict", &message));
    }
    let Some(known) = known else {
        is_room(store, asked, name)?;
        valid::check(asked.resource, &object).map_err(|reason| invalid(asked.resource, name, &reason))?;
        store.put(asked.resource, managed(object, asked, "Apply"));
        return Ok(stored(store, asked, name, StatusCode::CREATED));
    };
    let owner = text(&known, "/metadata/managedFields/0/manager");
    if !owner.is_empty() && owner != manager && !asked.is_set("force") {
        let message = format!("Apply failed with 1 conflict: conflict with \"{owner}\": .results");
        return Err(refusal(409, "Conflict", &message));
    }
    valid::check(asked.resource, &object).map_err(|reason| invalid(asked.resource, name, &reason))?;
    for kept in ["uid", "creationTimestamp", "resourceVersion"] {
        object["metadata"][kept] = known["metadata"][kept].clone();
    }
    let object = managed(object, asked, "Apply");
    // What changes nothing makes no new version.
    if object != known {
        store.put(asked.resource, object);
    }
    Ok(stored(store, asked, name, StatusCode::OK))
}

/// What was sent, if it is an object of the kind and namespace that were asked for.
fn object(asked: &Asked, request: &log::Request) -> Result<Value, Refusal> {
    let bad = |message: &str| refusal(400, "BadRequest", message);
    let mut object: Value =
        serde_json::from_str(&request.body).map_err(|error| bad(&format!("error decoding: {error}")))?;
    let (wanted, kind) = (asked.resource.api_version(), asked.resource.kind);
    if text(&object, "/apiVersion") != wanted || text(&object, "/kind") != kind {
        return Err(bad(&format!("the object provided is unrecognized: expected {wanted}, Kind={kind}")));
    }
    let given = text(&object, "/metadata/namespace");
    if !given.is_empty() && given != namespace(asked) {
        return Err(bad(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if text(&object, "/metadata/name").is_empty() {
        return Err(invalid(
            asked.resource,
            "",
            "metadata.name: Required value: name or generateName is required",
        ));
    }
    object["metadata"]["namespace"] = json!(namespace(asked));
    Ok(object)
}

/// New objects need a namespace that stays; where the test told of no namespaces, all are there.
fn is_room(store: &Store, asked: &Asked, name: &str) -> Result<(), Refusal> {
    let namespace = namespace(asked);
    let Some(known) = store.get("namespaces", "", namespace) else {
        let any = store.objects("namespaces").next().is_some();
        let message = format!("namespaces \"{namespace}\" not found");
        return if any { Err(refusal(404, "NotFound", &message)) } else { Ok(()) };
    };
    if text(&known.value, "/status/phase") != "Terminating" {
        return Ok(());
    }
    let message = format!(
        "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
        full(asked.resource)
    );
    Err(refusal(403, "Forbidden", &message))
}

fn managed(mut object: Value, asked: &Asked, operation: &str) -> Value {
    let manager = asked.parameter("fieldManager");
    object["metadata"]["managedFields"] =
        json!([{"manager": manager, "operation": operation, "apiVersion": asked.resource.api_version()}]);
    object
}

fn stored(store: &Store, asked: &Asked, name: &str, status: StatusCode) -> Response<Body> {
    let version = store.get(asked.resource.plural, namespace(asked), name).expect("it was put there");
    whole(status, version.whole.clone())
}

fn namespace(asked: &Asked) -> &str {
    asked.namespace.as_deref().unwrap_or_default()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// As refusals name a resource: `reports.openreports.io`.
fn full(resource: &Resource) -> String {
    format!("{}.{}", resource.plural, resource.group).trim_end_matches('.').to_owned()
}

fn refusal(code: u16, reason: &str, message: &str) -> Refusal {
    Box::new(refused(code, reason, message))
}

fn unsupported(known: &str, given: &str) -> Refusal {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {known} (not {given})"
    );
    refusal(415, "UnsupportedMediaType", &message)
}

fn invalid(resource: &Resource, name: &str, reason: &str) -> Refusal {
    let kind = format!("{}.{}", resource.kind, resource.group);
    refusal(422, "Invalid", &format!("{} \"{name}\" is invalid: {reason}", kind.trim_end_matches('.')))
}
