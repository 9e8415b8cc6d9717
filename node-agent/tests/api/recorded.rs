//! The stand-in server against recorded answers of a real one: what the real server refuses, the stand-in refuses too.

use std::time::Duration;

use portolan_testing::api_server::fault::{Fault, On, StreamedLists};
use portolan_testing::api_server::recorded::{compare, exchanges};
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::namespace;

/// Silence after which a watch counts as open. The watch of `timeoutSeconds=1` ends before.
const OPEN_AFTER: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn the_stand_in_answers_as_the_real_server_does() {
    let exchanges = exchanges();
    let compared = replay_all(&exchanges).await;
    let different: Vec<String> = compared.into_iter().filter_map(Result::err).collect();
    assert!(different.is_empty(), "{different:#?}");
    assert!(exchanges.len() >= 15);
}

async fn replay_all(exchanges: &[Value]) -> Vec<Result<(), String>> {
    let mut compared = Vec::new();
    for exchange in exchanges {
        compared.push(replay(exchange).await.map_err(|error| format!("{}: {error}", exchange["about"])));
    }
    compared
}

async fn replay(exchange: &Value) -> Result<(), String> {
    let server = server_of(&exchange["given"]).await;
    let request = |field: &str| exchange["request"][field].as_str().expect("a request");
    let (head, body, ended) = answer_of(&server, request("target"), request("accept")).await;
    let mut found = json!({
        "status": head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()),
        "contentType": head.lines().find_map(|line| line.strip_prefix("content-type: ")),
    });
    let recorded = &exchange["answer"];
    if let Some(lines) = recorded["lines"].as_array() {
        let all = body.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        found["lines"] = all.take(lines.len().max(1)).collect();
        found["ends"] = ended.into();
    } else {
        found["body"] = serde_json::from_str(&body).expect("an object");
    }
    compare(recorded, &found, "answer")
}

async fn server_of(given: &Value) -> Server {
    let mut settings = Settings::default();
    if given["etcd34"] == true {
        settings.streamed_lists = StreamedLists::NoProgress;
    }
    let server = Server::start(Transport::Plain, settings).await;
    for name in given["namespaces"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let (plural, object) = namespace(name);
        server.put(plural, object);
    }
    if given["historyLost"] == true {
        server.compact();
    }
    if given["forbidden"] == "pods" {
        server.fail(On::Kind("pods"), Fault::Status(403));
    }
    server
}

/// Sends a request; returns the head of the answer, its body, and whether the server ended it. HTTP/1.0 has no chunks.
async fn answer_of(server: &Server, target: &str, accept: &str) -> (String, String, bool) {
    let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
    let request = format!("GET {target} HTTP/1.0\r\nHost: stand-in\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let ended = loop {
        match timeout(OPEN_AFTER, stream.read(&mut piece)).await {
            Ok(Ok(0)) => break true,
            Ok(read) => text.extend_from_slice(&piece[..read.expect("an answer")]),
            Err(_) => break false,
        }
    };
    let text = String::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned(), ended)
}

#[test]
fn a_difference_is_found() {
    let found = json!({"items": null, "code": 200, "message": "any", "more": 1});
    for (recorded, is_same) in [
        (json!({"items": null, "message": "*"}), true),
        (json!({"items": []}), false),
        (json!({"code": 406}), false),
        (json!({"more": "(absent)"}), false),
        (json!({"less": "(absent)"}), true),
        (json!({"less": "*"}), false),
    ] {
        assert_eq!(compare(&recorded, &found, "answer").is_ok(), is_same, "{recorded}");
    }
}
