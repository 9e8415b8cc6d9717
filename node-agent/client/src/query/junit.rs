//! `-o junit`: findings as a report for CI systems. Only the commands that list findings have this format.

use portolan_engine::model::finding_code::Severity;
use portolan_report::junit::{self, Asked};
use serde_json::Value;

use super::show::{self, FormatError, Subject};

/// Formats findings as a JUnit report. `asked` are the agents that were asked.
///
/// # Errors
/// [`FormatError`] if a finding lacks a needed field.
pub fn report(items: &[Value], asked: &[Asked], fail_on: Option<Severity>) -> Result<String, FormatError> {
    let findings = show::typed(Subject::Findings, items)?;
    junit::findings(&findings, asked, fail_on).map_err(|error| show::not_written(Subject::Findings, &error))
}
