//! How a command of this binary ends: the output that reached stdout, the error on stderr, and the exit code.

use std::error::Error;
use std::io::{self, Write};

use portolan_client::exit::Exit;
use portolan_report::escape::terminal;

/// Reports an error on stderr, and returns the exit code.
#[must_use]
pub fn fail(error: &dyn Error, exit: Exit) -> Exit {
    report(&error.to_string(), exit)
}

/// Reports a message on stderr, with control characters escaped, and returns the exit code.
#[must_use]
pub fn report(message: &str, exit: Exit) -> Exit {
    let _ = writeln!(io::stderr(), "portolan: {}", terminal(message));
    exit
}

/// Returns the exit code of a command whose output was written with this result.
#[must_use]
pub fn finish(written: io::Result<()>) -> Exit {
    match accept_closed_pipe(written) {
        Err(error) => fail(&error, Exit::Partial),
        Ok(()) => Exit::Fine,
    }
}

/// Treats a closed pipe as success, since its reader wants no more output.
///
/// # Errors
/// Any other error that stopped the output.
pub fn accept_closed_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}
