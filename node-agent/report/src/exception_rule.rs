//! Checks of the fields of an exception rule.
//!
//! Shared by the agent, which reads rules, and `portolan baseline`, which writes them.

use jiff::Timestamp;
use jiff::civil::Date;

/// Maximum number of characters of a rule's name.
pub const MAX_NAME: usize = 200;
/// Maximum number of characters of a rule's reason.
pub const MAX_REASON: usize = 500;

/// Checks the reason of a rule. Returns the reason without surrounding white space.
///
/// # Errors
/// One line that says what is wrong, if the reason is empty, too long, or has control characters.
pub fn reason(text: &str) -> Result<&str, String> {
    let reason = text.trim();
    if reason.is_empty() {
        return Err("reason is missing: say why this is fine, and who knows it".to_owned());
    }
    plain("reason", reason, MAX_REASON).map(|()| reason)
}

/// Accepts text of one line without control characters, of at most `most` characters.
///
/// # Errors
/// One line that names `field` and says what is wrong.
pub fn plain(field: &str, text: &str, most: usize) -> Result<(), String> {
    if text.chars().count() > most {
        return Err(format!("{field} has more than {most} characters: make it shorter"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{field} has control characters or several lines: write it in one line"));
    }
    Ok(())
}

/// Parses the time at which a rule expires: a point in time, or a day. A day stands for its end in UTC.
///
/// # Errors
/// One line that says what was expected.
pub fn expiry(text: &str) -> Result<Timestamp, String> {
    let of_day = || {
        let next = text.parse::<Date>().ok().filter(|_| text.len() == 10)?.tomorrow().ok()?;
        Some(next.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse::<Timestamp>().ok().or_else(of_day).ok_or_else(|| {
        format!(
            "expires: {:?} is not valid: expected a day such as 2027-01-31 (its end, UTC) or a time such as \
             2027-01-31T12:00:00Z",
            short(text)
        )
    })
}

/// Returns at most the first 60 characters, for error messages.
#[must_use]
pub fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
