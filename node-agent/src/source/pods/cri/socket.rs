//! Sockets of container runtimes.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Default sockets, in the order in which they are tried. Runtimes that only serve Kubernetes come before containerd's own
/// socket, which may belong to Docker, with CRI disabled.
pub const DEFAULTS: [&str; 6] = [
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/crio/crio.sock",
    "/run/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// Returns the sockets to try: the configured one, else those of [`DEFAULTS`] that exist.
#[must_use]
pub fn candidates(asked: Option<&Path>) -> Vec<PathBuf> {
    match asked {
        Some(path) => vec![path.to_owned()],
        None => DEFAULTS.iter().map(PathBuf::from).filter(|path| is_socket(path)).collect(),
    }
}

/// True if the socket of a container runtime exists.
#[must_use]
pub fn is_any() -> bool {
    DEFAULTS.iter().any(|path| is_socket(Path::new(path)))
}

/// True if the path is a socket.
#[must_use]
pub fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}
