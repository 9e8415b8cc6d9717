//! What the tier is told by its environment.

use std::path::PathBuf;

/// What whoever runs it wants.
pub struct Wanted {
    /// As KUBECONFIG has it.
    pub kubeconfig: String,
    /// Reference of the agent's image, which the nodes can pull or have.
    pub image: String,
    /// Image of the example's pods: busybox, or what has its `sh`, `httpd` and `wget`.
    pub example_image: String,
    /// Values that this cluster needs beside the defaults.
    pub values: Option<PathBuf>,
}

impl Wanted {
    /// # Errors
    /// What is missing.
    pub fn from_environment() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| text(name).ok_or_else(|| format!("needs the variable {name}"));
        Ok(Self {
            kubeconfig: needed("KUBECONFIG")?,
            image: needed("PORTOLAN_IMAGE")?,
            example_image: text("PORTOLAN_EXAMPLE_IMAGE").unwrap_or_else(|| "busybox:1.36".to_owned()),
            values: text("PORTOLAN_VALUES").map(PathBuf::from),
        })
    }
}
