//! Retries of requests to other servers, shared by the Kubernetes client and the OTLP export: back-off, the server's
//! `Retry-After`, and the text of an error.

pub mod backoff;
pub mod reason;
pub mod retry_after;
