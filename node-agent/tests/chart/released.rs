//! A chart that `cargo xtask chart` has filled in pulls the image that was pushed, and leaves it as soon as somebody names another.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Case;
use crate::helm::{chart, read, run};

pub const CASES: &[Case] =
    &[("a released chart pulls the image that was pushed, unless another is named", images)];

const PUSHED: &str =
    "ghcr.io/me/portolan@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// A copy of the chart that goes with this.
struct Filled(PathBuf);

impl Filled {
    fn new() -> Self {
        let copy = Self(std::env::temp_dir().join(format!("ptl-chart-released-{}", std::process::id())));
        let copied = Command::new("cp").arg("-r").arg(chart()).arg(&copy.0).status().expect("cp runs");
        assert!(copied.success());
        let filled = read("Chart.yaml")
            .replace("\nannotations:\n", &format!("\nannotations:\n  portolan.dev/image: {PUSHED}\n"));
        assert!(filled.contains(PUSHED), "{filled}");
        std::fs::write(copy.0.join("Chart.yaml"), filled).expect("written");
        copy
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the agent's pods pull.
fn image(chart: &Path, settings: &str) -> String {
    let released = format!("image.registry=ghcr.io,image.repository=me/portolan,{settings}");
    let output =
        run(&["template", "ptl", chart.to_str().expect("UTF-8"), "--set", released.trim_end_matches(',')]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let images: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
    let first = images.first().expect("an image");
    assert!(images.iter().all(|image| image == first), "{images:?}");
    first.trim_matches('"').to_owned()
}

fn images() {
    let filled = Filled::new();
    let version = env!("CARGO_PKG_VERSION");
    for (settings, pulled) in [
        ("", PUSHED.to_owned()),
        ("image.tag=9.9.9", "ghcr.io/me/portolan:9.9.9".to_owned()),
        ("image.registry=mirror.example", format!("mirror.example/me/portolan:{version}")),
        (&format!("image.digest={OTHER}"), format!("ghcr.io/me/portolan@{OTHER}")),
    ] {
        assert_eq!(image(&filled.0, settings), pulled, "{settings}");
    }
}
