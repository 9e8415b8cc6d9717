//! Sinks write reports: stdout, HTTP, metrics, OTLP, Kubernetes objects. They do output and decide nothing about ports.

pub mod convert;
pub mod http;
pub mod kubernetes;
pub mod metrics;
pub mod otlp;
pub mod stream;
