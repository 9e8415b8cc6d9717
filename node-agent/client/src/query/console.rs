//! Where a command writes: answers to one stream, words about them to the other.

use std::io::{self, Write};

use portolan_report::table::Colour;

use super::error::QueryError;
use super::pages::Gathered;
use super::{Asked, show, understood};
use crate::args::Format;

/// See the module.
pub struct Console<'a> {
    out: Box<dyn Write + 'a>,
    words: Box<dyn Write + 'a>,
    colour: Colour,
}

impl Console<'static> {
    /// stdout and stderr; colour only on a terminal, and never where NO_COLOR is set.
    #[must_use]
    pub fn standard() -> Self {
        let colour = Colour::for_stdout(std::env::var_os("NO_COLOR").as_deref());
        Self { out: Box::new(io::stdout()), words: Box::new(io::stderr()), colour }
    }
}

impl<'a> Console<'a> {
    /// Any two streams, without colour.
    #[must_use]
    pub fn new(out: impl Write + 'a, words: impl Write + 'a) -> Self {
        Self { out: Box::new(out), words: Box::new(words), colour: Colour::Plain }
    }

    /// Whether answers are coloured.
    #[must_use]
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Writes a part of the answer.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), QueryError> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Says something about the answer, on a line of its own.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), QueryError> {
        Ok(writeln!(self.words, "{text}")?)
    }

    /// Writes a list. That a table is empty is no row of it, so it is said instead.
    pub(super) fn list(&mut self, asked: &Asked<'_>, list: &Gathered) -> Result<(), QueryError> {
        let text = show::list(asked.subject, list, asked.format, self.colour);
        let text = understood(&asked.server, asked.subject.path(), text)?;
        let is_empty_table = list.items.is_empty() && matches!(asked.format, Format::Table | Format::Wide);
        if is_empty_table {
            if asked.is_narrowed {
                return self.say("Nothing matches what was asked; without these filters there may be more.");
            }
            return Ok(write!(self.words, "{text}")?);
        }
        self.write(&text)
    }
}
