//! Answers of the page's server.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};
use portolan_ui::{HEADERS, PageFile};
use serde::Serialize;
use serde_json::json;

/// A body that is whole, or an event stream.
pub(super) type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;
/// An answer.
pub(super) type Answer = Response<Body>;

/// A request that gets no answer: status, what is wrong, and the part of the request that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) detail: String,
    pub(super) pointer: Option<String>,
}

impl Problem {
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), pointer: None }
    }

    /// Returns the problem of a parameter.
    pub(super) fn bad_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: Some(format!("query/{name}")), ..Self::new(400, detail) }
    }

    /// Returns the answer, as `application/problem+json` (RFC 9457).
    pub(super) fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = serde_json::Map::new();
        body.insert("title".to_owned(), json!(status.canonical_reason().unwrap_or("Error")));
        body.insert("status".to_owned(), json!(self.status));
        body.insert("detail".to_owned(), json!(self.detail));
        if let Some(pointer) = &self.pointer {
            body.insert("pointer".to_owned(), json!(pointer));
        }
        let body = serde_json::Value::Object(body).to_string();
        let mut answer = whole(status, "application/problem+json", body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// Returns an answer with the headers of the page, which forbid to store it and to load anything else.
fn with_headers(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// Returns an answer with this text.
pub(super) fn whole(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    with_headers(status, content_type, Either::Left(Full::new(text.into())))
}

/// Returns an object as JSON.
pub(super) fn json(object: &impl Serialize) -> Result<Answer, Problem> {
    let text = serde_json::to_vec(object).map_err(|error| Problem::new(500, error.to_string()))?;
    Ok(whole(StatusCode::OK, "application/json", text))
}

/// Returns a file of the page, compressed if the request accepts that.
pub(super) fn file(file: &PageFile, request: &HeaderMap) -> Answer {
    let accepted = request.get(ACCEPT_ENCODING).and_then(|codings| codings.to_str().ok());
    let (body, encoding) = file.body(accepted.unwrap_or_default());
    let mut answer = whole(StatusCode::OK, file.content_type, body);
    if let Some(encoding) = encoding {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    answer
}

/// Returns an event stream.
pub(super) fn stream(body: Channel<Bytes, Infallible>) -> Answer {
    with_headers(StatusCode::OK, "text/event-stream", Either::Right(body))
}
