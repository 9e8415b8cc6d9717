//! `-o junit`: findings as a report for CI systems. Only the commands that list findings have this format.

use clap::ValueEnum;
use portolan_engine::model::finding_code::Severity;
use portolan_report::junit::{self, Asked};
use serde_json::Value;

use super::show::{self, FormatError, Subject};
use crate::args::Format;

/// Output format of a list of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum FindingsFormat {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Junit,
}

impl FindingsFormat {
    /// Returns the format of lists of all kinds; `None` for a JUnit report.
    #[must_use]
    pub const fn of_lists(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Wide => Some(Format::Wide),
            Self::Json => Some(Format::Json),
            Self::Yaml => Some(Format::Yaml),
            Self::Name => Some(Format::Name),
            Self::Junit => None,
        }
    }
}

/// Formats findings as a JUnit report. `asked` are the agents that were asked.
///
/// # Errors
/// [`FormatError`] if a finding lacks a needed field.
pub fn report(items: &[Value], asked: &[Asked], fail_on: Option<Severity>) -> Result<String, FormatError> {
    let findings = show::typed(Subject::Findings, items)?;
    junit::findings(&findings, asked, fail_on).map_err(|error| show::not_written(Subject::Findings, &error))
}
