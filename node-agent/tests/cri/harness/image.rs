//! The one image of the tier, built here: a static busybox with some of its names. It is the pause image too.

use std::path::Path;
use std::process::Command;

/// Image of containers; no registry answers at this name.
pub const BOX: &str = "portolan.test/box:1";
/// Image of sandboxes.
pub const PAUSE: &str = "portolan.test/pause:1";

const APPLETS: [&str; 6] = ["sh", "sleep", "httpd", "wget", "udpsvd", "nc"];

/// Writes the image as an archive for `ctr images import` and returns its path.
pub fn write(dir: &Path) -> std::path::PathBuf {
    let bin = dir.join("layer/bin");
    std::fs::create_dir_all(&bin).expect("a directory for the image");
    std::fs::copy(busybox(), bin.join("busybox")).expect("copy busybox");
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link");
    }
    tar(dir, &["-cf", "layer.tar", "-C", "layer", "bin"]);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": ["/bin/sleep", "1000000000"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&dir.join("layer.tar")))] },
        "history": [{ "created_by": "the cri tier" }],
    });
    let manifest = serde_json::json!([
        { "Config": "config.json", "RepoTags": [BOX, PAUSE], "Layers": ["layer.tar"] }
    ]);
    std::fs::write(dir.join("config.json"), config.to_string()).expect("write");
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).expect("write");
    tar(dir, &["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]);
    dir.join("image.tar")
}

/// Returns the static busybox: there is no C library in the image.
fn busybox() -> &'static str {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("busybox: run `cargo xtask setup --tests`")
}

fn tar(dir: &Path, arguments: &[&str]) {
    let status = Command::new("tar").current_dir(dir).args(arguments).status().expect("tar runs");
    assert!(status.success(), "tar {arguments:?}");
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a sum").to_owned()
}
