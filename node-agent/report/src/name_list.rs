//! Lists of names in sentences.

/// Joins names, `most` of them at most, and says how many more there are: `a, b and 3 more`.
#[must_use]
pub fn first_names(names: impl IntoIterator<Item = impl AsRef<str>>, most: usize) -> String {
    let mut all = names.into_iter();
    let first: Vec<_> = all.by_ref().take(most).collect();
    let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
    match all.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::first_names;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(first_names(["a", "b"], 2), "a, b");
        assert_eq!(first_names(["a", "b", "c", "d"], 2), "a, b and 2 more");
        assert_eq!(first_names(Vec::<String>::new(), 2), "");
    }
}
