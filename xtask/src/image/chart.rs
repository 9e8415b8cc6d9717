//! The chart of a release, which names the pushed image, so that an installation pulls exactly that image. The chart in the tree
//! names no image, because each builder has another registry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::artifact_hub::{self, Release};
use super::identity::{self, Source};
use crate::{setup, step, workspace};

const CHART: &str = "charts/portolan";
/// Annotation from which the chart's templates read the digest. A value would survive an upgrade with `--reuse-values`.
const ANNOTATION: &str = "portolan.dev/image";

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The image that was pushed: registry, repository and digest
    #[arg(long, value_name = "REGISTRY/REPOSITORY@sha256:HEX")]
    image: Pushed,
    /// Where the archive goes; default: target/chart
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    signing: Signing,
}

/// The OpenPGP key for the chart's provenance file, which `helm verify` reads.
#[derive(Args, Clone, Debug, Default)]
struct Signing {
    /// Sign the chart with the key of this owner in --keyring
    #[arg(long, value_name = "NAME", requires_all = ["keyring", "fingerprint"])]
    sign_with: Option<String>,
    /// File with the secret key, as `gpg --export-secret-keys` writes it
    #[arg(long, value_name = "FILE", requires = "sign_with")]
    keyring: Option<PathBuf>,
    /// File with the passphrase of the key
    #[arg(long, value_name = "FILE", requires = "sign_with")]
    passphrase_file: Option<PathBuf>,
    /// Fingerprint of the key, which the chart's metadata name
    #[arg(long, value_name = "HEX", requires = "sign_with", value_parser = fingerprint)]
    fingerprint: Option<String>,
}

fn fingerprint(text: &str) -> Result<String, String> {
    let is_whole = [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_whole {
        Ok(text.to_uppercase())
    } else {
        Err(format!("`{text}` is no whole fingerprint: 40 or 64 digits"))
    }
}

impl Signing {
    /// Returns helm's arguments. Empty: the chart is not signed.
    fn arguments(&self) -> Vec<OsString> {
        let (Some(owner), Some(keyring)) = (&self.sign_with, &self.keyring) else { return Vec::new() };
        let mut words: Vec<OsString> = vec!["--sign".into(), "--key".into(), owner.into()];
        words.extend(["--keyring".into(), keyring.into()]);
        words.extend(self.passphrase_file.iter().flat_map(|file| ["--passphrase-file".into(), file.into()]));
        words
    }
}

/// An image in a registry, identified by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pushed {
    registry: String,
    repository: String,
    digest: String,
}

impl FromStr for Pushed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!("`{text}` is no REGISTRY/REPOSITORY@sha256:HEX, as in ghcr.io/me/portolan@sha256:0123…")
        };
        let (name, digest) = text.split_once('@').ok_or_else(wanted)?;
        let (registry, repository) = name.split_once('/').ok_or_else(wanted)?;
        let hex = digest.strip_prefix("sha256:").ok_or_else(wanted)?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b))
        };
        // Without a dot or a port the first part is a directory of Docker's own registry.
        let is_registry = registry.contains(['.', ':']) || registry == "localhost";
        if !is_hex || !is_registry || !is_plain(registry) || !is_plain(repository) || repository.contains(':')
        {
            return Err(wanted());
        }
        let [registry, repository, digest] = [registry, repository, digest].map(str::to_owned);
        Ok(Self { registry, repository, digest })
    }
}

/// Copies the chart, fills in the image, and packs it.
///
/// # Errors
/// If the chart lacks the lines to fill in, or helm is missing or fails.
pub fn run(options: &Options) -> Result<()> {
    let directory = options.output.clone().unwrap_or_else(|| workspace::target().join("chart"));
    let copy = directory.join("filled/portolan");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    copy_tree(&workspace::root().join(CHART), &copy)?;
    fill(&copy.join("values.yaml"), |text| values(text, &options.image))?;
    let repository = options.source.repository.as_deref().map(identity::address).transpose()?;
    let release =
        repository.as_deref().map(|repository| Release { repository, version: env!("CARGO_PKG_VERSION") });
    fill(&copy.join("Chart.yaml"), |text| {
        let text = chart(text, &options.image)?;
        release.map_or(Ok(text.clone()), |release| {
            published(&text, release, options.signing.fingerprint.as_deref())
        })
    })?;
    let mut helm = Command::new(setup::tools::program("helm"));
    step::run(
        "packing the chart",
        helm.arg("package")
            .arg(&copy)
            .arg("--destination")
            .arg(&directory)
            .args(options.signing.arguments())
            .current_dir(workspace::root()),
    )?;
    println!("{}", directory.join(concat!("portolan-", env!("CARGO_PKG_VERSION"), ".tgz")).display());
    Ok(())
}

/// Fills registry and repository into `values.yaml`.
fn values(text: &str, image: &Pushed) -> Result<String> {
    let text = set(text, "image", "registry: \"\"", &format!("registry: {}", image.registry))?;
    set(&text, "image", "repository: portolan", &format!("repository: {}", image.repository))
}

/// Fills the digest into `Chart.yaml`.
fn chart(text: &str, image: &Pushed) -> Result<String> {
    let first = "artifacthub.io/category: security";
    let reference = format!("{}/{}@{}", image.registry, image.repository, image.digest);
    let images = artifact_hub::images(&reference);
    set(text, "annotations", first, &format!("{ANNOTATION}: {reference}\n{images}  {first}"))
}

/// Fills where the release is published into `Chart.yaml`.
fn published(text: &str, release: Release<'_>, fingerprint: Option<&str>) -> Result<String> {
    let start = "\nannotations:\n";
    ensure!(
        text.matches(start).count() == 1,
        "Chart.yaml has no annotations, or several: cannot fill them in"
    );
    let whole = format!("\n{}annotations:\n{}", release.fields(), release.annotations(fingerprint));
    Ok(text.replace(start, &whole))
}

/// Replaces the only line `old` of a section by `new`.
fn set(text: &str, section: &str, old: &str, new: &str) -> Result<String> {
    let mut within = false;
    let mut found = 0;
    let mut lines = String::with_capacity(text.len() + new.len());
    for line in text.lines() {
        if !line.starts_with([' ', '#']) {
            within = line == format!("{section}:");
        }
        if within && line.strip_prefix("  ") == Some(old) {
            found += 1;
            lines.push_str("  ");
            lines.push_str(new);
        } else {
            lines.push_str(line);
        }
        lines.push('\n');
    }
    ensure!(found == 1, "the chart has {found} lines `{old}` in `{section}`, not one: cannot fill it in");
    Ok(lines)
}

fn fill(file: &Path, change: impl Fn(&str) -> Result<String>) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    std::fs::write(file, change(&text)?).with_context(|| format!("cannot write {}", file.display()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        } else {
            bail!("{} is neither a file nor a directory", entry.path().display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(file: &str) -> String {
        std::fs::read_to_string(workspace::root().join(file)).expect(file)
    }

    fn parsed(text: &str) -> Value {
        serde_saphyr::from_str(text).expect("YAML")
    }

    #[test]
    fn the_released_chart_names_the_image_that_was_pushed_and_changes_nothing_else() {
        let reference = format!("ghcr.io/me/portolan@sha256:{HEX}");
        let image: Pushed = reference.parse().expect("a reference");
        let before = read("charts/portolan/values.yaml");
        let mut after = parsed(&values(&before, &image).expect("filled"));
        assert_eq!(after["image"]["registry"], "ghcr.io");
        assert_eq!(after["image"]["repository"], "me/portolan");
        after["image"]["registry"] = "".into();
        after["image"]["repository"] = "portolan".into();
        assert_eq!(after, parsed(&before));

        let before = read("charts/portolan/Chart.yaml");
        let mut after = parsed(&chart(&before, &image).expect("filled"));
        let annotations = after["annotations"].as_object_mut().expect("annotations");
        let images = annotations.remove("artifacthub.io/images").expect("images");
        let images = parsed(images.as_str().expect("text, as all annotations"));
        assert_eq!(images[0]["image"], reference);
        assert_eq!(annotations.remove(ANNOTATION), Some(reference.into()));
        assert_eq!(after, parsed(&before));
        assert_eq!(after["version"], env!("CARGO_PKG_VERSION"), "what the archive is called");
        assert_eq!(after["appVersion"], after["version"]);
        // The templates read it under the same name.
        assert!(read("charts/portolan/templates/_agent.tpl").contains(&format!("\"{ANNOTATION}\"")));
    }

    #[test]
    fn a_published_chart_says_where_it_comes_from_and_leads_to_files_that_exist() {
        let release = Release { repository: "https://github.com/me/portolan", version: "1.2.3" };
        let key = "0123456789ABCDEF0123456789ABCDEF01234567";
        let before = read("charts/portolan/Chart.yaml");
        let after = parsed(&published(&before, release, Some(key)).expect("filled"));
        assert_eq!(after["home"], release.repository);
        assert_eq!(after["sources"][0], release.repository);
        assert_eq!(after["maintainers"][0]["url"], release.repository);
        assert_eq!(after["name"], parsed(&before)["name"], "what was there stays");
        let annotation = |name: &str| {
            let text = after["annotations"][format!("artifacthub.io/{name}")].as_str().expect(name);
            parsed(text)
        };
        let signed = annotation("signKey");
        assert_eq!(signed["fingerprint"], key);
        let released = "https://github.com/me/portolan/releases/download/v1.2.3/portolan-chart.asc";
        assert_eq!(signed["url"], released);
        let links = annotation("links");
        let mut addresses: Vec<Value> =
            links.as_array().expect("links").iter().map(|l| l["url"].clone()).collect();
        addresses.extend([after["icon"].clone(), annotation("screenshots")[0]["url"].clone()]);
        let mut files = 0;
        for address in addresses {
            let path = address
                .as_str()
                .and_then(|url| url.strip_prefix(release.repository))
                .expect("of this release");
            for place in ["/blob/v1.2.3/", "/raw/v1.2.3/"] {
                let Some(file) = path.strip_prefix(place) else { continue };
                assert!(workspace::root().join(file).is_file(), "{file} is not in the sources");
                files += 1;
            }
        }
        assert_eq!(files, 5);
        let unsigned = published(&before, release, None).expect("filled");
        assert!(!unsigned.contains("signKey"), "a key that signed nothing");
    }

    #[test]
    fn a_chart_is_signed_only_with_a_whole_key() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            signing: Signing,
        }
        let parse = |words: &[&str]| Line::try_parse_from([&["chart"], words].concat());
        assert!(parse(&[]).expect("unsigned").signing.arguments().is_empty());
        assert!(parse(&["--sign-with", "me"]).is_err(), "no keyring");
        let words = ["--sign-with", "me", "--keyring", "k.gpg", "--fingerprint"];
        assert!(parse(&[&words[..], &["0123"]].concat()).is_err(), "a short fingerprint");
        let whole = parse(&[&words[..], &[&"a".repeat(40)]].concat()).expect("whole").signing;
        assert_eq!(whole.arguments(), ["--sign", "--key", "me", "--keyring", "k.gpg"]);
    }

    #[test]
    fn a_chart_that_cannot_be_filled_in_is_refused() {
        let image = format!("ghcr.io/me/portolan@sha256:{HEX}").parse().expect("a reference");
        let error = values("image:\n  registry: other\n", &image).expect_err("no such line");
        assert!(error.to_string().contains("0 lines"), "{error}");
    }

    #[test]
    fn only_a_whole_reference_with_a_digest_is_taken() {
        for wrong in [
            "portolan",
            "ghcr.io/me/portolan:v1",
            "ghcr.io/me/portolan:v1@sha256:12",
            &format!("me/portolan@sha256:{HEX}"),
            &format!("ghcr.io/me/portolan:v1@sha256:{HEX}"),
            &format!("ghcr.io/me/por tolan@sha256:{HEX}"),
        ] {
            assert!(wrong.parse::<Pushed>().is_err(), "{wrong}");
        }
        let image: Pushed = format!("localhost:5000/portolan@sha256:{HEX}").parse().expect("a reference");
        assert_eq!((image.registry.as_str(), image.repository.as_str()), ("localhost:5000", "portolan"));
    }
}
