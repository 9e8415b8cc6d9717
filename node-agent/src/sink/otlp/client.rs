//! HTTP client of the OTLP receiver: one request over HTTP/1.1 with protobuf, with or without TLS, and the meaning of its
//! answer. All timeouts and sizes are bounded.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::messages::ExportResponse;
use crate::config::otlp::OtlpConfig;
use crate::retry::reason::{causes, one_line};
use crate::retry::retry_after::retry_after;

/// Maximum number of bytes read of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time after which a connection is not reused.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The receiver accepted the request, but rejected this many of its items.
    Accepted { rejected: u64, reason: String },
    /// A temporary failure. `after` is the receiver's `Retry-After`.
    Retry { after: Option<Duration>, reason: String },
    /// The request is too large. A smaller one may succeed.
    TooLarge { reason: String },
    /// A permanent failure: a retry would have the same outcome.
    Refused { reason: String },
}

/// Client of one path of the receiver.
#[derive(Debug)]
pub struct OtlpClient {
    address: Uri,
    headers: HeaderMap,
    ca: Option<PathBuf>,
    timeout: Duration,
    /// Created again after a fault, so that a renewed certificate authority is read.
    client: Option<HttpClient>,
}

impl OtlpClient {
    /// Sends to `path` below the endpoint, with `timeout` for each request.
    #[must_use]
    pub fn new(config: &OtlpConfig, path: &str, timeout: Duration) -> Self {
        Self {
            address: below(&config.endpoint, path),
            headers: config.headers.clone(),
            ca: config.ca.clone(),
            timeout,
            client: None,
        }
    }

    /// Sends `body` once.
    pub async fn send(&mut self, body: Bytes) -> SendOutcome {
        let outcome = match timeout(self.timeout, self.exchange(body)).await {
            Ok(outcome) => outcome,
            Err(_) => retry(format!("no answer within {} s", self.timeout.as_secs_f32())),
        };
        if matches!(outcome, SendOutcome::Retry { .. }) {
            self.client = None;
        }
        outcome
    }

    async fn exchange(&mut self, body: Bytes) -> SendOutcome {
        let client = match self.client() {
            Ok(client) => client,
            Err(reason) => return retry(reason),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address.clone();
        *request.headers_mut() = self.headers.clone();
        let agent = HeaderValue::from_static(concat!("portolan/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        match client.request(request).await {
            Ok(response) => outcome_of(response).await,
            Err(error) => retry(causes(&error)),
        }
    }

    fn client(&mut self) -> Result<HttpClient, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let is_plain = self.address.scheme_str() == Some("http");
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(is_plain, self.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(self.client.insert(client).clone())
    }
}

/// Appends `path` to the path of the endpoint.
fn below(endpoint: &Uri, path: &str) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    let whole = format!("{}{path}", endpoint.path().trim_end_matches('/'));
    parts.path_and_query = whole.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// Trusts the certificate authorities in the file `ca`, or those of the machine. Plain HTTP needs none.
fn tls(is_plain: bool, ca: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    let builder = match (is_plain, ca) {
        (true, _) => builder.with_root_certificates(RootCertStore::empty()),
        (false, Some(path)) => builder.with_root_certificates(authorities(path)?),
        (false, None) => builder
            .with_native_roots()
            .map_err(|error| format!("no authority is trusted here ({error}): give --otlp-ca FILE"))?,
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let unreadable = |error: &dyn Error| format!("cannot read {}: {error}", path.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        store.add(certificate).map_err(|error| unreadable(&error))?;
    }
    Ok(store)
}

/// Classifies an answer by the OTLP/HTTP specification: 429, 502, 503 and 504 are retryable, every other error is
/// permanent. After 413 a smaller request may succeed.
async fn outcome_of(response: Response<Incoming>) -> SendOutcome {
    let status = response.status();
    let after = retry_after(response.headers());
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if status.is_success() {
        let partial = ExportResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let partial = partial.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected).unwrap_or(0);
        let reason = match one_line(&partial.error_message) {
            empty if empty.is_empty() => format!("the receiver rejected {rejected} of them"),
            reason => reason,
        };
        return SendOutcome::Accepted { rejected, reason };
    }
    let reason = format!("the receiver answers {status}{}", detail(&body));
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => SendOutcome::Retry { after, reason },
        StatusCode::PAYLOAD_TOO_LARGE => SendOutcome::TooLarge { reason },
        _ => SendOutcome::Refused { reason },
    }
}

/// Returns the message of a `google.rpc.Status`, else the body as text, with a leading colon.
fn detail(body: &[u8]) -> String {
    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(string, tag = "2")]
        message: String,
    }
    let text = match Status::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let text = one_line(text.trim());
    if text.is_empty() { text } else { format!(": {text}") }
}

fn retry(reason: String) -> SendOutcome {
    SendOutcome::Retry { after: None, reason }
}
