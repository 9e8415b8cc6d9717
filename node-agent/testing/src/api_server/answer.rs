//! One request, from its head to its answer: token, faults, then what was asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{Request, Response};

use crate::api_server::body::{Body, cut, refused, silent, whole};
use crate::api_server::fault::{Doing, Fault};
use crate::api_server::list::Form;
use crate::api_server::query::Asked;
use crate::api_server::server::Inner;
use crate::api_server::{discovery, forward, list, log, watch, write};

/// Answers, and notes that it did.
pub async fn answer(inner: Arc<Inner>, mut request: Request<Incoming>) -> Response<Body> {
    let header = |name: HeaderName| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut noted = log::Request {
        at: inner.log.elapsed(),
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
    let answered = match forward::pod_of(&noted.path) {
        Some(pod) if is_welcome(&inner, &token) => Some(forward::answer(&inner, &mut request, pod)),
        _ => {
            let sent = Limited::new(request.into_body(), MAX_BODY).collect().await;
            let text = |sent: Collected<Bytes>| String::from_utf8_lossy(&sent.to_bytes()).into_owned();
            noted.body = sent.map(text).unwrap_or_default();
            respond(&inner, &noted, &token)
        }
    };
    noted.status = answered.as_ref().map_or(0, |response| response.status().as_u16());
    inner.log.add(noted);
    match answered {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

fn is_welcome(inner: &Inner, authorization: &str) -> bool {
    let wanted = inner.settings().token;
    wanted.is_none_or(|token| authorization.strip_prefix("Bearer ").map(str::trim) == Some(&token))
}

/// `None`: there never is an answer.
fn respond(inner: &Arc<Inner>, request: &log::Request, authorization: &str) -> Option<Response<Body>> {
    if !is_welcome(inner, authorization) {
        return Some(refused(401, "Unauthorized", "Unauthorized"));
    }
    let Some(asked) = Asked::of(&request.path, &request.query) else {
        return Some(discovery::answer(&request.path));
    };
    if inner.settings().absent_groups.contains(&asked.resource.group) {
        return Some(discovery::nothing());
    }
    let is_watch = asked.is_set("watch");
    let doing = match request.method.as_str() {
        "GET" if is_watch => Doing::Watch,
        "GET" => Doing::List,
        _ => Doing::Write,
    };
    let form = Form::of(&request.accept);
    let fault = inner.faults().take(asked.resource.plural, asked.namespace.as_deref(), doing);
    if let Some(fault) = fault {
        return failed(inner, fault, &asked, &request.method, form);
    }
    if doing == Doing::Write {
        return Some(write::answer(inner, &asked, request));
    }
    if let Some(name) = asked.name.as_deref().filter(|_| !is_watch) {
        let store = inner.store();
        let found = store.get(asked.resource.plural, asked.namespace.as_deref().unwrap_or_default(), name);
        return Some(match found {
            Some(version) => whole(hyper::StatusCode::OK, form.text(version).to_owned()),
            None => refused(404, "NotFound", &format!("{} \"{name}\" not found", asked.resource.plural)),
        });
    }
    Some(if is_watch {
        watch::answer(inner, asked, form)
    } else {
        list::answer(&inner.store(), &asked, form)
    })
}

fn failed(
    inner: &Arc<Inner>,
    fault: Fault,
    asked: &Asked,
    method: &str,
    form: Form,
) -> Option<Response<Body>> {
    Some(match fault {
        Fault::Status(code) => {
            let (reason, message) = told(code, asked, method);
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
            let text = list::text(&inner.store(), asked, form).unwrap_or_default();
            cut(&text, after)
        }
        Fault::Say(text) => whole(hyper::StatusCode::OK, text),
        Fault::Empty => whole(hyper::StatusCode::OK, ""),
    })
}

fn told(code: u16, asked: &Asked, method: &str) -> (&'static str, String) {
    let Asked { resource, .. } = asked;
    let verb = match method {
        "POST" => "create",
        "PATCH" => "patch",
        _ if asked.is_set("watch") => "watch",
        _ => "list",
    };
    match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => {
            let name = asked.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
            let scope = match &asked.namespace {
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

/// Bytes of a request that are read.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long a connection may wait for its first request.
pub const HEAD_WITHIN: Duration = Duration::from_secs(30);
