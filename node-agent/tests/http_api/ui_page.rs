//! A browser's view of `kubectl portolan ui`: the way in by the printed URL, and requests with the cookie.

use std::net::SocketAddr;

use serde_json::Value;

use crate::cluster_watch::Streams;
use crate::exchange::{Answer, Following, send};
use crate::served::eventually;

/// The page, opened by its URL.
pub struct UiPage {
    pub address: SocketAddr,
    /// `NAME=VALUE`.
    pub cookie: String,
}

/// Returns address and path of the printed URL.
pub async fn printed(streams: &Streams) -> (SocketAddr, String) {
    streams.shows("\n").await;
    let url = streams.out.text();
    let rest = url.trim_end().strip_prefix("http://").expect("a URL").to_owned();
    let (address, path) = rest.split_once('/').expect("a path");
    (address.parse().expect("an address"), format!("/{path}"))
}

/// Sends a GET as a browser does, with additional header lines.
pub async fn ask(address: SocketAddr, path: &str, headers: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"))
        .await
}

impl UiPage {
    pub async fn open(streams: &Streams) -> Self {
        let (address, path) = printed(streams).await;
        let answer = ask(address, &path, "").await;
        let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("{answer:?}"));
        Self { address, cookie: cookie.split(';').next().expect("a value").to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        ask(self.address, path, &format!("cookie: {}\r\n", self.cookie)).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub async fn follow(&self, kinds: &str, headers: &str) -> Following {
        let (address, cookie) = (self.address, &self.cookie);
        let head = format!("GET /v1/watch?kind={kinds} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n");
        Following::of(address, &format!("{head}{headers}\r\n")).await
    }

    /// Asks until the answer is as expected, and returns it.
    pub async fn until(&self, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3000 {
            let answer = self.json(path).await;
            if is_so(&answer) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never {what}: {}", self.json(path).await);
    }

    /// Returns the chart once no node is missing.
    pub async fn whole(&self) -> Value {
        self.until("/v1/chart", "whole", |chart| chart["missing"] == serde_json::json!([])).await
    }
}

/// Waits until a command has printed its URL.
pub async fn is_up(streams: &Streams) {
    eventually("the URL is printed", || streams.out.text().ends_with('\n')).await;
}
