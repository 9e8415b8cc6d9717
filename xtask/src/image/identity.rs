//! What the image says of itself: name, version, commit, and the one time that everything in it carries.

use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::{step, workspace};

/// Of the tree as it is.
pub struct Identity {
    /// Name and tag.
    pub name: String,
    pub version: &'static str,
    /// The commit, with a word if the tree has changes beside it.
    pub revision: Option<String>,
    /// Seconds since 1970.
    pub time: u64,
}

impl Identity {
    /// The time is SOURCE_DATE_EPOCH where that is set, else that of the commit, so that it does not change by building again.
    ///
    /// # Errors
    /// Where SOURCE_DATE_EPOCH is no number.
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

    /// The time as RFC 3339 has it.
    ///
    /// # Errors
    /// Where it is beyond all calendars.
    pub fn timestamp(&self) -> Result<String> {
        Ok(Timestamp::from_second(i64::try_from(self.time)?)?.to_string())
    }
}

fn git(words: &[&str]) -> Option<String> {
    step::output(Command::new("git").args(words).current_dir(workspace::root()))
}
