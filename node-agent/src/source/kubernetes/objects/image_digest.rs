//! Digest of an image's manifest, as runtimes write it behind the repository: `docker.io/library/nginx@sha256:…`.
//!
//! A bare `sha256:…` is the id of an image, the digest of its configuration. It names nothing that a registry serves under the
//! tag, so it is no digest here. The text comes from a pod's status or from the runtime, so whatever does not fit OCI's grammar
//! is left out.

/// Maximum length of a digest, in bytes. `sha512:…` has 135.
const MAX_DIGEST: usize = 200;

/// Returns the digest in a reference `NAME@ALGORITHM:ENCODED`; `None` if there is none, or it is not valid.
pub fn of_reference(reference: &str) -> Option<&str> {
    let (name, digest) = reference.rsplit_once('@')?;
    (!name.is_empty() && is_digest(digest)).then_some(digest)
}

/// Returns the digest of an image that has these references; `None` if they have none, or several.
pub fn sole<'a>(references: impl IntoIterator<Item = &'a String>) -> Option<&'a str> {
    let mut digests = references.into_iter().filter_map(|reference| of_reference(reference));
    let first = digests.next()?;
    digests.all(|digest| digest == first).then_some(first)
}

/// Returns true if a text fits the grammar of OCI's image specification.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let is_hex = |length: usize| {
        encoded.len() == length && encoded.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_component = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= MAX_DIGEST
        && match algorithm {
            "sha256" => is_hex(64),
            "sha384" => is_hex(96),
            "sha512" => is_hex(128),
            other => {
                let is_encoded =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
                other.split(['+', '.', '_', '-']).all(is_component)
                    && !encoded.is_empty()
                    && encoded.bytes().all(is_encoded)
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    #[test]
    fn the_digest_behind_the_repository_counts() {
        let digest = sha256("a");
        for name in ["nginx", "docker.io/library/nginx", "r:5000/a/b:v1", "docker-pullable://nginx"] {
            assert_eq!(of_reference(&format!("{name}@{digest}")), Some(digest.as_str()), "{name}");
        }
        let other = "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8";
        assert_eq!(of_reference(&format!("nginx@{other}")), Some(other));
    }

    #[test]
    fn an_image_id_is_no_digest_of_a_repository() {
        for id in
            [sha256("a"), "a".repeat(64), format!("docker://{}", sha256("a")), format!("@{}", sha256("a"))]
        {
            assert_eq!(of_reference(&id), None, "{id}");
        }
    }

    #[test]
    fn what_does_not_fit_the_grammar_is_left_out() {
        for digest in [
            "",
            ":",
            "sha256:",
            "sha256:0f",
            &sha256("A"),
            &sha256("g"),
            &format!("{}0", sha256("a")),
            &format!("sha512:{}", "a".repeat(64)),
            "SHA256:aa",
            "alg:",
            "a..b:00",
            "alg:0\u{1b}[2J",
            "alg:0 0",
            "alg:é",
            &format!("alg:{}", "a".repeat(197)),
        ] {
            assert_eq!(of_reference(&format!("nginx@{digest}")), None, "{digest:?}");
        }
        assert!(of_reference(&format!("nginx@alg:{}", "a".repeat(196))).is_some());
    }

    #[test]
    fn references_of_one_image_that_disagree_say_nothing() {
        let of = |digits: &[&str]| {
            let all: Vec<String> =
                digits.iter().map(|digit| format!("r/{digit}@{}", sha256(digit))).collect();
            sole(&all).map(str::to_owned)
        };
        assert_eq!(of(&["a"]), Some(sha256("a")));
        assert_eq!(of(&["a", "a"]), Some(sha256("a")));
        assert_eq!(of(&["a", "b"]), None);
        assert_eq!(of(&[]), None);
    }
}
