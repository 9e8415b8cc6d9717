//! Bodies of answers: whole, or fed as things happen.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Ends an answer before its end.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on demand")
    }
}

impl std::error::Error for Broken {}

/// An answer in JSON.
pub fn whole(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    json_response(status, body)
}

/// An answer whose body is sent piece by piece.
pub fn fed() -> (Sender<Bytes, Broken>, Response<Body>) {
    let (sender, channel) = Channel::new(64);
    (sender, json_response(StatusCode::OK, channel.boxed_unsync()))
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    response
}

/// A `Status` object.
pub fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// A refusal with its `Status` object.
pub fn refused(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = StatusCode::from_u16(code).expect("a status");
    whole(status, status_object(code, reason, message).to_string())
}

/// The first bytes of an answer, then nothing more and no end.
pub fn cut(text: &str, after: usize) -> Response<Body> {
    let (mut sender, response) = fed();
    let piece = Bytes::copy_from_slice(&text.as_bytes()[..after.min(text.len())]);
    tokio::spawn(async move {
        let _ = sender.send_data(piece).await;
        // Let the piece out before the connection is broken.
        tokio::time::sleep(Duration::from_millis(20)).await;
        sender.abort(Broken);
    });
    response
}

/// A head and silence until the client goes.
pub fn silent() -> Response<Body> {
    let (mut sender, response) = fed();
    tokio::spawn(async move {
        // An empty piece now and then finds out whether somebody still waits.
        while sender.send_data(Bytes::new()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    response
}
