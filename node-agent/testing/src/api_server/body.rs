//! Bodies of responses: complete, or streamed.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Error that aborts a response before its end.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on demand")
    }
}

impl std::error::Error for Broken {}

/// Returns a complete response in JSON.
pub fn whole(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    json_response(status, body)
}

/// Returns a response whose body is sent through the sender.
pub fn streaming() -> (Sender<Bytes, Broken>, Response<Body>) {
    let (sender, channel) = Channel::new(64);
    (sender, json_response(StatusCode::OK, channel.boxed_unsync()))
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    response
}

/// Returns a `Status` object.
pub fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// Returns an error response with its `Status` object.
pub fn refused(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = StatusCode::from_u16(code).expect("a status");
    whole(status, status_object(code, reason, message).to_string())
}

/// Returns a response that is aborted after its first `after` bytes.
pub fn cut(text: &str, after: usize) -> Response<Body> {
    let (mut sender, response) = streaming();
    let piece = Bytes::copy_from_slice(&text.as_bytes()[..after.min(text.len())]);
    tokio::spawn(async move {
        let _ = sender.send_data(piece).await;
        // The piece must leave before the connection is closed.
        tokio::time::sleep(Duration::from_millis(20)).await;
        sender.abort(Broken);
    });
    response
}

/// Returns a response whose body never has a byte, until the client closes the connection.
pub fn silent() -> Response<Body> {
    let (mut sender, response) = streaming();
    tokio::spawn(async move {
        // Sending an empty piece fails once the client is gone.
        while sender.send_data(Bytes::new()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    response
}
