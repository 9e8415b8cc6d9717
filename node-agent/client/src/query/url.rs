//! Builds the path and query of a request. Values are percent-encoded, so that user input stays within its parameter.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that are percent-encoded: all but the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns `path?name=value&…`, or the bare path if there are no pairs.
#[must_use]
pub fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let mut url = path.to_owned();
    for (number, (name, value)) in pairs.iter().enumerate() {
        let separator = if number == 0 { '?' } else { '&' };
        let _ = write!(url, "{separator}{name}={}", utf8_percent_encode(value, RESERVED));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn user_input_stays_within_its_parameter() {
        assert_eq!(with_query("/a", &[]), "/a");
        let pairs = [("x", "a b&c=ü".to_owned()), ("y", "1~2".to_owned())];
        assert_eq!(with_query("/a", &pairs), "/a?x=a%20b%26c%3D%C3%BC&y=1~2");
    }
}
