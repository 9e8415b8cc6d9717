//! Log of requests, for tests of what a client sends.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::api_server::query::parameters;

/// Maximum number of requests in the log; later ones are dropped.
const MAX_REQUESTS: usize = 1_000_000;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Time since the server was started.
    pub at: Duration,
    pub method: String,
    pub path: String,
    pub query: String,
    pub user_agent: String,
    pub accept: String,
    pub content_type: String,
    /// Body of the request, up to 4 MiB.
    pub body: String,
    /// Status of the response; 0 if none was sent.
    pub status: u16,
}

impl Request {
    /// Returns a parameter of the query, or an empty text.
    #[must_use]
    pub fn parameter(&self, name: &str) -> String {
        parameters(&self.query).remove(name).unwrap_or_default()
    }

    #[must_use]
    pub fn is_watch(&self) -> bool {
        matches!(self.parameter("watch").as_str(), "1" | "true")
    }
}

/// The requests so far, oldest first.
#[derive(Debug)]
pub struct Log {
    began: Instant,
    requests: Mutex<Vec<Request>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { began: Instant::now(), requests: Mutex::default() }
    }
}

impl Log {
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn add(&self, request: Request) {
        let mut requests = self.requests.lock().expect("not poisoned");
        if requests.len() < MAX_REQUESTS {
            requests.push(request);
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    /// Returns the time of each request since the server was started.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        self.requests.lock().expect("not poisoned").iter().map(|request| request.at).collect()
    }

    pub fn clear(&self) {
        self.requests.lock().expect("not poisoned").clear();
    }
}
