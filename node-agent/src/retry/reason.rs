//! The text of an error that another server caused: one line of bounded length, safe for a terminal.

use std::error::Error;

use portolan_report::error_text;

/// Maximum number of characters of a reason.
const MAX_REASON: usize = 240;

/// Returns an error and all its causes on one line. A cause that the text already contains is left out.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    one_line(&error_text::causes(error))
}

/// Replaces control characters by spaces and truncates to [`MAX_REASON`] characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_bounded_line() {
        let long = "x\n\u{1b}[31m".repeat(1000);
        let reason = one_line(&long);
        assert!(reason.chars().count() == MAX_REASON && !reason.contains(['\n', '\u{1b}']));
    }
}
