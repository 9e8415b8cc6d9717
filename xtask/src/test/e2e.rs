//! The e2e tier: its requirements, and how to run it.

use std::path::Path;

use anyhow::Result;

use super::tally::Tally;
use super::tests::tests;
use super::tier::Tier;
use crate::setup;

/// Returns all missing requirements with what to do about them. `None`: the tier can run.
pub fn obstacle() -> Option<String> {
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    needs(&value("KUBECONFIG"), &value("PORTOLAN_IMAGE"), &setup::tools::missing_for(Tier::E2e))
}

fn needs(kubeconfig: &str, image: &str, tools: &[&str]) -> Option<String> {
    let mut needs = Vec::new();
    let unreadable =
        std::env::split_paths(kubeconfig).find(|file| !file.as_os_str().is_empty() && !file.is_file());
    match unreadable {
        Some(file) => {
            needs.push(format!("needs the file that KUBECONFIG names: there is no {}", file.display()))
        }
        None if kubeconfig.is_empty() => needs.push(
            "needs KUBECONFIG: a cluster to install into, whose namespaces it may make and delete".to_owned(),
        ),
        None => {}
    }
    if image.is_empty() {
        needs.push(
            "needs PORTOLAN_IMAGE, a reference that every node can pull or has: `cargo xtask image`, push or load the \
             archive, then `export PORTOLAN_IMAGE=\"$(cat target/image/reference)\"`"
                .to_owned(),
        );
    } else if Path::new(image).is_file() {
        needs.push(format!(
            "needs a reference in PORTOLAN_IMAGE, and {image} is a file: load it into the nodes, and give what \
             target/image/reference has"
        ));
    }
    if !tools.is_empty() {
        needs.push(format!("needs {}: run `cargo xtask setup --tests`", tools.join(", ")));
    }
    (!needs.is_empty()).then(|| needs.join("; "))
}

/// Runs the tier to its end. Failed cases are in the tally.
///
/// # Errors
/// If the tier could not run at all.
pub fn run() -> Result<Tally> {
    Tally::of(tests().args(["--test", "e2e", "--test", "binary"]))
}

#[cfg(test)]
mod obstacle_tests {
    use super::needs;

    #[test]
    fn everything_that_is_missing_is_said_at_once_with_what_to_do() {
        let all = needs("", "", &["helm", "kubectl"]).expect("an obstacle");
        for part in [
            "KUBECONFIG",
            "PORTOLAN_IMAGE",
            "target/image/reference",
            "needs helm, kubectl: run `cargo xtask setup --tests`",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }

    #[test]
    fn only_what_is_missing_is_said() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(needs(here, "registry.example/portolan:1", &[]), None);
        let kubeconfig = needs("/nowhere/config", "portolan:1", &[]).expect("an obstacle");
        assert_eq!(kubeconfig, "needs the file that KUBECONFIG names: there is no /nowhere/config");
        let image = needs(here, here, &[]).expect("an obstacle");
        assert!(image.starts_with("needs a reference in PORTOLAN_IMAGE, and "), "{image}");
    }
}
