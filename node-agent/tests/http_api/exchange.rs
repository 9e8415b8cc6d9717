//! HTTP requests as raw text, so that malformed ones can be sent, with answers read whole or in parts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Timeout of all waits.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a GET with additional header lines, each with its line end.
pub async fn get(to: SocketAddr, path: &str, headers: &str) -> Answer {
    send(to, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")).await
}

/// Sends any text and reads until the server closes the connection.
pub async fn send(to: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(to).await.expect("connects");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("answers in time");
    parse(&String::from_utf8(bytes).expect("text"))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// An open event stream.
pub struct Following {
    stream: TcpStream,
    text: String,
}

impl Following {
    pub async fn start(to: SocketAddr, path: &str, headers: &str) -> Self {
        Self::of(to, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await
    }

    /// Starts with any request.
    pub async fn of(to: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(to).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut following = Self { stream, text: String::new() };
        // The first text is sent after the subscription.
        following.until("retry: 1000").await;
        following
    }

    /// Reads until `wanted` arrived. Returns all text so far.
    pub async fn until(&mut self, wanted: &str) -> &str {
        let reading = async {
            let mut piece = [0; 4096];
            while !self.text.contains(wanted) {
                let read = self.stream.read(&mut piece).await.expect("reads");
                assert!(read > 0, "ended before {wanted:?}: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        };
        assert!(timeout(PATIENCE, reading).await.is_ok(), "no {wanted:?} came");
        &self.text
    }

    /// Reads until the server ends the stream. Returns all text.
    pub async fn end(mut self) -> String {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("ends in time");
        assert!(read.is_ok());
        self.text.push_str(&String::from_utf8_lossy(&rest));
        self.text
    }
}
