//! Shows what agents report: lists as tables, or object by object, and changes as lines.

use std::collections::BTreeMap;

use portolan_engine::model::finding_code::Severity;
use portolan_report::escape::terminal;
use portolan_report::table::Width;
use serde_json::Value;

use crate::args::Format;
use crate::cluster::error::ClusterError;
use crate::cluster::fleet::Answers;
use crate::cluster::list::write_list;
use crate::exit::Exit;
use crate::fail_on::object_reaches;
use crate::query::console::Console;
use crate::query::error::QueryError;
use crate::query::filters::Scope;
use crate::query::filters::WhenEmpty;
use crate::query::show::{self, FindingRows, Subject};

/// What is shown, and what was shown of it.
pub(super) struct Screen {
    subject: Subject,
    format: Format,
    fail_on: Option<Severity>,
    /// Rows of the tables that are not complete yet, by node.
    pub(super) rows: BTreeMap<String, Vec<Value>>,
    /// True if an object reached `--fail-on`.
    fails: bool,
    /// True if the reader of the output closed the pipe.
    is_closed: bool,
}

impl Screen {
    /// Returns true for the formats that show a table.
    pub(super) fn is_tabular(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Shows nothing yet.
    pub(super) fn new(subject: Subject, format: Format, fail_on: Option<Severity>) -> Self {
        Self { subject, format, fail_on, rows: BTreeMap::new(), fails: false, is_closed: false }
    }

    /// Returns the exit code if the output is closed and no later object of the list can change it.
    pub(super) fn end_early(&self) -> Option<Exit> {
        let is_decided = self.fails || self.fail_on.is_none();
        self.end().filter(|_| self.is_closed && is_decided)
    }

    /// Returns the exit code if there is nothing more to show.
    pub(super) fn end(&self) -> Option<Exit> {
        match (self.fails, self.is_closed) {
            (true, _) => Some(Exit::FailOn),
            (false, true) => Some(Exit::Fine),
            (false, false) => None,
        }
    }

    /// Shows an object of a list, or keeps it for the table.
    pub(super) fn item(
        &mut self,
        node: &str,
        item: Value,
        console: &mut Console<'_>,
    ) -> Result<(), ClusterError> {
        if !self.is_tabular() {
            return self.change(&item, console);
        }
        match self.rows.get_mut(node) {
            Some(rows) => rows.push(item),
            None => drop(self.rows.insert(node.to_owned(), vec![item])),
        }
        Ok(())
    }

    /// Forgets the rows of a table that will be listed anew.
    pub(super) fn forget(&mut self, node: &str) {
        self.rows.remove(node);
    }

    /// Shows the first table: the rows of all nodes that answered.
    pub(super) fn first_table(
        &mut self,
        answers: &Answers,
        empty: WhenEmpty,
        console: &mut Console<'_>,
    ) -> Result<(), ClusterError> {
        self.fails |= answers.items.iter().any(|item| object_reaches(item, self.fail_on));
        let written = write_list(self.subject, answers, empty, (self.format, &FindingRows::Pods), console);
        match written {
            Err(error) if error.is_closed_pipe() => self.is_closed = true,
            written => written?,
        }
        Ok(())
    }

    /// Shows the table of one node that was listed later, or anew.
    pub(super) fn table_of(&mut self, node: &str, console: &mut Console<'_>) -> Result<(), ClusterError> {
        if !self.is_tabular() {
            return Ok(());
        }
        let Some(rows) = self.rows.remove(node) else {
            return Ok(console.message(&format!("{}: its list is empty", terminal(node)))?);
        };
        self.fails |= rows.iter().any(|item| object_reaches(item, self.fail_on));
        let width = if self.format == Format::Wide { Width::Wide } else { Width::Cluster };
        let text = show::table(self.subject, &rows, width, &FindingRows::Pods, console.colour());
        self.write(&text.map_err(ClusterError::NotUnderstood)?, console)
    }

    /// Shows an object that changed.
    pub(super) fn change(&mut self, item: &Value, console: &mut Console<'_>) -> Result<(), ClusterError> {
        self.fails |= object_reaches(item, self.fail_on);
        let text = show::change(self.subject, item, self.format, Scope::AllNodes);
        self.write(&text.map_err(ClusterError::NotUnderstood)?, console)
    }

    /// Writes to the output. A closed pipe is no error: `--fail-on` still has to be answered.
    fn write(&mut self, text: &str, console: &mut Console<'_>) -> Result<(), ClusterError> {
        if self.is_closed {
            return Ok(());
        }
        match console.write(text) {
            Err(error) if error.is_closed_pipe() => self.is_closed = true,
            written => written.map_err(|error: QueryError| ClusterError::Query(error))?,
        }
        Ok(())
    }
}
