//! One request to the receiver: HTTP/1.1 with protobuf, over TLS where the address says so, with every wait and size
//! bounded; and what its answer means.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portolan_report::error_text::causes;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::messages::ExportResponse;
use crate::config::otlp::OtlpConfig;

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of a reason that are kept.
const MAX_REASON: usize = 240;
/// A receiver that wants us to wait longer than this is asked sooner.
const MAX_ASKED_DELAY: Duration = Duration::from_secs(300);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A connection that was idle for so long is not used again.
const IDLE: Duration = Duration::from_secs(90);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It arrived; of what it held so many were refused, and why.
    Accepted { rejected: u64, reason: String },
    /// Not now: try again, after this time where the receiver said so.
    Later { after: Option<Duration>, reason: String },
    /// Not so much at once.
    TooLarge { reason: String },
    /// Never: trying again would end the same.
    Refused { reason: String },
}

/// The way to one path of the receiver.
#[derive(Debug)]
pub struct Post {
    address: Uri,
    headers: HeaderMap,
    ca: Option<PathBuf>,
    within: Duration,
    /// Made anew after a fault, so that a renewed authority is read.
    client: Option<HttpClient>,
}

impl Post {
    /// To `path` below the endpoint; an answer that takes longer than `within` will not come.
    #[must_use]
    pub fn new(config: &OtlpConfig, path: &str, within: Duration) -> Self {
        Self {
            address: below(&config.endpoint, path),
            headers: config.headers.clone(),
            ca: config.ca.clone(),
            within,
            client: None,
        }
    }

    /// Sends `body` once.
    pub async fn send(&mut self, body: Bytes) -> Answer {
        let answer = match timeout(self.within, self.exchange(body)).await {
            Ok(answer) => answer,
            Err(_) => later(format!("no answer within {} s", self.within.as_secs_f32())),
        };
        if matches!(answer, Answer::Later { .. }) {
            self.client = None;
        }
        answer
    }

    async fn exchange(&mut self, body: Bytes) -> Answer {
        let client = match self.client() {
            Ok(client) => client,
            Err(reason) => return later(reason),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address.clone();
        *request.headers_mut() = self.headers.clone();
        let agent = HeaderValue::from_static(concat!("portolan/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        match client.request(request).await {
            Ok(response) => judge(response).await,
            Err(error) => later(bounded(&causes(&error))),
        }
    }

    fn client(&mut self) -> Result<HttpClient, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        tcp.set_nodelay(true);
        let is_plain = self.address.scheme_str() == Some("http");
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(is_plain, self.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(self.client.insert(client).clone())
    }
}

fn below(endpoint: &Uri, path: &str) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    let whole = format!("{}{path}", endpoint.path().trim_end_matches('/'));
    parts.path_and_query = whole.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// Trusts the authorities in the file, or those of the machine. Without TLS none are needed.
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

/// As OTLP/HTTP has it: 429, 502, 503 and 504 may be tried again, every other refusal holds, though after 413 less may do.
async fn judge(response: Response<Incoming>) -> Answer {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let after = after.map(|secs| Duration::from_secs(secs).min(MAX_ASKED_DELAY));
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if status.is_success() {
        let partial = ExportResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let partial = partial.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected).unwrap_or(0);
        let reason = match bounded(&partial.error_message) {
            silent if silent.is_empty() => format!("the receiver rejected {rejected} of them"),
            reason => reason,
        };
        return Answer::Accepted { rejected, reason };
    }
    let reason = format!("the receiver answers {status}{}", detail(&body));
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Later { after, reason },
        StatusCode::PAYLOAD_TOO_LARGE => Answer::TooLarge { reason },
        _ => Answer::Refused { reason },
    }
}

/// `google.rpc.Status`, or text.
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
    let text = bounded(text.trim());
    if text.is_empty() { text } else { format!(": {text}") }
}

fn later(reason: String) -> Answer {
    Answer::Later { after: None, reason }
}

/// Without control characters and not longer than a line.
fn bounded(text: &str) -> String {
    text.chars().take(MAX_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
