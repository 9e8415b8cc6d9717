//! Lists the agents' pods through the API server, with limits on the time and the size of an answer.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, ObjectList, Request};
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Error, Resource};
use tokio::time::timeout;

use super::args::ClusterArgs;
use super::refusal;
use crate::kubeconfig;

/// Maximum number of bytes of an answer: a page has at most 500 pods, most of them below 20 KiB.
const MAX_ANSWER: usize = 128 << 20;
/// Maximum number of bytes of a refusal.
const MAX_REFUSAL: usize = 64 << 10;

/// Returns one page of pods.
///
/// # Errors
/// A sentence that says why there is none.
pub(super) async fn page_of_pods(
    client: &Client,
    args: &ClusterArgs,
    params: &ListParams,
) -> Result<ObjectList<Pod>, String> {
    match timeout(Duration::from_secs(args.timeout), request(client, args, params)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer of {} within {} s (--timeout)", place(args), args.timeout)),
    }
}

async fn request(
    client: &Client,
    args: &ClusterArgs,
    params: &ListParams,
) -> Result<ObjectList<Pod>, String> {
    let path = Pod::url_path(&(), args.agents_namespace.as_deref());
    let request = Request::new(path).list(params).map_err(|error| error.to_string())?;
    let response = client.send(request.map(Body::from)).await.map_err(|error| match &error {
        Error::Service(_) | Error::HyperError(_) => refusal::of_connection(&error, &place(args)),
        error => refusal::of_list(error),
    })?;
    let code = response.status();
    let limit = if code == StatusCode::OK { MAX_ANSWER } else { MAX_REFUSAL };
    let body = Limited::new(response.into_body(), limit).collect().await;
    if code != StatusCode::OK {
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        // What is no Status has no code of its own.
        let status = serde_json::from_slice::<Status>(&body).unwrap_or_default().with_code(code.as_u16());
        return Err(refusal::of_list(&Error::Api(status.boxed())));
    }
    let body = body.map_err(|error| format!("the answer of {} broke off: {error}", place(args)))?.to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| format!("the answer of {} is no list of pods: {error}", place(args)))
}

/// Names the API server and where the command line found it.
fn place(args: &ClusterArgs) -> String {
    let origin = kubeconfig::origin(args.kubeconfig.as_deref());
    let Some(file) = kubeconfig::read_again(args.kubeconfig.as_deref()) else {
        return format!("the API server of {origin}");
    };
    match kubeconfig::cluster_of(&file, args.context.as_deref()).and_then(|cluster| cluster.server.as_deref())
    {
        Some(server) => {
            let context = args.context.as_deref().or(file.current_context.as_deref()).unwrap_or_default();
            format!("the API server {server} (context {context} of {origin})")
        }
        None => format!("the API server of {origin}"),
    }
}
