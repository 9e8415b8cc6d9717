//! The routes of the page's server: those that an agent has for its node, for all nodes.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use portolan_report::answer::{List, NodePod};
use portolan_report::wire::SCHEMA;
use portolan_ui::PAGE;
use serde::Serialize;

use super::host::Host;
use super::query::{self, Pairs};
use super::response::{Answer, Problem, file, json};
use super::{chart, lists, remedies, stream};
use crate::query::show::Subject;

/// Answers a request.
pub(super) async fn answer(request: &Request<Incoming>, host: &Arc<Host>) -> Result<Answer, Problem> {
    let path = request.uri().path();
    let pairs = query::pairs(request.uri().query().unwrap_or_default());
    match path {
        "/" => return Ok(file(&PAGE, request.headers())),
        "/v1/chart" => return chart::answer(host, &pairs).await,
        "/v1/watch" => return stream::subscribe(host, request.method(), request.headers(), &pairs),
        "/v1/explain" => return lists::explain(host, &pairs).await,
        "/v1/findings" => return lists::objects(host, Subject::Findings, &pairs).await,
        "/v1/listeners" => return lists::objects(host, Subject::Listeners, &pairs).await,
        "/v1/agents" => {
            no_parameters(&pairs)?;
            let agents = host.shared().store.summaries();
            return json(&whole(agents, host));
        }
        "/v1/pods" => {
            no_parameters(&pairs)?;
            let pods: Vec<NodePod> = host.shared().store.pods().cloned().collect();
            return json(&whole(pods, host));
        }
        _ => {}
    }
    if let Some(name) = path.strip_prefix("/ui/") {
        let found = portolan_ui::file(name).map(|found| file(found, request.headers()));
        return found.ok_or_else(|| Problem::new(404, "no such file of the page"));
    }
    if let Some(id) = path.strip_prefix("/v1/findings/") {
        no_parameters(&pairs)?;
        return match id.strip_suffix("/remedies") {
            Some(id) => remedies::answer(host, id).await,
            None => lists::finding(host, id).await,
        };
    }
    Err(Problem::new(
        404,
        format!("no such route: {path}; each agent has its own, and describes them in /openapi.json"),
    ))
}

/// Refuses parameters where a route has none.
fn no_parameters(pairs: &Pairs) -> Result<(), Problem> {
    pairs.first().map_or(Ok(()), |(name, _)| {
        Err(Problem::bad_parameter(name, "unknown parameter; this route takes none"))
    })
}

/// Returns a list in one page.
fn whole<T: Serialize>(items: Vec<T>, host: &Host) -> List<T> {
    let generation = host.shared().events.next();
    List { schema: SCHEMA.to_owned(), items, r#continue: None, generation }
}
