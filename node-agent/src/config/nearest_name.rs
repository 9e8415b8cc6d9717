//! Suggests the known name that a misspelt one was probably meant to be.

/// Returns the known name with the smallest edit distance to `given`, ignoring case. Returns `None` if more than one
/// edit, plus one for each three bytes of `given`, separates the two.
pub fn nearest_name<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distance = |name: &str| strsim::levenshtein(&given, &name.to_lowercase());
    let (edits, name) = known.into_iter().map(|name| (distance(name), name)).min()?;
    (edits <= 1 + given.len() / 3).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::nearest_name;

    #[test]
    fn only_what_is_near_is_called_meant() {
        let known = ["portolan.dev/netns", "other"];
        assert_eq!(nearest_name("portolan.dev/nets", known), Some("portolan.dev/netns"));
        assert_eq!(nearest_name("PORTOLAN.dev/netns", known), Some("portolan.dev/netns"));
        assert_eq!(nearest_name("x", ["allow-ports", "netns"]), None);
    }
}
