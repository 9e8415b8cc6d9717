//! Tests of the packages that need no root: names, templates, and that unit, documents and workflow agree.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn read(file: &str) -> String {
    std::fs::read_to_string(workspace::root().join(file)).expect(file)
}

/// Returns the job of the release that publishes.
fn publish() -> String {
    let release = read(".github/workflows/release.yaml");
    release.split("\n  publish:").nth(1).expect("the job that publishes").to_owned()
}

fn release() -> Release<'static> {
    Release {
        version: spelled("1.2.3"),
        architecture: "amd64",
        machine: "x86_64",
        maintainer: NOBODY,
        repository: None,
        time: 0,
    }
}

#[test]
fn a_pre_release_is_older_than_its_release() {
    assert_eq!(spelled("1.0.0-rc.1"), "1.0.0~rc.1");
    assert_eq!(spelled("1.0.0"), "1.0.0");
}

#[test]
fn no_file_of_a_pre_release_has_a_name_that_github_changes() {
    let release = Release { version: spelled("1.0.0-rc.1"), ..release() };
    let packages = Packages::named(Path::new(""), &stem("1.0.0-rc.1", "amd64"), &release);
    assert_eq!(packages.deb, Path::new("portolan_1.0.0-rc.1_amd64.deb"));
    assert_eq!(packages.rpm, Path::new("portolan-1.0.0-rc.1-1.x86_64.rpm"));
    assert_eq!(packages.tarball, Path::new("portolan-1.0.0-rc.1-linux-amd64.tar.gz"));
    assert!(publish().contains("--prerelease"));
}

#[test]
fn a_place_that_nobody_fills_is_an_error() {
    assert_eq!(filled("a @B@ c", &[("@B@", "b")]).expect("filled"), "a b c");
    assert!(filled("a @B@ \"@C@/.\"", &[("@B@", "b")]).is_err());
    assert!(filled("a", &[("@B@", "b")]).is_err());
}

#[test]
fn the_hashes_are_lines_of_sha256sum() {
    let lines = sums(&[&workspace::root().join("LICENSE")]).expect("read");
    let (hash, name) = lines.trim_end().split_once("  ").expect("two spaces");
    assert_eq!((hash.len(), name), (64, "LICENSE"));
}

#[test]
fn the_unit_gives_the_agent_what_the_chart_gives_it() {
    let values: Value = serde_saphyr::from_str(&read("charts/portolan/values.yaml")).expect("YAML");
    let added = values["securityContext"]["capabilities"]["add"].as_array().expect("capabilities");
    let of_chart: BTreeSet<String> =
        added.iter().map(|name| format!("CAP_{}", name.as_str().expect("a name"))).collect();
    let line = contents::UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let of_unit: BTreeSet<String> = line.expect("a bounding set").split(' ').map(str::to_owned).collect();
    assert_eq!(of_unit, of_chart);
}

#[test]
fn the_unit_keeps_its_state_where_the_configuration_says() {
    let configuration: Value = serde_saphyr::from_str(contents::CONFIGURATION).expect("YAML");
    let state = configuration["stateDir"].as_str().expect("a directory");
    let named = contents::UNIT.lines().find_map(|line| line.strip_prefix("StateDirectory="));
    assert_eq!(Some(state.strip_prefix("/var/lib/").expect("in /var/lib")), named);
    // Nothing of a machine that is no node is reachable from other machines by default.
    for address in ["api", "telemetry"] {
        assert!(configuration[address].as_str().expect("an address").starts_with("127.0.0.1:"), "{address}");
    }
}

#[test]
fn the_page_on_verification_names_what_the_release_publishes() {
    let page = read("docs/verify.md");
    let packages = Packages::named(Path::new(""), &stem("1.2.3", "amd64"), &release());
    for file in [&packages.tarball, &packages.deb, &packages.rpm] {
        let name = file.display().to_string();
        let written = [name.replace("1.2.3", "$VERSION"), name.replace("1.2.3", "${VERSION}")];
        assert!(written.iter().any(|name| page.contains(name)), "{name} in docs/verify.md");
    }
    assert!(page.contains(r"/portolan/\.github/workflows/release\.yaml@refs/tags/v"), "who signs");
    let publish = publish();
    for part in [
        "cosign sign --yes --recursive",
        "cosign sign --yes \"$charts/portolan@$digest\"",
        "cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS",
        "subject-checksums: release/SHA256SUMS",
        "built/package-*/portolan*",
        "gpg --armor --export > release/portolan-chart.asc",
        "id-token: write",
    ] {
        assert!(publish.contains(part), "{part}");
    }
    for file in
        ["SHA256SUMS.sigstore.json", "portolan-chart.asc", "CHART_SIGNING_KEY", "CHART_SIGNING_PASSPHRASE"]
    {
        assert!(page.contains(file) && publish.contains(file), "{file}");
    }
    // Image, chart, files; bills of materials of the image and of the packages, for each architecture.
    assert_eq!(publish.matches("uses: actions/attest-build-provenance@").count(), 3);
    assert_eq!(publish.matches("uses: actions/attest-sbom@").count(), 4);
}

#[test]
fn a_release_publishes_the_packages_that_were_tested_and_uses_pinned_actions() {
    let tests = read(".github/workflows/ci.yaml");
    assert!(
        tests.contains("cargo xtask setup --packages") && tests.contains("cargo xtask package "),
        "{tests}"
    );
    for workflow in [tests, read(".github/workflows/release.yaml")] {
        for used in
            workflow.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
        {
            let commit = used.split(['@', ' ']).nth(1).unwrap_or_default();
            let is_pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(used.starts_with("./") || is_pinned, "{used}");
        }
    }
}
