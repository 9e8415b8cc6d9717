//! The stand-in server of the page's own tests: scenes of rows, served with the page's files and headers.

use std::net::SocketAddr;
use std::path::PathBuf;

use portolan_report::chart::Chart;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;

/// A running stand-in with one scene.
pub struct Site {
    address: SocketAddr,
    _process: Process,
}

impl Site {
    /// Starts the stand-in with this scene on a free port.
    pub async fn of(scene: &str) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ui/tests/stand_in.mjs");
        let process = Process::start("node", &[script.to_str().expect("text"), "0", scene]);
        let address = process.line("the address of the stand-in", |line| {
            let start = line.find("http://")? + "http://".len();
            line[start..].split(['/', ' ']).next()?.parse().ok()
        });
        Self { address, _process: process }
    }

    /// Returns the address of the page with this query.
    pub fn page(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("http://{}/{mark}{query}", self.address)
    }

    /// Returns true if a request for the URL would leave the browser for another server than this one.
    pub fn is_elsewhere(&self, url: &str) -> bool {
        let is_asked =
            ["http:", "https:", "ws:", "wss:", "ftp:"].iter().any(|scheme| url.starts_with(scheme));
        is_asked && !url.starts_with(&format!("http://{}/", self.address))
    }

    /// Returns the answer to a GET.
    pub async fn json(&self, target: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!("GET {target} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("reads");
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{target}: {error}: {text}"))
    }

    /// Returns the rows of the scene, in the wire types.
    pub async fn chart(&self, query: &str) -> Chart {
        let answer = self.json(&format!("/v1/chart?{query}")).await;
        serde_json::from_value(answer).expect("a chart as the contract has it")
    }

    /// Returns the fingerprints of the rows with a finding.
    pub async fn fingerprints(&self) -> Vec<String> {
        let rows = self.chart("").await.rows;
        rows.into_iter().filter(|row| row.code.is_some()).map(|row| escaped(&row.fingerprint)).collect()
    }

    /// Returns the fingerprint of the first row, as a URL has it.
    pub async fn first(&self) -> String {
        self.fingerprints().await.into_iter().next().expect("a row")
    }
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
