//! Errors as text for people.

use std::error::Error;

/// Returns the message of an error followed by those of its causes, separated by `: `. Leaves out a cause whose message is
/// already part of the text, since many errors repeat their cause.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn link(text: &'static str, source: Option<Link>) -> Link {
        Link { text, source: source.map(Box::new) }
    }

    #[test]
    fn a_cause_that_is_repeated_appears_once() {
        let error = link("cannot connect: refused", Some(link("refused", Some(link("os error 111", None)))));
        assert_eq!(causes(&error), "cannot connect: refused: os error 111");
    }
}
