//! Answers one request: checks the token, applies faults, then dispatches by path and method.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{Request, Response};

use crate::api_server::body::{Body, cut, refused, silent, whole};
use crate::api_server::fault::{Fault, Verb};
use crate::api_server::form::Form;
use crate::api_server::query::ObjectRequest;
use crate::api_server::state::ServerState;
use crate::api_server::{authorization, discovery, forward, list, log, pod_log, watch, write};

/// Maximum size of a request's body, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long a connection may be open before the head of its first request is complete.
pub const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Answers a request and logs it.
pub async fn answer(state: Arc<ServerState>, mut request: Request<Incoming>) -> Response<Body> {
    let header = |name: HeaderName| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut logged = log::Request {
        at: state.log.elapsed(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        user_agent: header(USER_AGENT),
        accept: header(ACCEPT),
        content_type: header(CONTENT_TYPE),
        body: String::new(),
        status: 0,
    };
    let token = header(AUTHORIZATION);
    let response = match forward::pod_of(&logged.path) {
        Some(pod) if is_authorized(&state, &token) => Some(forward::answer(&state, &mut request, pod)),
        _ => {
            let sent = Limited::new(request.into_body(), MAX_BODY).collect().await;
            let text = |sent: Collected<Bytes>| String::from_utf8_lossy(&sent.to_bytes()).into_owned();
            logged.body = sent.map(text).unwrap_or_default();
            respond(&state, &logged, &token)
        }
    };
    logged.status = response.as_ref().map_or(0, |response| response.status().as_u16());
    state.log.add(logged);
    match response {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

fn is_authorized(state: &ServerState, authorization: &str) -> bool {
    let wanted = state.settings().token;
    wanted.is_none_or(|token| authorization.strip_prefix("Bearer ").map(str::trim) == Some(&token))
}

/// Returns the response, or `None` if the request is to stall forever.
fn respond(state: &Arc<ServerState>, request: &log::Request, authorization: &str) -> Option<Response<Body>> {
    if !is_authorized(state, authorization) {
        return Some(refused(401, "Unauthorized", "Unauthorized"));
    }
    if let Some((namespace, pod)) = pod_log::of(&request.path) {
        return Some(pod_log::answer(state, namespace, pod));
    }
    if authorization::is_review(request) {
        return Some(authorization::review(&state.settings(), request));
    }
    let Some(target) = ObjectRequest::of(&request.path, &request.query) else {
        return Some(discovery::answer(&request.path));
    };
    if state.settings().absent_groups.contains(&target.resource.group) {
        return Some(discovery::absent_group());
    }
    let is_watch = target.is_set("watch");
    let verb = match request.method.as_str() {
        "GET" if is_watch => Verb::Watch,
        "GET" => Verb::List,
        _ => Verb::Write,
    };
    let form = match Form::of(&request.accept) {
        Ok(form) => form,
        Err(refusal) => return Some(*refusal),
    };
    if authorization::is_forbidden(
        &state.settings(),
        verb_of(&target, &request.method),
        target.resource.plural,
    ) {
        return failed(state, Fault::Status(403), &target, &request.method, form);
    }
    let fault = state.faults().take(target.resource.plural, target.namespace.as_deref(), verb);
    if let Some(fault) = fault {
        return failed(state, fault, &target, &request.method, form);
    }
    if verb == Verb::Write {
        return Some(write::answer(state, &target, request));
    }
    if let Some(name) = target.name.as_deref().filter(|_| !is_watch) {
        if let Err(refusal) = form.for_object() {
            return Some(*refusal);
        }
        let store = state.store();
        let found = store.get(target.resource.plural, target.namespace.as_deref().unwrap_or_default(), name);
        return Some(match found {
            Some(version) => whole(hyper::StatusCode::OK, form.text(version).to_owned()),
            None => refused(404, "NotFound", &format!("{} \"{name}\" not found", target.resource.plural)),
        });
    }
    Some(if is_watch {
        watch::answer(state, target, form)
    } else {
        list::answer(&state.store(), &target, form)
    })
}

/// Returns the response that a fault makes; `None` stalls the request.
fn failed(
    state: &Arc<ServerState>,
    fault: Fault,
    target: &ObjectRequest,
    method: &str,
    form: Form,
) -> Option<Response<Body>> {
    Some(match fault {
        Fault::Status(code) => {
            let (reason, message) = status_details(code, target, method);
            refused(code, reason, &message)
        }
        Fault::TooMany(seconds) => {
            let mut response = refused(429, "TooManyRequests", "too many requests, please try again later");
            let seconds = seconds.to_string().parse().expect("a value");
            response.headers_mut().insert("retry-after", seconds);
            response
        }
        Fault::Stall => return None,
        Fault::Silence => silent(),
        Fault::Cut(after) => {
            let text = list::text(&state.store(), target, form).unwrap_or_default();
            cut(&text, after)
        }
        Fault::Say(text) => whole(hyper::StatusCode::OK, text),
        Fault::Empty => whole(hyper::StatusCode::OK, ""),
    })
}

/// Returns the verb of a request for objects, as roles name it.
fn verb_of(target: &ObjectRequest, method: &str) -> &'static str {
    match method {
        "POST" => "create",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ if target.is_set("watch") => "watch",
        _ => "list",
    }
}

/// Reason and message of the real server's `Status` with this code.
fn status_details(code: u16, target: &ObjectRequest, method: &str) -> (&'static str, String) {
    let ObjectRequest { resource, .. } = target;
    let verb = verb_of(target, method);
    match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => {
            let name = target.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
            let scope = match &target.namespace {
                Some(namespace) => format!("in the namespace \"{namespace}\""),
                None => "at the cluster scope".to_owned(),
            };
            let message = format!(
                "{0}{name} is forbidden: User \"system:serviceaccount:portolan:portolan\" cannot {verb} resource \"{0}\" in \
                 API group \"{1}\" {scope}",
                resource.plural, resource.group
            );
            ("Forbidden", message)
        }
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        410 => ("Expired", "too old resource version".to_owned()),
        503 => ("ServiceUnavailable", "apiserver is shutting down".to_owned()),
        _ => ("InternalError", "Internal error occurred: told to fail".to_owned()),
    }
}
