//! Tests of the plugin's archives, and of the manifest and the workflows that publish them.

use std::io::Read as _;

use serde_json::Value;

use super::platform::BINARY;
use super::*;

const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

fn read(file: &str) -> String {
    std::fs::read_to_string(workspace::root().join(file)).expect(file)
}

/// Targets of the release, with the digit that stands for the hash of each archive.
const TARGETS: [(&str, &str, &str, char); 6] = [
    ("x86_64-unknown-linux-musl", "linux", "amd64", 'a'),
    ("aarch64-unknown-linux-musl", "linux", "arm64", 'b'),
    ("x86_64-apple-darwin", "darwin", "amd64", 'c'),
    ("aarch64-apple-darwin", "darwin", "arm64", 'd'),
    ("x86_64-pc-windows-msvc", "windows", "amd64", 'e'),
    ("aarch64-pc-windows-msvc", "windows", "arm64", 'f'),
];

/// Returns the place in the manifest for the hash of an archive.
fn place(os: &str, architecture: &str) -> String {
    format!("@SHA256_{}_{}@", os.to_uppercase(), architecture.to_uppercase())
}

/// Returns the manifest as the release fills it.
fn manifest() -> Value {
    let mut filled = read(".krew.yaml").replace("@TAG@", TAG).replace("@REPOSITORY@", "owner/portolan");
    for (_, os, architecture, digit) in TARGETS {
        filled = filled.replace(&place(os, architecture), &digit.to_string().repeat(64));
    }
    assert!(!filled.contains('@'), "a place that nobody fills: {filled}");
    serde_saphyr::from_str(&filled).expect("YAML")
}

/// Returns names and modes of the files in an archive.
fn files(bytes: &[u8]) -> Vec<(String, u32)> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut found = Vec::new();
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mode = entry.header().mode().expect("a mode");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its bytes");
        assert!(!content.is_empty());
        found.push((entry.path().expect("a path").to_string_lossy().into_owned(), mode));
    }
    found
}

#[test]
fn the_archive_has_the_binary_and_the_licence_and_nothing_else() {
    for (target, os, _, _) in TARGETS {
        let platform = Platform::of(target).expect("a platform");
        let bytes = packed(b"program", platform, 1_700_000_000).expect("packed");
        assert!(
            bytes == packed(b"program", platform, 1_700_000_000).expect("packed"),
            "a time or a name in it"
        );
        let binary = if os == "windows" { "kubectl-portolan.exe" } else { BINARY };
        assert_eq!(files(&bytes), [("LICENSE".to_owned(), 0o644), (binary.to_owned(), 0o755)], "{target}");
    }
}

#[test]
fn a_program_for_another_platform_is_refused() {
    let own = std::fs::read(std::env::current_exe().expect("this program")).expect("its bytes");
    let own_target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    for (target, _, _, _) in TARGETS {
        let checked = Platform::of(target).expect("a platform").check(&own);
        assert_eq!(checked.is_ok(), target == own_target, "{target}: {checked:?}");
    }
    let problem = Platform::of("x86_64-apple-darwin").expect("a platform").check(b"#!/bin/sh\n");
    assert_eq!(problem.expect_err("no program").to_string(), "not a program");
}

#[test]
fn a_target_that_the_plugin_is_not_made_for_is_refused() {
    for target in ["x86_64-unknown-linux-gnu", "i686-pc-windows-msvc", "riscv64gc-unknown-linux-musl"] {
        assert!(Platform::of(target).expect_err("refused").to_string().contains(target));
    }
}

#[test]
fn the_manifest_is_one_that_krew_takes() {
    let manifest = manifest();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["metadata"]["name"], BINARY.strip_prefix("kubectl-").expect("a plugin of kubectl"));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], TAG, "semantic, with a v");
    let text = |name: &str| spec[name].as_str().expect(name).to_owned();
    assert_eq!(text("homepage"), "https://github.com/owner/portolan");
    assert!((1..=50).contains(&text("shortDescription").len()), "Krew's index asks for 50 at most");
    assert!(!text("shortDescription").ends_with('.') && !text("description").is_empty());
    let platforms = spec["platforms"].as_array().expect("platforms");
    assert_eq!(platforms.len(), TARGETS.len());
    for (platform, (target, os, architecture, digit)) in platforms.iter().zip(TARGETS) {
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!((&labels["os"], &labels["arch"]), (&os.into(), &architecture.into()));
        let made = Platform::of(target).expect("a platform");
        let archive = made.archive(env!("CARGO_PKG_VERSION"));
        let uri = format!("https://github.com/owner/portolan/releases/download/{TAG}/{archive}");
        assert_eq!(platform["uri"], uri);
        assert_eq!(platform["sha256"], digit.to_string().repeat(64));
        assert_eq!(platform["bin"], made.binary());
        let from: Vec<_> = platform["files"].as_array().expect("files").iter().map(|f| &f["from"]).collect();
        assert_eq!(from, [made.binary(), "LICENSE"], "Krew wants the licence with it");
    }
}

#[test]
fn the_release_builds_fills_and_uploads_what_the_manifest_names() {
    let release = read(".github/workflows/release.yaml");
    let publish = release.split("\n  publish:").nth(1).expect("the job that publishes");
    // The job publishes the artifacts that the test workflow has built and tested.
    assert!(publish.contains("\n    needs: tested\n"), "{publish}");
    assert!(release.contains("\n    uses: ./.github/workflows/ci.yaml\n"), "{release}");
    let tests = read(".github/workflows/ci.yaml");
    assert!(tests.contains("\n  workflow_call:"), "{tests}");
    for (target, os, architecture, _) in TARGETS {
        // Linux is the default of the machine that builds the image for the same architecture.
        let builds = if os == "linux" { "cargo xtask plugin\n" } else { target };
        assert!(tests.contains(builds), "{target}");
        let fills = format!("-e \"s|{}|$(hash {os} {architecture})|\"", place(os, architecture));
        assert!(publish.contains(&fills), "{fills}: {publish}");
    }
    for part in ["s|@TAG@|$VERSION|g", "s|@REPOSITORY@|$GITHUB_REPOSITORY|g", ".krew.yaml > portolan.yaml"] {
        assert!(publish.contains(part), "{part}");
    }
    // Every file matches one of the patterns that are collected, and all that is collected is uploaded.
    let collected = publish.split("          cp ").nth(1).and_then(|rest| rest.split(" release/").next());
    let collected = collected.expect("collects the files");
    assert!(collected.contains("kubectl-portolan-*") && collected.contains("portolan.yaml"), "{collected}");
    let create = publish.split("gh release create").nth(1).expect("makes the release");
    assert!(create.contains(" release/*"), "{create}");
}
