//! Output of a command: answers go to one stream (stdout), messages about them to another (stderr).

use std::io::{self, IsTerminal, Write};

use portolan_report::table::Colour;

use super::error::QueryError;

/// Output streams of a command, and whether answers are coloured.
pub struct Console<'a> {
    answers: Box<dyn Write + 'a>,
    messages: Box<dyn Write + 'a>,
    colour: Colour,
    /// Whether a line may be written over: messages go to a terminal.
    overwrites: bool,
    /// True if the last line of the messages is progress.
    in_progress: bool,
}

impl Console<'static> {
    /// Returns a console on stdout and stderr. Uses colours only on a terminal, and never if NO_COLOR is set.
    #[must_use]
    pub fn standard() -> Self {
        let colour = Colour::for_stdout(std::env::var_os("NO_COLOR").as_deref());
        let overwrites = io::stderr().is_terminal();
        Self {
            answers: Box::new(io::stdout()),
            messages: Box::new(io::stderr()),
            colour,
            overwrites,
            in_progress: false,
        }
    }
}

impl<'a> Console<'a> {
    /// Returns a console on any two streams, without colours.
    #[must_use]
    pub fn new(answers: impl Write + 'a, messages: impl Write + 'a) -> Self {
        Self {
            answers: Box::new(answers),
            messages: Box::new(messages),
            colour: Colour::Plain,
            overwrites: false,
            in_progress: false,
        }
    }

    /// Returns the colouring of answers.
    #[must_use]
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Writes and flushes a part of the answer.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), QueryError> {
        self.end_progress()?;
        self.answers.write_all(text.as_bytes())?;
        Ok(self.answers.flush()?)
    }

    /// Writes a message about the answer, on a line of its own.
    pub(crate) fn message(&mut self, text: &str) -> Result<(), QueryError> {
        self.end_progress()?;
        Ok(writeln!(self.messages, "{text}")?)
    }

    /// Shows on a terminal how far a command is, in place of what it showed before.
    #[cfg(feature = "cluster")]
    pub(crate) fn progress(&mut self, text: &str) -> Result<(), QueryError> {
        if self.overwrites {
            self.in_progress = true;
            write!(self.messages, "\r\u{1b}[K{text}")?;
            self.messages.flush()?;
        }
        Ok(())
    }

    /// Removes the progress from the terminal.
    fn end_progress(&mut self) -> Result<(), QueryError> {
        if std::mem::take(&mut self.in_progress) {
            write!(self.messages, "\r\u{1b}[K")?;
            self.messages.flush()?;
        }
        Ok(())
    }
}
