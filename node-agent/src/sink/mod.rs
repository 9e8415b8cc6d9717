//! Where reports go: stdout, HTTP, metrics. IO out, no decisions.

pub mod connection_lines;
pub mod convert;
mod convert_explanation;
pub mod ended;
pub mod http;
pub mod kubernetes;
pub mod metrics;
pub mod ndjson;
pub mod otlp;
pub mod publish;
pub mod stdout;
pub mod watch_log;
