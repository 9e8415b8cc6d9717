//! The stream of objects: each change becomes an NDJSON line, on stdout and for the subscribers of `/v1/watch`.

pub mod connection_lines;
pub mod ended;
pub mod line_limit;
pub mod ndjson;
pub mod publish;
pub mod stdout;
pub mod watch_log;
