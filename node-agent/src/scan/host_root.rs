//! The node's root directory where it is mounted elsewhere, as `kubectl debug node` does at `/host`: the runtime's socket and
//! the names of netns are below it, and the runtime knows neither under that name.

use std::path::{Path, PathBuf};

use portolan_engine::model::netns::canonical;
use portolan_report::escape::terminal;

use crate::config::MetadataSource;
use crate::source::pods::cri::socket;

/// Checks the value of `--host-root`.
///
/// # Errors
/// If it is no absolute path of a directory.
pub(super) fn check(root: &Path) -> Result<(), String> {
    if root.is_absolute() && root.is_dir() {
        return Ok(());
    }
    let what = if root.is_absolute() { "no directory" } else { "no absolute path" };
    Err(format!(
        "--host-root: {} is {what}: give the mount point of the node's root, such as /host",
        terminal(&root.to_string_lossy())
    ))
}

/// Returns the path of the node's file below the root. `/var/run` is a link to `/run` on nodes, and an absolute link below the
/// root would lead out of it.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let on_node = path.strip_prefix(root).map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest));
    let on_node = on_node.to_str().map_or(on_node.as_path(), |text| Path::new(canonical(text)));
    root.join(on_node.strip_prefix("/").unwrap_or(on_node))
}

/// Returns what to say about directories of netns names that the root does not have.
pub(super) fn missing_dirs(dirs: &[PathBuf]) -> Vec<String> {
    let missing = dirs.iter().filter(|dir| !dir.is_dir());
    let line = |dir: &PathBuf| {
        format!(
            "no directory {}: network namespaces that only have a name there are not seen; check --host-root and --netns-dir",
            dir.display()
        )
    };
    missing.map(line).collect()
}

/// Returns the sources with the runtime's socket below the root. Without a requested source, the runtime is one if its socket
/// is there.
pub(super) fn sources(root: &Path, requested: &[MetadataSource]) -> Vec<MetadataSource> {
    let present = || {
        socket::DEFAULTS.iter().map(|path| below(root, Path::new(path))).find(|path| socket::is_socket(path))
    };
    if requested.is_empty() {
        return present().map(|path| MetadataSource::Cri(Some(path))).into_iter().collect();
    }
    let source = |source: &MetadataSource| match source {
        MetadataSource::Cri(Some(path)) => MetadataSource::Cri(Some(below(root, path))),
        MetadataSource::Cri(None) => MetadataSource::Cri(present()),
        other => other.clone(),
    };
    requested.iter().map(source).collect()
}

/// Gives a netns the names that it has on the node, by which the runtime knows it.
pub(super) fn rename(root: &Path, paths: &mut [String]) {
    for path in paths {
        if let Ok(rest) = Path::new(path.as_str()).strip_prefix(root) {
            *path = Path::new("/").join(rest).to_string_lossy().into_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use portolan_testing::scratch::Scratch;

    use super::*;

    #[test]
    fn a_netns_below_the_root_has_the_name_that_the_runtime_knows() {
        let mut paths = ["/host/run/netns/cni-1".to_owned(), "/run/netns/cni-2".to_owned()];
        rename(Path::new("/host"), &mut paths);
        assert_eq!(paths, ["/run/netns/cni-1", "/run/netns/cni-2"]);
    }

    #[test]
    fn a_link_of_the_node_does_not_lead_out_of_the_root() {
        let root = Path::new("/host");
        for given in ["/var/run/netns", "/run/netns", "/host/var/run/netns", "/host/run/netns"] {
            assert_eq!(below(root, Path::new(given)), Path::new("/host/run/netns"), "{given}");
        }
        assert_eq!(below(Path::new("/"), Path::new("/var/run/netns")), Path::new("/run/netns"));
        assert_eq!(below(root, Path::new("/var/lib/x")), Path::new("/host/var/lib/x"));
    }

    #[test]
    fn a_directory_of_names_that_is_not_there_is_said() {
        let scratch = Scratch::new("host-root-dirs");
        let here = scratch.directory().to_owned();
        let gone = here.join("gone");
        let said = missing_dirs(&[here, gone.clone()]);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(&*gone.to_string_lossy()), "{said:?}");
    }

    #[test]
    fn a_file_in_place_of_a_socket_is_no_runtime() {
        let scratch = Scratch::new("host-root-file");
        let root = scratch.directory();
        std::fs::create_dir_all(root.join("run/containerd")).expect("a directory");
        std::fs::write(root.join("run/containerd/containerd.sock"), "").expect("a file");
        assert_eq!(sources(root, &[]), []);
    }

    #[test]
    fn a_root_that_is_no_directory_is_refused() {
        let scratch = Scratch::new("host-root-check");
        assert_eq!(check(scratch.directory()), Ok(()));
        let file = scratch.write("file", "");
        for (root, then) in [
            (Path::new("/nonexist"), "--host-root: /nonexist is no directory: give the mount point"),
            (&file, "is no directory"),
            (Path::new("host"), "--host-root: host is no absolute path: give the mount point"),
        ] {
            let said = check(root).expect_err("no root");
            assert!(said.contains(then), "{said}");
        }
    }

    #[test]
    fn the_runtimes_socket_is_found_below_the_root() {
        let scratch = Scratch::new("host-root");
        let root = scratch.directory();
        assert_eq!(sources(root, &[]), []);
        std::fs::create_dir_all(root.join("run/containerd")).expect("a directory");
        let path = root.join("run/containerd/containerd.sock");
        let _socket = UnixListener::bind(&path).expect("a socket");
        let expected = [MetadataSource::Cri(Some(path.clone()))];
        assert_eq!(sources(root, &[]), expected);
        assert_eq!(sources(root, &[MetadataSource::Cri(None)]), expected);
        for given in [Path::new("/run/containerd/containerd.sock"), &path] {
            assert_eq!(sources(root, &[MetadataSource::Cri(Some(given.to_owned()))]), expected);
        }
    }
}
