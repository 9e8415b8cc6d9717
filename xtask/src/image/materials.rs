//! The image's bill of materials in CycloneDX format: every crate that is linked into the agent and its kernel programs, Rust's
//! standard library and the C library. Generated from what cargo resolved, so it cannot be out of date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use cyclonedx_bom::external_models::date_time::DateTime;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata as BomMetadata;
use cyclonedx_bom::prelude::{Bom, NormalizedString, SpdxExpression, UrnUuid, Validate};

use super::archive;
use super::identity::Identity;
use crate::{step, workspace};

/// Compilation target of the kernel programs.
const KERNEL_TARGET: &str = "bpfel-unknown-none";
const AGENT: &str = "portolan";
const PROGRAMS: &str = "portolan-ebpf";

/// Linked components by their reference: the component, and the references of what it uses.
type Parts = BTreeMap<String, (Component, BTreeSet<String>)>;

/// Writes the bill of materials. Returns the number of its components.
///
/// # Errors
/// If cargo cannot resolve the dependencies, or the result is not valid.
pub fn write(path: &Path, identity: &Identity, target: &str) -> Result<usize> {
    let mut parts = Parts::new();
    let root = collect(&mut parts, AGENT, target)?;
    collect(&mut parts, PROGRAMS, KERNEL_TARGET)?;
    let (agent, uses) = parts.remove(&root).context("cargo does not know the agent")?;
    let mut uses = uses;
    for library in libraries(target) {
        uses.extend(library.bom_ref.clone());
        parts.insert(library.bom_ref.clone().unwrap_or_default(), (library, BTreeSet::new()));
    }
    let mut edges = vec![dependency(&root, &uses)];
    edges.extend(parts.iter().map(|(reference, (_, uses))| dependency(reference, uses)));
    let components: Vec<Component> = parts.into_values().map(|(component, _)| component).collect();
    let count = components.len();
    let mut bom = Bom {
        serial_number: None,
        metadata: Some(BomMetadata {
            timestamp: Some(DateTime::try_from(identity.timestamp()?)?),
            component: Some(agent),
            ..BomMetadata::default()
        }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(edges)),
        ..Bom::default()
    };
    bom.serial_number = Some(serial_number(&bom)?);
    let checked = bom.validate();
    if !checked.passed() {
        return Err(anyhow!("the bill of materials is not valid: {checked:?}"));
    }
    std::fs::write(path, json(bom)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(count)
}

/// Returns a UUID made of the content (version 8 of RFC 9562), so that a second build writes the same bytes.
fn serial_number(bom: &Bom) -> Result<UrnUuid> {
    let hash = archive::sha256(&json(bom.clone())?);
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    let text = format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    );
    UrnUuid::new(text).map_err(|error| anyhow!("no serial number: {error:?}"))
}

fn json(bom: Bom) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text)?;
    Ok(text)
}

fn dependency(reference: &str, uses: &BTreeSet<String>) -> Dependency {
    Dependency { dependency_ref: reference.to_owned(), dependencies: uses.iter().cloned().collect() }
}

/// Adds the package `name` and everything linked into it on that target. Returns its reference.
fn collect(parts: &mut Parts, name: &str, target: &str) -> Result<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace::root().join("Cargo.toml"))
        // The features with which the binary is built.
        .features(CargoOpt::NoDefaultFeatures)
        .other_options(["--locked", "--filter-platform", target].map(str::to_owned))
        .exec()?;
    let packages: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let root = metadata.packages.iter().find(|package| package.name.as_str() == name);
    let root = root.with_context(|| format!("cargo knows no {name}"))?;
    let linked = linked(&metadata);
    let mut waiting = vec![&root.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let Some(package) = packages.get(id).filter(|_| seen.insert(id)) else { continue };
        let uses = linked.get(id).into_iter().flatten().copied();
        let entry = parts.entry(reference(package)).or_insert_with(|| (component(package), BTreeSet::new()));
        entry.1.extend(uses.clone().filter_map(|used| packages.get(used)).map(|package| reference(package)));
        waiting.extend(uses);
    }
    Ok(reference(root))
}

/// Returns the packages that each package links, without those for tests, build scripts and macros.
fn linked(metadata: &Metadata) -> BTreeMap<&PackageId, Vec<&PackageId>> {
    let macros: BTreeSet<&PackageId> = metadata
        .packages
        .iter()
        .filter(|package| package.targets.iter().any(|target| target.is_proc_macro()))
        .map(|package| &package.id)
        .collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    nodes
        .map(|node| {
            let used = node.deps.iter().filter(|used| {
                used.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
                    && !macros.contains(&used.pkg)
            });
            (&node.id, used.map(|used| &used.pkg).collect())
        })
        .collect()
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package) -> Component {
    let kind =
        if package.name.as_str() == AGENT { Classification::Application } else { Classification::Library };
    let mut component = made(kind, package.name.as_str(), &package.version.to_string(), &reference(package));
    component.description = package.description.as_deref().map(NormalizedString::new);
    component.licenses = package.license.clone().and_then(|text| {
        let expression = SpdxExpression::parse_lax(text).ok()?;
        Some(Licenses(vec![LicenseChoice::Expression(expression)]))
    });
    component
}

fn made(kind: Classification, name: &str, version: &str, reference: &str) -> Component {
    let mut component = Component::new(kind, name, version, Some(reference.to_owned()));
    component.purl = Purl::from_str(reference).ok();
    component
}

/// Returns the libraries that no manifest names.
fn libraries(target: &str) -> Vec<Component> {
    let mut libraries = Vec::new();
    let rustc = step::output(Command::new("rustc").arg("--version")).unwrap_or_default();
    if let Some(version) = rustc.split_whitespace().nth(1) {
        libraries.push(made(
            Classification::Library,
            "std",
            version,
            &format!("pkg:generic/rust-std@{version}"),
        ));
    }
    if target == super::binary::host()
        && let Some(version) =
            step::output(Command::new("dpkg-query").args(["-W", "-f", "${source:Version}", "libc6-dev"]))
    {
        libraries.push(made(
            Classification::Library,
            "glibc",
            &version,
            &format!("pkg:deb/debian/glibc@{}", version.replace('+', "%2B")),
        ));
    }
    libraries
}

#[cfg(test)]
mod tests {
    use cyclonedx_bom::prelude::Bom;

    use super::{AGENT, Parts, collect, serial_number};

    #[test]
    fn the_serial_number_follows_the_content() {
        let bom = |version| Bom { version, serial_number: None, ..Bom::default() };
        let number = |version| serial_number(&bom(version)).expect("a number").to_string();
        assert_eq!(number(1), number(1));
        assert_ne!(number(1), number(2));
    }

    #[test]
    fn the_agent_of_the_image_links_nothing_of_the_plugin() {
        let mut parts = Parts::new();
        collect(&mut parts, AGENT, &super::super::binary::host()).expect("cargo resolves");
        let has = |name: &str| parts.keys().any(|part| part.starts_with(&format!("pkg:cargo/{name}@")));
        assert!(has("kube-client") && !has("tokio-tungstenite"), "{:?}", parts.keys());
    }
}
