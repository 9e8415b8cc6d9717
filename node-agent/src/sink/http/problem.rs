//! Errors as application/problem+json (RFC 9457), with a pointer to the faulty part of the request.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// An error that a client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    /// What is wrong: `query/limit`, `path/id`, `header/host`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, detail: String, pointer: Option<String>) -> Self {
        Self { title: status.canonical_reason().unwrap_or("Error"), status: status.as_u16(), detail, pointer }
    }

    pub fn bad_parameter(name: &str, detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail, Some(format!("query/{name}")))
    }

    pub fn bad_query(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail, Some("query".to_owned()))
    }

    pub fn bad_path(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail, Some("path".to_owned()))
    }

    pub fn not_found(detail: String, pointer: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail, Some(pointer.to_owned()))
    }

    pub fn ambiguous(detail: String, pointer: &str) -> Self {
        Self::new(StatusCode::CONFLICT, detail, Some(pointer.to_owned()))
    }

    pub fn no_such_route(path: &str) -> Self {
        Self::not_found(format!("no such route: {path}"), "path")
    }

    pub fn method(method: &str) -> Self {
        let detail = format!("{method} is not allowed here; everything is read with GET");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail, Some("method".to_owned()))
    }

    pub fn foreign_host() -> Self {
        let detail =
            "the Host header must be localhost, a loopback address, or the address that the agent listens on"
                .to_owned();
        Self::new(StatusCode::FORBIDDEN, detail, Some("header/host".to_owned()))
    }

    pub fn body_refused() -> Self {
        let detail = "requests must have no body".to_owned();
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail, Some("body".to_owned()))
    }

    pub fn too_many_subscribers() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many clients follow already".to_owned(), None)
    }

    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many questions are waiting; try again".to_owned(),
            None,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
