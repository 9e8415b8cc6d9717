//! Settings of the tier, from environment variables.

use std::path::PathBuf;

/// Cluster, images and values to test with.
pub struct Environment {
    /// Value of KUBECONFIG.
    pub kubeconfig: String,
    /// Reference of the agent's image, which the nodes have or can pull.
    pub image: String,
    /// Image of the example's pods: busybox, or another image with `sh`, `httpd` and `wget`.
    pub example_image: String,
    /// Values file of the chart that this cluster needs.
    pub values: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// If a variable is missing.
    pub fn read() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let required = |name: &str| text(name).ok_or_else(|| format!("needs the variable {name}"));
        Ok(Self {
            kubeconfig: required("KUBECONFIG")?,
            image: required("PORTOLAN_IMAGE")?,
            example_image: text("PORTOLAN_EXAMPLE_IMAGE").unwrap_or_else(|| "busybox:1.36".to_owned()),
            values: text("PORTOLAN_VALUES").map(PathBuf::from),
        })
    }
}
