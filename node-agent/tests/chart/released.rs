//! Checks that a chart that `cargo xtask chart` released pulls the pushed image, unless the user names another.

use std::path::{Path, PathBuf};
use std::process::Command;

use portolan_testing::scratch::Scratch;

use crate::Case;
use crate::helm::{chart, read, run};

pub const CASES: &[Case] =
    &[("a released chart pulls the image that was pushed, unless another is named", images)];

const PUSHED: &str =
    "ghcr.io/me/portolan@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// Copies the chart, with the annotation that a release adds. Returns the path of the copy.
fn released(scratch: &Scratch) -> PathBuf {
    let copy = scratch.path("portolan");
    let copied = Command::new("cp").arg("-r").arg(chart()).arg(&copy).status().expect("cp runs");
    assert!(copied.success());
    let annotations = format!("\nannotations:\n  portolan.dev/image: {PUSHED}\n");
    let text = read("Chart.yaml").replace("\nannotations:\n", &annotations);
    assert!(text.contains(PUSHED), "{text}");
    std::fs::write(copy.join("Chart.yaml"), text).expect("written");
    copy
}

/// Returns the image that the agent's pods pull.
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
    let scratch = Scratch::new("chart-released");
    let chart = released(&scratch);
    let version = env!("CARGO_PKG_VERSION");
    for (settings, pulled) in [
        ("", PUSHED.to_owned()),
        ("image.tag=9.9.9", "ghcr.io/me/portolan:9.9.9".to_owned()),
        ("image.registry=mirror.example", format!("mirror.example/me/portolan:{version}")),
        (&format!("image.digest={OTHER}"), format!("ghcr.io/me/portolan@{OTHER}")),
    ] {
        assert_eq!(image(&chart, settings), pulled, "{settings}");
    }
}
