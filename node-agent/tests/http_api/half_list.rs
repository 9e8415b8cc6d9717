//! A stand-in agent whose list does not come whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::exchange::get;
use crate::served::{Served, eventually};

/// An agent whose list has a second page that never comes whole.
pub struct HalfList {
    pub address: SocketAddr,
    /// Requests of the second page.
    asked: Arc<AtomicUsize>,
}

impl HalfList {
    /// Serves the first finding of an agent. The second page breaks off, or is awaited without end.
    pub async fn of(agent: &Served, breaks_off: bool) -> Self {
        let first = get(agent.address, "/v1/findings?limit=1", "").await.json().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let (first, count) = (first.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(request.get(..length).expect("a request"));
                    let is_second = request.contains("continue=");
                    let answer = if request.starts_with("GET /v1/watch") {
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_owned()
                    } else if !request.starts_with("GET /v1/findings") {
                        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()
                    } else if is_second {
                        "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{\"items\":[".to_owned()
                    } else {
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{first}", first.len())
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if is_second {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    if !(is_second && breaks_off) {
                        // Until the client closes the connection.
                        let _ = stream.read(&mut [0; 1]).await;
                    }
                });
            }
        });
        Self { address, asked }
    }

    pub async fn is_asked(&self, times: usize) {
        eventually("the second page is asked for", || self.asked.load(Ordering::Relaxed) >= times).await;
    }
}
