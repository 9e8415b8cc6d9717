//! The identity of an image: name, version, commit, and the time of all its files.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;

use crate::{step, workspace};

/// Where the sources of what is built are published.
#[derive(Args, Clone, Debug, Default)]
pub struct Source {
    /// Address of the repository, such as https://github.com/me/portolan, for the labels of images and the fields of packages
    #[arg(long, value_name = "URL", env = "PORTOLAN_REPOSITORY")]
    pub repository: Option<String>,
}

/// Identity of an image that is built from the current tree.
pub struct Identity {
    /// Name and tag.
    pub name: String,
    pub version: &'static str,
    /// The commit, with the suffix `-dirty` if the tree has uncommitted changes.
    pub revision: Option<String>,
    /// Address of the repository, without a slash at its end.
    pub repository: Option<String>,
    /// Seconds since 1970.
    pub time: u64,
}

impl Identity {
    /// Returns the identity of the tree. The time is SOURCE_DATE_EPOCH if set, else the commit's, so that a second build has the
    /// same time.
    ///
    /// # Errors
    /// If SOURCE_DATE_EPOCH is not a number, or the repository is no address.
    pub fn of_the_tree(tag: Option<&str>, source: &Source) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let changed =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
        let commit = git(&["rev-parse", "HEAD"]);
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("SOURCE_DATE_EPOCH={text} is not a number of seconds"))?,
            Err(_) => git(&["log", "-1", "--format=%ct"]).and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        Ok(Self {
            name: tag.map_or_else(|| format!("portolan:{version}"), str::to_owned),
            version,
            revision: commit.map(|commit| if changed { format!("{commit}-dirty") } else { commit }),
            repository: source.repository.as_deref().map(address).transpose()?,
            time,
        })
    }

    /// Returns the time in the format of RFC 3339.
    ///
    /// # Errors
    /// If the time is out of range.
    pub fn timestamp(&self) -> Result<String> {
        Ok(Timestamp::from_second(i64::try_from(self.time)?)?.to_string())
    }
}

/// Checks the address of a repository, and returns it without a slash at its end.
///
/// # Errors
/// If it is no https address with a path.
pub fn address(text: &str) -> Result<String> {
    let path = text.trim_end_matches('/').strip_prefix("https://").unwrap_or_default();
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:~".contains(&byte));
    ensure!(
        is_plain && path.split('/').filter(|part| !part.is_empty()).count() > 1,
        "`{text}` is no address of a repository, as in https://github.com/me/portolan"
    );
    Ok(format!("https://{path}"))
}

fn git(words: &[&str]) -> Option<String> {
    step::output(Command::new("git").args(words).current_dir(workspace::root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_a_repository() {
        let taken = address("https://github.com/me/portolan/").expect("an address");
        assert_eq!(taken, "https://github.com/me/portolan");
        for wrong in ["me/portolan", "https://github.com", "git@github.com:me/portolan", "https://a/b c"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
