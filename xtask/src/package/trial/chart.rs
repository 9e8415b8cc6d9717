//! Case of the released chart: `cargo xtask chart` signs it with a key made for the test, and helm verifies the signature.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::system::{Ended, ended};
use super::{Case, World};
use crate::setup;

pub const CASES: &[Case] = &[("chart/helm verifies a signed chart and refuses a changed one", signed)];

const OWNER: &str = "Portolan Test <test@portolan.invalid>";
const IMAGE: &str =
    "ghcr.io/me/portolan@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A directory with a new key. Its agent ends, and it is removed, when dropped.
struct Keys {
    home: PathBuf,
    fingerprint: String,
}

impl Keys {
    fn made(home: PathBuf) -> Result<Self> {
        if home.exists() {
            std::fs::remove_dir_all(&home)?;
        }
        std::fs::create_dir(&home)?;
        let mut keys = Self { home, fingerprint: String::new() };
        // gpg refuses a directory that others can read.
        std::fs::set_permissions(&keys.home, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        std::fs::write(keys.passphrase(), "secret")?;
        keys.gpg(&["--quick-generate-key", OWNER, "rsa3072", "sign", "never"])?;
        keys.gpg(&["--output", &text(&keys.file("secret.gpg")), "--export-secret-keys"])?;
        keys.gpg(&["--output", &text(&keys.file("public.gpg")), "--export"])?;
        let list = keys.gpg(&["--list-keys", "--with-colons"])?.stdout;
        let line = list.lines().find_map(|line| line.strip_prefix("fpr:"));
        keys.fingerprint = line.context("gpg made no key")?.trim_matches(':').to_owned();
        Ok(keys)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn passphrase(&self) -> PathBuf {
        self.file("passphrase")
    }

    fn gpg(&self, words: &[&str]) -> Result<Ended> {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(&self.home).args(["--batch", "--pinentry-mode", "loopback"]);
        gpg.arg("--passphrase-file").arg(self.passphrase()).args(words);
        let ended = ended(&mut gpg)?;
        ensure!(ended.code == 0, "gpg {}: {}", words.join(" "), ended.stderr);
        Ok(ended)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let stopped = ended(Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "all"]));
        if let Err(error) = stopped.and_then(|_| Ok(std::fs::remove_dir_all(&self.home)?)) {
            eprintln!("{} cannot be removed: {error:#}", self.home.display());
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn helm(words: &[&str]) -> Result<Ended> {
    ended(Command::new(setup::tools::program("helm")).args(words))
}

fn signed(world: &World) -> Result<()> {
    let keys = Keys::made(world.directory.join("gnupg"))?;
    let output = text(&keys.file("chart"));
    let mut xtask = Command::new(std::env::current_exe()?);
    xtask.args(["chart", "--image", IMAGE, "--output", &output]);
    xtask.args(["--repository", "https://github.com/me/portolan"]);
    xtask.args(["--sign-with", "Portolan Test", "--fingerprint", &keys.fingerprint]);
    xtask.args(["--keyring", &text(&keys.file("secret.gpg"))]);
    xtask.args(["--passphrase-file", &text(&keys.passphrase())]);
    let made = ended(&mut xtask)?;
    ensure!(made.code == 0, "{made:?}");
    let archive = keys.file("chart").join(concat!("portolan-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let verify = ["verify", &text(&archive), "--keyring", &text(&keys.file("public.gpg"))];
    let verified = helm(&verify)?;
    ensure!(verified.code == 0 && verified.stdout.contains(OWNER), "{verified:?}");
    let shown = helm(&["show", "chart", &text(&archive)])?;
    ensure!(shown.stdout.contains(&format!("fingerprint: {}", keys.fingerprint)), "{shown:?}");
    let linted = helm(&["lint", "--strict", &text(&archive)])?;
    ensure!(linted.code == 0 && !linted.stdout.contains("icon is recommended"), "{linted:?}");
    let mut bytes = std::fs::read(&archive)?;
    bytes.push(0);
    std::fs::write(&archive, bytes)?;
    let refused = helm(&verify)?;
    ensure!(refused.code != 0, "a changed chart passes: {refused:?}");
    Ok(())
}
