//! The archive of `kubectl portolan` for users and Krew: binary and licence, reproducible from a commit. `.krew.yaml` is the
//! manifest that the release fills with tag, repository and hashes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use tar::Builder;

use super::binary::{Linking, Program};
use super::identity::{Identity, Source};
use super::{archive, binary};
use crate::workspace;

/// Name under which kubectl finds the plugin `portolan`.
const BINARY: &str = "kubectl-portolan";
/// Dynamically linked: a static C library would load the resolver modules of the user's own C library, and crash.
const PLUGIN: Program =
    Program { name: BINARY, package: "portolan-client", linking: Linking::Dynamic, features: "cluster" };

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// What it is to run on, as rustc names it: x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu; default: this machine
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Where the archive goes; default: target/plugin
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Builds the binary, writes the archive, and prints its properties.
///
/// # Errors
/// If the build fails, or the archive cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let target = options.target.clone().unwrap_or_else(binary::host);
    let identity = Identity::of_the_tree(None, &Source::default())?;
    let built = binary::build(workspace::root(), &workspace::target(), &target, PLUGIN)?;
    let directory = options.output.clone().unwrap_or_else(|| workspace::target().join("plugin"));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join(name(identity.version, binary::architecture(&target)?));
    let bytes = packed(&built, identity.time)?;
    let library = glibc(&std::fs::read(&built)?);
    std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}\n  sha256 {}, needs glibc 2.{library} or newer", file.display(), archive::sha256(&bytes));
    Ok(())
}

/// Returns the name of the archive, which `.krew.yaml` contains too.
fn name(version: &str, architecture: &str) -> String {
    format!("{BINARY}-v{version}-linux-{architecture}.tar.gz")
}

/// Returns the newest glibc version that the binary needs: the number after `2.`.
fn glibc(binary: &[u8]) -> u32 {
    let mark = b"GLIBC_2.";
    let after = binary.windows(mark.len()).enumerate().filter(|(_, part)| part == mark);
    let minor = |at: usize| {
        let digits = binary.iter().skip(at + mark.len()).take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    };
    after.map(|(at, _)| minor(at)).max().unwrap_or_default()
}

fn packed(built: &Path, time: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let licence = std::fs::read(workspace::root().join("LICENSE"))?;
    archive::add(&mut tar, "LICENSE", 0o644, time, &licence)?;
    archive::add(&mut tar, BINARY, 0o755, time, &std::fs::read(built)?)?;
    archive::packed(&tar.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::Value;

    use super::*;

    const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

    fn read(file: &str) -> String {
        std::fs::read_to_string(workspace::root().join(file)).expect(file)
    }

    /// Returns the manifest as the release fills it.
    fn manifest() -> Value {
        let filled = read(".krew.yaml")
            .replace("@TAG@", TAG)
            .replace("@REPOSITORY@", "owner/portolan")
            .replace("@SHA256_AMD64@", &"a".repeat(64))
            .replace("@SHA256_ARM64@", &"b".repeat(64));
        assert!(!filled.contains('@'), "a place that nobody fills: {filled}");
        serde_saphyr::from_str(&filled).expect("YAML")
    }

    #[test]
    fn the_archive_has_the_binary_and_the_licence_and_nothing_else() {
        let built = workspace::root().join("xtask/Cargo.toml");
        let bytes = packed(&built, 1_700_000_000).expect("packed");
        assert!(bytes == packed(&built, 1_700_000_000).expect("packed"), "a time or a name in it");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut found = Vec::new();
        for entry in tar.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let mode = entry.header().mode().expect("a mode");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its bytes");
            assert!(!content.is_empty());
            found.push((entry.path().expect("a path").to_string_lossy().into_owned(), mode));
        }
        assert_eq!(found, [("LICENSE".to_owned(), 0o644), (BINARY.to_owned(), 0o755)]);
    }

    #[test]
    fn the_newest_c_library_that_is_asked_for_is_found() {
        assert_eq!(glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_2."), 34);
    }

    #[test]
    fn the_manifest_is_one_that_krew_takes() {
        let manifest = manifest();
        assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
        assert_eq!(manifest["kind"], "Plugin");
        assert_eq!(
            manifest["metadata"]["name"],
            BINARY.strip_prefix("kubectl-").expect("a plugin of kubectl")
        );
        let spec = &manifest["spec"];
        assert_eq!(spec["version"], TAG, "semantic, with a v");
        let text = |name: &str| spec[name].as_str().expect(name).to_owned();
        assert_eq!(text("homepage"), "https://github.com/owner/portolan");
        assert!((1..=50).contains(&text("shortDescription").len()), "Krew's index asks for 50 at most");
        assert!(!text("shortDescription").ends_with('.') && !text("description").is_empty());
        let platforms = spec["platforms"].as_array().expect("platforms");
        assert_eq!(platforms.len(), 2);
        for (platform, (architecture, hash)) in platforms.iter().zip([("amd64", "a"), ("arm64", "b")]) {
            let labels = &platform["selector"]["matchLabels"];
            assert_eq!((&labels["os"], &labels["arch"]), (&"linux".into(), &architecture.into()));
            let archive = name(env!("CARGO_PKG_VERSION"), architecture);
            let uri = format!("https://github.com/owner/portolan/releases/download/{TAG}/{archive}");
            assert_eq!(platform["uri"], uri);
            assert_eq!(platform["sha256"], hash.repeat(64));
            assert_eq!(platform["bin"], BINARY);
            let from: Vec<_> =
                platform["files"].as_array().expect("files").iter().map(|f| &f["from"]).collect();
            assert_eq!(from, [BINARY, "LICENSE"], "Krew wants the licence with it");
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
        assert!(tests.contains("\n  workflow_call:") && tests.contains("cargo xtask plugin\n"), "{tests}");
        for part in [
            "s|@TAG@|$VERSION|g",
            "s|@REPOSITORY@|$GITHUB_REPOSITORY|g",
            "s|@SHA256_AMD64@|",
            "s|@SHA256_ARM64@|",
            ".krew.yaml > portolan.yaml",
        ] {
            assert!(publish.contains(part), "{part}");
        }
        // Every file matches one of the patterns that are collected, and all that is collected is uploaded.
        let collected = publish.split("          cp ").nth(1).and_then(|rest| rest.split(" release/").next());
        let collected = collected.expect("collects the files");
        assert!(
            collected.contains("kubectl-portolan-*") && collected.contains("portolan.yaml"),
            "{collected}"
        );
        let create = publish.split("gh release create").nth(1).expect("makes the release");
        assert!(create.contains(" release/*"), "{create}");
        assert!(name("1.2.3", "arm64").starts_with("kubectl-portolan-"));
    }
}
