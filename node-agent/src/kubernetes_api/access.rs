//! Authenticated requests to the API server: credentials, TLS, one GET, one write. Credentials are read again after a
//! fault, so that a rotated token or certificate authority is picked up.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions};
use portolan_client::kubeconfig;
use tokio::time::timeout;

use super::body;
use super::fault::ApiFault;
use crate::retry::reason::{causes, one_line};
use crate::retry::retry_after::retry_after;

/// User agent of all requests.
const AGENT: &str = concat!("portolan/", env!("CARGO_PKG_VERSION"));
/// Maximum number of bytes read of an error answer.
const MAX_ERROR_BODY: usize = 16 * 1024;
/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Environment variable that Kubernetes sets in every container.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Returns true if a kubeconfig or an in-cluster environment names the API server.
pub fn is_configured(kubeconfig: Option<&Path>) -> bool {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    kubeconfig.is_some()
        || [IN_CLUSTER, "KUBECONFIG"].into_iter().any(|name| std::env::var_os(name).is_some())
        || home.is_some_and(|file| file.is_file())
}

/// Returns true if this process runs in a pod.
pub fn is_in_cluster() -> bool {
    std::env::var_os(IN_CLUSTER).is_some()
}

/// How an object is written to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// Server-side apply: creates the object or updates the fields that it lists.
    Apply,
    /// Creates the object. An existing one of the same name is an error (409).
    Create,
}

/// A request that writes one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectWrite {
    pub verb: WriteVerb,
    /// Path and query.
    pub uri: String,
    /// The object as JSON.
    pub object: Vec<u8>,
}

/// Client of the API server, created from the credentials at the first request.
pub struct ApiAccess {
    /// `None`: KUBECONFIG, else the pod's service account, else `~/.kube/config`.
    kubeconfig: Option<PathBuf>,
    client: Mutex<Option<Client>>,
}

impl ApiAccess {
    /// Creates no client yet and reads no file.
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, client: Mutex::new(None) }
    }

    /// Drops the client, so that the next request reads all credentials again. Open streams continue.
    pub fn renew(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sends a GET and returns the body of a successful answer. `accepted` is the media type.
    ///
    /// # Errors
    /// If the request fails, or the answer does not begin within `within`.
    pub async fn get(&self, uri: &str, accepted: &'static str, within: Duration) -> Result<Body, ApiFault> {
        let request = Request::get(uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, accepted)
            .body(Body::empty())
            .map_err(|error| ApiFault::nonsense("address", &error))?;
        self.send(request, within).await
    }

    /// Writes an object. The body of the answer is discarded.
    ///
    /// # Errors
    /// If the server does not accept the object within `within`.
    pub async fn write(&self, write: ObjectWrite, within: Duration) -> Result<(), ApiFault> {
        let (method, content_type) = match write.verb {
            WriteVerb::Apply => (Method::PATCH, "application/apply-patch+yaml"),
            WriteVerb::Create => (Method::POST, "application/json"),
        };
        let request = Request::builder()
            .method(method)
            .uri(write.uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, content_type)
            .body(Body::from(write.object))
            .map_err(|error| ApiFault::nonsense("address", &error))?;
        self.send_and_discard(request, within).await
    }

    /// Deletes an object. One that is gone already is no error.
    ///
    /// # Errors
    /// If the server does not delete the object within `within`.
    pub async fn delete(&self, uri: &str, within: Duration) -> Result<(), ApiFault> {
        let request = Request::delete(uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| ApiFault::nonsense("address", &error))?;
        match self.send_and_discard(request, within).await {
            Err(ApiFault::Refused { code: 404, .. }) => Ok(()),
            deleted => deleted,
        }
    }

    async fn send_and_discard(&self, request: Request<Body>, within: Duration) -> Result<(), ApiFault> {
        let mut answer = self.send(request, within).await?;
        // The connection can be reused only after the body was read to its end.
        let mut read = 0;
        while let Ok(Some(chunk)) = body::next_chunk(&mut answer, within).await {
            read += chunk.len();
            if read > body::MAX_OBJECT {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, request: Request<Body>, within: Duration) -> Result<Body, ApiFault> {
        let client = self.client().await?;
        let answer = timeout(within, client.send(request)).await.map_err(|_| ApiFault::Silent)?;
        let response = answer.map_err(|error| send_fault(&error))?;
        if response.status().is_success() { Ok(response.into_body()) } else { Err(refused(response).await) }
    }

    async fn client(&self) -> Result<Client, ApiFault> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let (mut config, program) = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // The client's own retries would add to the agent's back-off.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| {
            let reason = kubeconfig::client_fault(&error, program.as_deref());
            ApiFault::Credentials { reason: one_line(&reason) }
        })?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// Returns the configuration of a client, and the program that gives the credentials, if there is one.
    async fn config(&self) -> Result<(Config, Option<String>), ApiFault> {
        let fault = |reason: String| ApiFault::Credentials { reason: one_line(&reason) };
        let is_from_pod = std::env::var_os("KUBECONFIG").is_none() && is_in_cluster();
        if self.kubeconfig.is_none() && is_from_pod {
            return match Config::incluster() {
                Ok(config) => Ok((config, None)),
                Err(error) => Err(fault(causes(&error))),
            };
        }
        let file = kubeconfig::read(self.kubeconfig.as_deref()).map_err(fault)?;
        let program = kubeconfig::credentials_program(&file, None);
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Ok((config.map_err(|error| fault(kubeconfig::fault(&error)))?, program))
    }
}

/// Tells missing credentials from an unreachable server.
fn send_fault(error: &kube::Error) -> ApiFault {
    match kubeconfig::missing_credentials(error) {
        Some(reason) => ApiFault::Credentials { reason },
        None => ApiFault::Unreachable { reason: causes(error).replace("ServiceError: ", "") },
    }
}

/// Reads an error answer: the `message` or `reason` of a Kubernetes `Status`, else the text of the body.
async fn refused(response: Response<Body>) -> ApiFault {
    let code = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let mut text = Vec::new();
    let mut answer = response.into_body();
    while let Ok(Some(chunk)) = body::next_chunk(&mut answer, Duration::from_secs(2)).await {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_ERROR_BODY {
            break;
        }
    }
    let status: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let text_of = |field| status.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
    let reason = text_of("message").or_else(|| text_of("reason"));
    let reason = reason.unwrap_or_else(|| String::from_utf8_lossy(&text).trim().to_owned());
    ApiFault::Refused { code, reason: one_line(&reason), retry_after }
}
