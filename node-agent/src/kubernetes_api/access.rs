//! The way to the API server: credentials, TLS, one GET, one write. Credentials are read anew after a fault, so that a
//! rotated token or authority is picked up wherever it came from.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::time::timeout;

use super::body;
use super::fault::{ApiFault, bounded, causes};

/// What the server's log calls us.
const AGENT: &str = concat!("portolan/", env!("CARGO_PKG_VERSION"));
/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 16 * 1024;
/// A server that wants us to wait longer than this is asked sooner.
const MAX_ASKED_DELAY: Duration = Duration::from_secs(300);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Set where a process runs in a pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Whether anything says where the API server is.
pub fn is_configured(kubeconfig: Option<&Path>) -> bool {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    kubeconfig.is_some()
        || [IN_CLUSTER, "KUBECONFIG"].into_iter().any(|name| std::env::var_os(name).is_some())
        || home.is_some_and(|file| file.is_file())
}

/// Whether this process runs in a pod.
pub fn is_in_cluster() -> bool {
    std::env::var_os(IN_CLUSTER).is_some()
}

/// How an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Server-side apply: makes it, or makes it so.
    Apply,
    Create,
}

/// An object to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub verb: Verb,
    pub uri: String,
    /// JSON.
    pub object: Vec<u8>,
}

/// Credentials, and the client made of them.
pub struct ApiAccess {
    kubeconfig: Option<PathBuf>,
    client: Mutex<Option<Client>>,
}

impl ApiAccess {
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, client: Mutex::new(None) }
    }

    /// Forgets the client: the next request reads all credentials again. Streams that are open stay.
    pub fn renew(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The body of a good answer, in the form that is accepted.
    ///
    /// # Errors
    /// Where there is none within `within`.
    pub async fn get(&self, uri: &str, accepted: &'static str, within: Duration) -> Result<Body, ApiFault> {
        let request = Request::get(uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, accepted)
            .body(Body::empty())
            .map_err(|error| ApiFault::nonsense("address", &error))?;
        self.send(request, within).await
    }

    /// Writes an object; what the server answers to it is let go.
    ///
    /// # Errors
    /// Where it was not accepted within `within`.
    pub async fn write(&self, write: Write, within: Duration) -> Result<(), ApiFault> {
        let (method, content_type) = match write.verb {
            Verb::Apply => (Method::PATCH, "application/apply-patch+yaml"),
            Verb::Create => (Method::POST, "application/json"),
        };
        let request = Request::builder()
            .method(method)
            .uri(write.uri)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, content_type)
            .body(Body::from(write.object))
            .map_err(|error| ApiFault::nonsense("address", &error))?;
        let mut answer = self.send(request, within).await?;
        // Read to its end, so that the connection can be used again.
        let mut read = 0;
        while let Ok(Some(piece)) = body::piece(&mut answer, within).await {
            read += piece.len();
            if read > body::MAX_OBJECT {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, request: Request<Body>, within: Duration) -> Result<Body, ApiFault> {
        let client = self.client().await?;
        let answer = timeout(within, client.send(request)).await.map_err(|_| ApiFault::Silent)?;
        let response = answer.map_err(|error| unreachable(&error))?;
        if response.status().is_success() { Ok(response.into_body()) } else { Err(refusal(response).await) }
    }

    async fn client(&self) -> Result<Client, ApiFault> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_WITHIN);
        // Its own retries know nothing of ours.
        config.default_retry = false;
        let client = Client::try_from(config)
            .map_err(|error| ApiFault::Credentials { reason: bounded(&causes(&error)) })?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    async fn config(&self) -> Result<Config, ApiFault> {
        let none = |error: &dyn std::error::Error| ApiFault::Credentials { reason: causes(error) };
        let options = KubeConfigOptions::default();
        if let Some(path) = &self.kubeconfig {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| none(&error))?;
            return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| none(&error));
        }
        if std::env::var_os("KUBECONFIG").is_none() && std::env::var_os(IN_CLUSTER).is_some() {
            return Config::incluster().map_err(|error| none(&error));
        }
        Config::from_kubeconfig(&options).await.map_err(|error| none(&error))
    }
}

fn unreachable(error: &kube::Error) -> ApiFault {
    let reason = causes(error).replace("ServiceError: ", "");
    match error {
        kube::Error::Auth(_) => ApiFault::Credentials { reason },
        kube::Error::Service(error) if error.is::<kube::client::AuthError>() => {
            ApiFault::Credentials { reason }
        }
        _ => ApiFault::Unreachable { reason },
    }
}

async fn refusal(response: Response<Body>) -> ApiFault {
    let code = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = retry_after.map(|secs| Duration::from_secs(secs).min(MAX_ASKED_DELAY));
    let mut text = Vec::new();
    let mut answer = response.into_body();
    while let Ok(Some(piece)) = body::piece(&mut answer, Duration::from_secs(2)).await {
        text.extend_from_slice(&piece);
        if text.len() > MAX_REFUSAL {
            break;
        }
    }
    let status: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let told = |field| status.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
    let reason = told("message").or_else(|| told("reason"));
    let reason = reason.unwrap_or_else(|| String::from_utf8_lossy(&text).trim().to_owned());
    ApiFault::Refused { code, reason: bounded(&reason), retry_after }
}
