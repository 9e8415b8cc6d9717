//! The `Retry-After` header of an answer, in seconds and capped.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;

/// Longest wait that is granted to a server. A server that asks for more is asked again sooner.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Returns how long the server asks to wait. `None` if the header is missing or is a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_and_capped_and_a_date_is_ignored() {
        for (text, then) in [
            (None, None),
            (Some("7"), Some(7)),
            (Some("86400"), Some(300)),
            (Some("-1"), None),
            (Some("Sun, 29 Nov 2026 12:00:00 GMT"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            }
            assert_eq!(retry_after(&headers), then.map(Duration::from_secs), "{text:?}");
        }
    }
}
