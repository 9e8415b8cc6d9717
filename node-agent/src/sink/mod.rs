//! Where reports go: stdout, HTTP, metrics. IO out, no decisions.

pub mod cell;
pub mod connection_lines;
pub mod convert;
pub mod ended;
pub mod escape;
pub mod explain_text;
pub mod explanation;
pub mod facts;
pub mod filter;
pub mod http;
pub mod kubernetes;
pub mod line;
pub mod metrics;
pub mod otlp;
pub mod pretty;
pub mod publish;
pub mod report;
pub mod selector;
pub mod status_table;
pub mod stdout;
pub mod table;
pub mod text;
pub mod watch_log;
