//! The reference of an image, as the chart's values take it apart.

/// Settings of the chart, `KEY=VALUE`, that make it use this image.
pub fn settings(reference: &str) -> Vec<String> {
    let (name, digest) = reference.split_once('@').unwrap_or((reference, ""));
    // A colon before the last slash is that of the registry's port.
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, if digest.is_empty() { "latest" } else { "" }),
    };
    [("registry", ""), ("repository", repository), ("tag", tag), ("digest", digest)]
        .map(|(key, value)| format!("image.{key}={value}"))
        .into()
}
