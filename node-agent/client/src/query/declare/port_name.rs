//! Names for declared ports: after what explains the port, valid in Kubernetes, and unique in the pod.

use std::collections::BTreeSet;

/// Maximum length of a port's name.
const MAX_NAME: usize = 15;

/// Returns true if Kubernetes accepts this as the name of a port (IANA_SVC_NAME).
#[must_use]
pub fn is_port_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_inner)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Chooses the first of the wanted names that is valid and free, else the first of them with a number, else protocol and
/// port (`tcp-9090`), and takes it. `None` if all of them are taken.
///
/// A Service finds its target by name, so a name that is in use in the pod is never given to another port.
pub(super) fn choose(
    wanted: &[&str],
    (port, protocol): (u16, &str),
    taken: &mut BTreeSet<String>,
) -> Option<String> {
    let plain = format!("{}-{port}", protocol.to_lowercase());
    let valid: Vec<&str> = wanted.iter().copied().filter(|name| is_port_name(name)).collect();
    let numbered = valid.iter().flat_map(|name| (2..=9).map(move |number| numbered(name, number)));
    let all = valid.iter().map(|name| (*name).to_owned()).chain(numbered).chain([plain]);
    let name = all.filter(|name| is_port_name(name)).find(|name| !taken.contains(name))?;
    taken.insert(name.clone());
    Some(name)
}

/// Appends a number to a name, and cuts the name so that the result is short enough.
fn numbered(name: &str, number: u8) -> String {
    let kept: String = name.chars().take(MAX_NAME - 2).collect();
    format!("{}-{number}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_and_free() {
        let mut taken = BTreeSet::from(["http".to_owned()]);
        for (wanted, port, then) in [
            (&["web"][..], 80, Some("web")),
            (&["web"], 81, Some("web-2")),
            (&["http"], 8080, Some("http-2")),
            (&["Not_Valid", "metrics"], 9090, Some("metrics")),
            (&["a-very-long-service-port"], 9091, Some("tcp-9091")),
            (&[], 9092, Some("tcp-9092")),
            (&[], 9092, None),
            (&["abcdefghijklmno"], 1, Some("abcdefghijklmno")),
            (&["abcdefghijklmno"], 2, Some("abcdefghijklm-2")),
        ] {
            assert_eq!(choose(wanted, (port, "TCP"), &mut taken).as_deref(), then, "{wanted:?} {port}");
        }
        assert_eq!(choose(&[], (65_535, "SCTP"), &mut taken).as_deref(), Some("sctp-65535"));
    }

    #[test]
    fn names_that_kubernetes_refuses_are_not_valid() {
        for name in ["", "80", "-a", "a-", "a--b", "A", "a_b", "a.b", "abcdefghijklmnop", "ä"] {
            assert!(!is_port_name(name), "{name}");
        }
        for name in ["a", "http", "80-a", "dns-tcp", "abcdefghijklmno"] {
            assert!(is_port_name(name), "{name}");
        }
    }
}
