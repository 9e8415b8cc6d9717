//! Splits the reference of an image into the chart's values.

/// Returns settings of the chart, `KEY=VALUE`, that select this image.
pub fn settings(reference: &str) -> Vec<String> {
    let (name, digest) = reference.split_once('@').unwrap_or((reference, ""));
    // A colon before the last slash belongs to the port of the registry.
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, if digest.is_empty() { "latest" } else { "" }),
    };
    [("registry", ""), ("repository", repository), ("tag", tag), ("digest", digest)]
        .map(|(key, value)| format!("image.{key}={value}"))
        .into()
}
