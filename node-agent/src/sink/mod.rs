//! Where reports go: stdout, HTTP, metrics. IO out, no decisions.

pub mod convert;
pub mod http;
pub mod kubernetes;
pub mod metrics;
pub mod otlp;
pub mod stream;
