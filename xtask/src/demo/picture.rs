//! A picture of the demo's page, as a headless Chromium draws it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{step, workspace};

/// The browser that takes the picture.
pub const BROWSER: &str = "chromium";
/// Milliseconds of the page's own time before the picture is taken.
const DRAWN_AFTER: u32 = 4_000;
/// Width and height in pixels: the chart with few ports needs no more.
const SIZE: (u32, u32) = (1200, 400);
/// First bytes of a PNG file.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Writes a picture of the agent's page to a PNG file.
///
/// # Errors
/// If the browser does not run or writes no picture.
pub fn take(api: SocketAddr, file: &Path) -> Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    if file.exists() {
        std::fs::remove_file(file).with_context(|| format!("cannot replace {}", file.display()))?;
    }
    let profile = workspace::target().join("demo/browser");
    let mut command = Command::new(BROWSER);
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--hide-scrollbars", "--disable-background-networking", "--force-color-profile=srgb"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--virtual-time-budget={DRAWN_AFTER}"))
        .arg(format!("--window-size={},{}", SIZE.0, SIZE.1))
        .arg(format!("--screenshot={}", file.display()))
        .arg(format!("http://{api}/"));
    let outcome = step::run("taking a picture of the page", &mut command);
    let _ = std::fs::remove_dir_all(&profile);
    outcome?;
    let picture = std::fs::read(file).with_context(|| format!("{BROWSER} wrote no {}", file.display()))?;
    ensure!(picture.starts_with(PNG), "{} is no picture", file.display());
    println!("a picture of the page: {}", file.display());
    Ok(())
}
