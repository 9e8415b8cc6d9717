//! Kubernetes manifests in a file or directory.
