//! One list query to one agent: which objects, how the answer is shown, and what makes the command fail.

use portolan_engine::model::finding_code::Severity;

use super::console::Console;
use super::error::QueryError;
use super::filters::{Pairs, WhenEmpty, suppressed_only};
use super::outcome::formatted;
use super::pages::{self, Gathered};
use super::server::Server;
use super::show::{self, FindingRows, Subject};
use crate::args::Format;
use crate::fail_on::object_reaches;

/// Which objects a command lists or follows.
pub(super) struct ListQuery {
    pub(super) subject: Subject,
    /// Filters of the list.
    pub(super) list_filters: Pairs,
    /// Filters of the stream.
    pub(super) watch_filters: Pairs,
    /// True if the user gave filters: an empty answer then does not mean that there is nothing.
    pub(super) is_narrowed: bool,
    pub(super) fail_on: Option<Severity>,
    /// Rows of a table of findings.
    pub(super) rows: FindingRows,
}

/// A list query to one agent, and the format of its answer.
pub(super) struct AgentQuery {
    pub(super) server: Server,
    pub(super) query: ListQuery,
    pub(super) format: Format,
}

impl AgentQuery {
    /// Fetches the list.
    pub(super) async fn gather(&self) -> Result<Gathered, QueryError> {
        pages::gather(&self.server, self.query.subject.path(), &self.query.list_filters).await
    }

    /// Returns true for the formats that show a table.
    pub(super) fn is_tabular(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Returns true if the object makes the command fail.
    pub(super) fn reaches_fail_on(&self, object: &serde_json::Value) -> bool {
        object_reaches(object, self.query.fail_on)
    }

    /// Returns the number of suppressed findings that match the same filters, for an empty table of open ones. 0 where this is
    /// no such table, or the agent does not say.
    pub(super) async fn suppressed_instead(&self, list: &Gathered) -> usize {
        let is_of_open =
            self.query.list_filters.iter().any(|(name, value)| *name == "state" && value == "open");
        if self.query.subject != Subject::Findings
            || !is_of_open
            || !list.items.is_empty()
            || !self.is_tabular()
        {
            return 0;
        }
        let suppressed = suppressed_only(&self.query.list_filters);
        let found = pages::gather(&self.server, self.query.subject.path(), &suppressed).await;
        found.map_or(0, |found| found.items.len())
    }

    /// Writes a list. An empty table has no rows to write, so a message says that it is empty, and how many findings are
    /// suppressed instead.
    pub(super) fn write_list(
        &self,
        list: &Gathered,
        suppressed: usize,
        console: &mut Console<'_>,
    ) -> Result<(), QueryError> {
        let subject = self.query.subject;
        let text = show::list(subject, list, self.format, &self.query.rows, console.colour());
        let text = formatted(&self.server, subject.path(), text)?;
        if !(list.items.is_empty() && self.is_tabular()) {
            return console.write(&text);
        }
        let empty = WhenEmpty { is_narrowed: self.query.is_narrowed, suppressed };
        console.message(&empty.message(&text))
    }
}
