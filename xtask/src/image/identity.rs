//! The identity of an image: name, version, commit, and the time of all its files.

use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::{step, workspace};

/// Identity of an image that is built from the current tree.
pub struct Identity {
    /// Name and tag.
    pub name: String,
    pub version: &'static str,
    /// The commit, with the suffix `-dirty` if the tree has uncommitted changes.
    pub revision: Option<String>,
    /// Seconds since 1970.
    pub time: u64,
}

impl Identity {
    /// Returns the identity of the tree. The time is SOURCE_DATE_EPOCH if set, else the commit's, so that a second build has the
    /// same time.
    ///
    /// # Errors
    /// If SOURCE_DATE_EPOCH is not a number.
    pub fn of_the_tree(tag: Option<&str>) -> Result<Self> {
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

fn git(words: &[&str]) -> Option<String> {
    step::output(Command::new("git").args(words).current_dir(workspace::root()))
}
