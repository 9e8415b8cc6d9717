//! Kubernetes manifests for the namespaces of a case.

use std::path::Path;

/// A pod with one container.
#[derive(Clone, Debug)]
pub struct PodManifest {
    pub name: String,
    pub netns: String,
    /// Declared ports: `8080` or `53/UDP`.
    pub ports: Vec<String>,
}

impl PodManifest {
    /// Returns the manifest as YAML.
    pub fn document(&self) -> String {
        let mut document = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {0}\n  namespace: tier\n  uid: uid-{1}\n  annotations:\n    \
             portolan.dev/netns: {1}\nspec:\n  containers:\n  - name: main\n    image: registry.example/{0}:1\n",
            self.name, self.netns
        );
        if !self.ports.is_empty() {
            document += "    ports:\n";
        }
        for port in &self.ports {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
            document += &format!("    - containerPort: {number}\n      protocol: {protocol}\n");
        }
        document
    }
}

/// Replaces the manifest file as a whole, by rename, as an operator's tool would.
pub fn write(path: &Path, pods: &[PodManifest]) {
    let text = pods.iter().map(PodManifest::document).collect::<Vec<_>>().join("---\n");
    write_text(path, &text);
}

/// Replaces a file by any text.
pub fn write_text(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).expect("write the manifests");
    std::fs::rename(&fresh, path).expect("put the manifests in place");
}
