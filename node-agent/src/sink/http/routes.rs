//! Handlers of all routes: each turns a request into a query of the engine's owner, and its answer into a response.

use axum::Router;
use axum::extract::{MatchedPath, Query as UrlQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portolan_engine::read::explain::answer::ExplainError;
use portolan_report::wire::Report;
use serde::Serialize;

use super::event_stream::subscribe;
use super::handling::{Pairs, PathOf, ask, json, path_part};
use super::host::HostCheck;
use super::params::{check, follows_traffic, parse, parse_target, policy_target};
use super::problem::Problem;
use super::query::{ListAnswer, ListQuery, Query};
use super::route_table::{ResponseKind, Route};
use super::{Health, HttpState, advice, chart, openapi, page, route_table};
use crate::sink::metrics::RequestLabels;

/// Returns the router of `--api`.
pub fn api(state: HttpState, host: HostCheck) -> Router {
    let router = Router::new()
        .route("/v1/findings", get(findings))
        .route("/v1/findings/{id}", get(finding))
        .route("/v1/findings/{id}/remedies", get(advice::remedies))
        .route("/v1/chart", get(chart::chart))
        .route("/v1/agents", get(advice::agents))
        .route("/v1/listeners", get(listeners))
        .route("/v1/listeners/{id}", get(listener))
        .route("/v1/connections", get(connections))
        .route("/v1/pods", get(pods))
        .route("/v1/pods/{namespace}/{name}", get(pod))
        .route("/v1/explain", get(explain))
        .route("/v1/policy", get(policy))
        .route("/v1/status", get(status))
        .route("/v1/watch", get(watch))
        .route("/openapi.json", get(openapi))
        .route("/", get(page::html))
        .route("/ui/{file}", get(page::file));
    finish(router, state, host)
}

/// Returns the router of `--telemetry`.
pub fn telemetry(state: HttpState) -> Router {
    finish(Router::new(), state, HostCheck::Off)
}

/// Adds the telemetry routes and the layers that all requests pass.
fn finish(router: Router<HttpState>, state: HttpState, host: HostCheck) -> Router {
    router
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(|request: Request| async move { Problem::no_such_route(request.uri().path()) })
        .method_not_allowed_fallback(|method: Method| async move { Problem::method(method.as_str()) })
        .layer(from_fn(known_parameters))
        .layer(from_fn(no_body))
        .layer(from_fn_with_state(host, local_host))
        .layer(from_fn_with_state(state.clone(), count))
        .with_state(state)
}

/// Counts requests by route and status.
async fn count(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let route = route_of(&request).map_or("other", |route| route.path);
    let response = next.run(request).await;
    let labels = RequestLabels { route, status: response.status().as_u16() };
    state.metrics.http_requests.get_or_create(&labels).inc();
    response
}

fn route_of(request: &Request) -> Option<&'static Route> {
    route_table::of(request.extensions().get::<MatchedPath>()?.as_str())
}

/// Rejects parameters that the route does not know: an ignored filter would look as if it had been applied.
async fn known_parameters(request: Request, next: Next) -> Response {
    // Scrapers and probes may add parameters: these routes have none that narrow the answer.
    // The page itself says what it does not know of its own address.
    let is_checked = |route: &&Route| {
        !matches!(route.response, ResponseKind::Metrics | ResponseKind::Health | ResponseKind::Page)
    };
    if let Some(route) = route_of(&request).filter(is_checked) {
        let checked = match Pairs::try_from_uri(request.uri()) {
            Ok(UrlQuery(pairs)) => check(route, &pairs),
            Err(error) => Err(Problem::bad_query(error.body_text())),
        };
        if let Err(problem) = checked {
            return problem.into_response();
        }
    }
    next.run(request).await
}

/// Rejects requests with a body.
async fn no_body(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Problem::body_refused().into_response();
    }
    next.run(request).await
}

/// Rejects requests whose Host header does not name this machine: DNS rebinding by a web page.
async fn local_host(State(check): State<HostCheck>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or("");
    if check == HostCheck::Off || (hosts.next().is_none() && check.admits(host)) {
        next.run(request).await
    } else {
        Problem::foreign_host().into_response()
    }
}

/// Parses a list's query and its If-None-Match headers.
fn list_query(s: &HttpState, pairs: &Pairs, headers: &HeaderMap) -> Result<ListQuery, Problem> {
    let mut list = parse(&pairs.0)?;
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let known = |tag: &str| s.watch_log.number(tag.trim().trim_start_matches("W/").trim_matches('"'));
    // What changed since a while ago differs with the time, also where nothing changes.
    if list.since.is_none() {
        list.known = tags.flat_map(|tags| tags.split(',')).filter_map(known).max();
    }
    Ok(list)
}

fn listed(s: &HttpState, answer: &ListAnswer) -> Response {
    let (mut response, generation) = match answer {
        ListAnswer::Unchanged(generation) => (StatusCode::NOT_MODIFIED.into_response(), *generation),
        ListAnswer::Page(page) => (json(page), page.generation),
    };
    // A weak tag: the envelope's time differs between answers of the same generation.
    if let Ok(tag) = header::HeaderValue::from_str(&format!("W/\"{}\"", s.watch_log.id(generation))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn found<T: Serialize>(answer: Option<&T>, what: &str) -> Result<Response, Problem> {
    answer.map(json).ok_or_else(|| Problem::not_found(format!("no such {what}"), "path/id"))
}

async fn findings(State(s): State<HttpState>, pairs: Pairs, headers: HeaderMap) -> Result<Response, Problem> {
    let list = list_query(&s, &pairs, &headers)?;
    let is_of_time = list.since.is_some();
    let mut response = listed(&s, &ask(&s, |reply| Query::Findings(list, reply)).await?);
    if is_of_time {
        response.headers_mut().remove(header::ETAG);
    }
    Ok(response)
}

async fn listeners(
    State(s): State<HttpState>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let list = list_query(&s, &pairs, &headers)?;
    Ok(listed(&s, &ask(&s, |reply| Query::Listeners(list, reply)).await?))
}

async fn connections(
    State(s): State<HttpState>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let list = list_query(&s, &pairs, &headers)?;
    Ok(listed(&s, &ask(&s, |reply| Query::Connections(list, reply)).await?))
}

async fn finding(State(s): State<HttpState>, id: PathOf<String>) -> Result<Response, Problem> {
    let id = path_part(id)?;
    found(ask(&s, |reply| Query::Finding(id, reply)).await?.as_ref(), "finding")
}

async fn listener(State(s): State<HttpState>, id: PathOf<String>) -> Result<Response, Problem> {
    let id = path_part(id)?;
    found(ask(&s, |reply| Query::Listener(id, reply)).await?.as_ref(), "listener")
}

async fn pods(State(s): State<HttpState>, pairs: Pairs) -> Result<Response, Problem> {
    let list = parse(&pairs.0)?;
    Ok(json(&ask(&s, |reply| Query::Pods(list, reply)).await?))
}

async fn pod(State(s): State<HttpState>, names: PathOf<(String, String)>) -> Result<Response, Problem> {
    let (namespace, name) = path_part(names)?;
    found(
        ask(&s, |reply| Query::Pod { namespace, name, reply }).await?.as_ref(),
        "pod with a listener on this node",
    )
}

async fn explain(State(s): State<HttpState>, pairs: Pairs) -> Result<Response, Problem> {
    let target = parse_target(&pairs.0)?;
    match ask(&s, |reply| Query::Explain(target, reply)).await? {
        Ok(explanation) => Ok(json(&explanation)),
        Err(error @ ExplainError::Ambiguous { .. }) => {
            Err(Problem::ambiguous(error.to_string(), "query/target"))
        }
        Err(error) => Err(Problem::not_found(error.to_string(), "query/target")),
    }
}

async fn policy(State(s): State<HttpState>, pairs: Pairs) -> Result<Response, Problem> {
    let target = policy_target(&pairs.0)?;
    let basis = ask(&s, |reply| Query::Policy(target, reply)).await?;
    basis.as_ref().map(json).ok_or_else(|| Problem::not_found("no such pod on this node".to_owned(), "query"))
}

async fn status(State(s): State<HttpState>) -> Result<Response, Problem> {
    Ok(json(&Report::AgentStatus(ask(&s, Query::Status).await?)))
}

async fn watch(State(s): State<HttpState>, pairs: Pairs, headers: HeaderMap) -> Result<Response, Problem> {
    let list = parse(&pairs.0)?;
    let with_traffic = follows_traffic(&list.filter)?;
    subscribe(s, &headers, list.filter, with_traffic)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}

async fn metrics(State(s): State<HttpState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], s.metrics.encode()).into_response()
}

async fn livez(State(s): State<HttpState>) -> Response {
    health(Health::is(&s.health.live))
}

async fn readyz(State(s): State<HttpState>) -> Response {
    health(Health::is(&s.health.ready))
}

fn health(is_healthy: bool) -> Response {
    if is_healthy {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
