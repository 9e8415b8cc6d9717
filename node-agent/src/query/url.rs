//! The query of a URL, percent-encoded: what was typed goes into a value and nowhere else.

use std::fmt::Write;

/// `path?name=value&…`, or the bare path.
#[must_use]
pub fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let mut url = path.to_owned();
    for (number, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(url, "{}{name}={}", if number == 0 { '?' } else { '&' }, encoded(value));
    }
    url
}

fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn what_was_typed_stays_in_its_value() {
        assert_eq!(with_query("/a", &[]), "/a");
        let pairs = [("x", "a b&c=ü".to_owned()), ("y", "1~2".to_owned())];
        assert_eq!(with_query("/a", &pairs), "/a?x=a%20b%26c%3D%C3%BC&y=1~2");
    }
}
