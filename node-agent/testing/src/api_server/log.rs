//! Every request that came, for tests that look at what a client really does.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::api_server::query::parameters;

/// Requests that are kept.
const MOST: usize = 1_000_000;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Since the server was made.
    pub at: Duration,
    pub method: String,
    pub path: String,
    pub query: String,
    pub user_agent: String,
    pub accept: String,
    pub content_type: String,
    /// What was sent.
    pub body: String,
    /// 0: none was given.
    pub status: u16,
}

impl Request {
    /// A parameter of the query; empty where it is not given.
    #[must_use]
    pub fn parameter(&self, name: &str) -> String {
        parameters(&self.query).remove(name).unwrap_or_default()
    }

    #[must_use]
    pub fn is_watch(&self) -> bool {
        matches!(self.parameter("watch").as_str(), "1" | "true")
    }
}

/// The requests so far.
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
        if requests.len() < MOST {
            requests.push(request);
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    /// When each request came.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        self.requests.lock().expect("not poisoned").iter().map(|request| request.at).collect()
    }

    pub fn clear(&self) {
        self.requests.lock().expect("not poisoned").clear();
    }
}
