//! The query of a URL: pairs of names and values, and the key in it.

use form_urlencoded::parse;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Characters that a query must not have as they are. What is encoded already stays.
const FOREIGN: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'').add(b'`').add(b'\\');

/// Names and values of a query, decoded.
pub(super) type Pairs = Vec<(String, String)>;

/// Returns the pairs of a query.
pub(super) fn pairs(query: &str) -> Pairs {
    parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Returns the value of the first pair with this name.
pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Returns the key of a query, and the query without it.
pub(super) fn split_key(query: &str) -> (Option<String>, String) {
    let is_key = |part: &&str| part.starts_with("key=");
    let key = query.split('&').find(is_key).and_then(|part| part.strip_prefix("key=")).map(str::to_owned);
    let rest: Vec<&str> = query.split('&').filter(|part| !is_key(part)).collect();
    (key, rest.join("&"))
}

/// Returns the query that a user typed as it can stand in a URL. It begins with a question mark, or it does not.
pub(super) fn typed(query: &str) -> String {
    let query = query.trim().trim_start_matches('?');
    split_key(&utf8_percent_encode(query, FOREIGN).to_string()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_taken_out_of_a_query() {
        for (query, key, rest) in [
            ("", None, ""),
            ("key=a", Some("a"), ""),
            ("key=a&view=table&q=a%26b", Some("a"), "view=table&q=a%26b"),
            ("view=table&key=a", Some("a"), "view=table"),
            ("monkey=a", None, "monkey=a"),
        ] {
            assert_eq!(split_key(query), (key.map(str::to_owned), rest.to_owned()), "{query}");
        }
    }

    #[test]
    fn what_a_user_types_stays_within_the_query() {
        for (given, then) in [
            ("severity=high&q=a b", "severity=high&q=a%20b"),
            ("?port=abc", "port=abc"),
            ("q=%2Fü#x\n\"", "q=%2F%C3%BC%23x%0A%22"),
            ("key=x&q=1", "q=1"),
        ] {
            assert_eq!(typed(given), then, "{given}");
        }
        assert_eq!(pairs("q=a+b%26&q="), [("q".into(), "a b&".into()), ("q".into(), String::new())]);
    }
}
