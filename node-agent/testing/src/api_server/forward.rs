//! `pods/NAME/portforward`: a WebSocket that is forwarded to a port of a pod, as the real server does through kubelet.
//! Channel 0 carries the bytes, channel 1 kubelet's errors; the first message of each is the port.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::api_server::authorization::is_forbidden;
use crate::api_server::body::{Body, refused, whole};
use crate::api_server::query::parameters;
use crate::api_server::state::ServerState;

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Returns the name of the pod if this is the path of a port-forward.
pub fn pod_of(path: &str) -> Option<&str> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", "v1", "namespaces", _, "pods", name, "portforward"] => Some(name),
        _ => None,
    }
}

/// Accepts the upgrade, and forwards in a task until one side closes.
pub fn answer(state: &ServerState, request: &mut Request<Incoming>, pod: &str) -> Response<Body> {
    if is_forbidden(&state.settings(), "get", "pods/portforward") {
        return refused(
            403,
            "Forbidden",
            "pods is forbidden: User \"jane\" cannot get resource \"pods/portforward\"",
        );
    }
    let query = parameters(request.uri().query().unwrap_or_default());
    let Some(port) = query.get("ports").and_then(|ports| ports.parse::<u16>().ok()) else {
        return refused(400, "BadRequest", "query parameter \"ports\" is required");
    };
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let protocols = header("sec-websocket-protocol").unwrap_or_default();
    let (Some(key), true) = (header("sec-websocket-key"), protocols.contains("v4.channel.k8s.io")) else {
        return refused(400, "BadRequest", "upgrade request required");
    };
    let accept = derive_accept_key(key.as_bytes());
    let target = state.settings().forwards.get(&(pod.to_owned(), port)).copied();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            forward(socket, port, target).await;
        }
    });
    let mut response = whole(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().expect("a value"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v4.channel.k8s.io"));
    response
}

async fn forward(
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    port: u16,
    to: Option<SocketAddr>,
) {
    let [low, high] = port.to_le_bytes();
    for channel in [DATA, ERROR] {
        let _ = socket.send(Message::binary(vec![channel, low, high])).await;
    }
    let connected = match to {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    };
    let Some(mut pod) = connected else {
        let message = format!(
            "failed to connect to localhost:{port} inside namespace \"cni-1\", IPv4: dial tcp4 127.0.0.1:{port}: \
             connect: connection refused"
        );
        let _ = socket.send(Message::binary([&[ERROR][..], message.as_bytes()].concat())).await;
        let _ = socket.close(None).await;
        return;
    };
    let mut bytes = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = pod.read(&mut bytes) => match read {
                Ok(count @ 1..) => {
                    if socket.send(Message::binary([&[DATA], &bytes[..count]].concat())).await.is_err() {
                        return;
                    }
                }
                _ => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(piece))) if piece.first() == Some(&DATA) => {
                    if pod.write_all(&piece[1..]).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }
    let _ = socket.close(None).await;
}
