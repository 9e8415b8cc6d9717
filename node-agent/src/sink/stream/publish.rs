//! Publishes each report as a line on stdout and in the watch log, and each finding to the OTLP export. Losses are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use portolan_engine::model::connection::Connection;
use portolan_report::text;
use portolan_report::wire::{Loss, Report};

use super::connection_lines::ConnectionLines;
use super::line_limit::LineLimit;
use super::ndjson::ndjson;
use super::stdout::{BLOCKED, LineCounts, LineSink};
use super::watch_log::WatchLog;
use crate::args::agent::{Kind, OutputMode};
use crate::config::OutputConfig;
use crate::sink::convert::Converter;
use crate::sink::otlp::RecordQueue;

/// Publishes reports to stdout, the watch log and the OTLP export.
#[derive(Debug)]
pub struct Publisher {
    lines: LineSink,
    connections: ConnectionLines,
    output: OutputConfig,
    log: Arc<WatchLog>,
    too_long: Arc<AtomicU64>,
    line_limit: LineLimit,
    /// Number of connections that got no line.
    limited: Arc<AtomicU64>,
    export: Option<RecordQueue>,
}

impl Publisher {
    /// Creates a publisher without an export.
    #[must_use]
    pub fn new(lines: LineSink, output: OutputConfig, log: Arc<WatchLog>) -> Self {
        Self {
            lines,
            connections: ConnectionLines::default(),
            line_limit: LineLimit::new(output.connection_lines),
            limited: Arc::default(),
            output,
            log,
            too_long: Arc::default(),
            export: None,
        }
    }

    /// Also exports every finding, independent of the output options.
    pub fn export_to(&mut self, records: RecordQueue) {
        self.export = Some(records);
    }

    /// Returns the losses of the export, by reason.
    pub fn lost_in_export(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.export.iter().flat_map(RecordQueue::lost)
    }

    /// Returns the counters of lines, for metrics and status.
    #[must_use]
    pub fn counts(&self) -> Arc<LineCounts> {
        self.lines.counts()
    }

    /// Returns the counter of objects that were too long for a line ([`super::stdout::TOO_LONG`]). Converted reports never are.
    #[must_use]
    pub fn too_long(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.too_long)
    }

    /// Returns the counter of connections that got no line ([`super::line_limit::LIMITED`]).
    #[must_use]
    pub fn limited(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.limited)
    }

    /// Publishes the gathered connections, then a report. Never blocks.
    pub fn publish(&mut self, report: &Report, convert: &Converter) {
        self.publish_gathered(convert);
        if let (Some(records), Report::Finding(finding)) = (&self.export, report) {
            records.offer(finding);
        }
        let Some(line) = ndjson(report) else {
            self.too_long.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.log.publish(report, &line);
        if !self.is_wanted(report) {
            return;
        }
        let mode = self.output.mode;
        match mode {
            OutputMode::Ndjson => self.lines.write(line, 1, |count| loss_line(mode, convert, count)),
            OutputMode::Text => {
                self.lines.write(text::line(report).into(), 1, |count| loss_line(mode, convert, count));
            }
            OutputMode::None => {}
        }
    }

    /// Adds a connection to the batch, unless its port has had its lines of this second. The batch is published when full or by
    /// [`Self::publish_gathered`].
    pub fn gather(&mut self, connection: &Arc<Connection>, convert: &Converter) {
        if !self.line_limit.grant(connection, convert.now) {
            self.limited.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.connections.add(connection, convert) {
            self.publish_gathered(convert);
        }
    }

    /// Publishes the gathered connections. Never blocks.
    pub fn publish_gathered(&mut self, convert: &Converter) {
        let Some(lines) = self.connections.take() else { return };
        self.log.publish_connections(&lines);
        if !self.wants(Kind::Connection) {
            return;
        }
        let mode = self.output.mode;
        let loss = |count| loss_line(mode, convert, count);
        match mode {
            OutputMode::Ndjson => self.lines.write(lines.bytes, lines.each.len(), loss),
            OutputMode::Text => {
                let report = |connection: &Connection| Report::Connection(convert.connection(connection));
                let text: String = lines.each.iter().map(|(_, one)| text::line(&report(one))).collect();
                self.lines.write(text.into(), lines.each.len(), loss);
            }
            OutputMode::None => {}
        }
    }

    /// Reports lost lines once the queue has room. Call it periodically.
    pub fn report_lost_lines(&mut self, convert: &Converter) {
        let mode = self.output.mode;
        self.lines.report_losses(|count| loss_line(mode, convert, count));
    }

    /// Writes the queued lines and ends, after at most `timeout`. Returns true if everything was written.
    #[must_use]
    pub fn finish(self, timeout: std::time::Duration) -> bool {
        self.lines.finish(timeout)
    }

    fn is_wanted(&self, report: &Report) -> bool {
        let kind = match report {
            Report::Finding(_) => Kind::Finding,
            Report::Listener(_) => Kind::Listener,
            Report::Connection(_) => Kind::Connection,
            Report::Loss(_) => Kind::Loss,
            Report::AgentStatus(_) => Kind::Status,
        };
        self.wants(kind)
    }

    fn wants(&self, kind: Kind) -> bool {
        self.output.kinds.is_empty() || self.output.kinds.contains(&kind)
    }
}

/// Returns the line that reports lost lines, in the format of the output.
fn loss_line(mode: OutputMode, convert: &Converter, count: u64) -> Option<Bytes> {
    let loss: Loss = convert.loss(BLOCKED, count, false);
    match mode {
        OutputMode::Text => Some(text::line(&Report::Loss(loss)).into()),
        OutputMode::Ndjson | OutputMode::None => ndjson(&Report::Loss(loss)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::sink::convert::Wall;
    use portolan_engine::model::identity::BootTime;
    use portolan_report::filter::Filter;

    fn convert() -> Converter {
        Converter { agent: "n".into(), wall: Wall { unix_ns_at_boot: 0 }, now: BootTime(0) }
    }

    /// Publishes `reports`. Returns stdout, the lines in the log, and the reports that were too long.
    fn published(mode: OutputMode, kinds: &[Kind], reports: &[Report]) -> (String, usize, u64) {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let log = Arc::new(WatchLog::new(1, 100));
        let lines = LineSink::start(writer, 16).expect("thread");
        let output = OutputConfig { mode, kinds: kinds.to_vec(), connection_lines: 10 };
        let mut publisher = Publisher::new(lines, output, Arc::clone(&log));
        for report in reports {
            publisher.publish(report, &convert());
        }
        let too_long = publisher.too_long();
        assert!(publisher.finish(Duration::from_secs(5)));
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        let logged = log.read(0, usize::MAX, &Filter::default()).lines.len();
        (text, logged, too_long.load(Ordering::Relaxed))
    }

    #[test]
    fn stdout_has_the_selected_kinds_and_the_log_has_all() {
        let loss = Report::Loss(convert().loss("ring-full", 2, true));
        let (text, logged, _) = published(OutputMode::Ndjson, &[], std::slice::from_ref(&loss));
        assert!(text.starts_with("{\"kind\":\"Loss\"") && text.ends_with("}\n"), "{text}");
        assert_eq!(logged, 1);
        let (text, logged, _) = published(OutputMode::Text, &[Kind::Loss], std::slice::from_ref(&loss));
        assert_eq!(
            (text.as_str(), logged),
            ("1970-01-01T00:00:00.000Z LOSS      2 × ring-full, recovered\n", 1)
        );
        for (mode, kinds) in [(OutputMode::None, vec![]), (OutputMode::Ndjson, vec![Kind::Finding])] {
            assert_eq!(published(mode, &kinds, std::slice::from_ref(&loss)), (String::new(), 1, 0));
        }
    }

    #[test]
    fn a_report_too_long_for_a_line_is_counted() {
        let mut loss = convert().loss("x", 1, false);
        loss.reason = "x".repeat(20_000);
        assert_eq!(published(OutputMode::Ndjson, &[], &[Report::Loss(loss)]), (String::new(), 0, 1));
    }
}
