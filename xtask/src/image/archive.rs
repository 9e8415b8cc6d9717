//! Writes the image archive for containerd, Docker and skopeo: an OCI layout that also contains Docker's `manifest.json`. Its
//! bytes do not depend on time and place of the build.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_BASE_IMAGE_NAME, ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_DOCUMENTATION,
    ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_REVISION, ANNOTATION_SOURCE, ANNOTATION_TITLE,
    ANNOTATION_URL, ANNOTATION_VERSION, Arch, ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder,
    ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os,
    PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::binary;
use super::identity::Identity;
use crate::workspace;

const DESCRIPTION: &str =
    "Shows every undeclared listening port of a Kubernetes node's pods, and the traffic that reaches it";
/// Annotation of the full image name in an index, used by containerd.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Properties of the written archive.
pub struct Written {
    /// Bytes of the files in the image.
    pub unpacked: u64,
    /// Bytes of the compressed layer.
    pub packed: u64,
    /// Digest of the manifest, which identifies the image.
    pub digest: String,
}

/// A blob, identified by its hash.
struct Blob {
    digest: Sha256Digest,
    bytes: Vec<u8>,
}

impl Blob {
    fn of(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self { digest: sha256(&bytes).parse()?, bytes })
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest.digest())
    }

    fn descriptor(&self, media: MediaType) -> Descriptor {
        Descriptor::new(media, self.bytes.len() as u64, self.digest.clone())
    }
}

/// Writes the archive of an image with that binary.
///
/// # Errors
/// If something cannot be read or written.
pub fn write(archive: &Path, identity: &Identity, target: &str, built: &Path) -> Result<Written> {
    let layer = layer(built, identity.time)?;
    let unpacked_digest = sha256(&layer);
    let layer = Blob::of(packed(&layer)?)?;
    let arch = Arch::from(binary::architecture(target)?);
    let config = config(identity, arch.clone(), &unpacked_digest)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config.descriptor(MediaType::ImageConfig))
        .layers(vec![layer.descriptor(MediaType::ImageLayerGzip)])
        .annotations(labels(identity)?)
        .build()?;
    let manifest = Blob::of(canonical(&manifest)?)?;
    let files = [
        ("index.json".to_owned(), index(identity, arch, &manifest)?),
        ("manifest.json".to_owned(), docker_list(identity, &config, &layer)?),
        (
            "oci-layout".to_owned(),
            canonical(&OciLayoutBuilder::default().image_layout_version("1.0.0").build()?)?,
        ),
    ];
    let digest = format!("sha256:{}", manifest.digest.digest());
    let packed = layer.bytes.len() as u64;
    let mut blobs: Vec<_> =
        [config, layer, manifest].into_iter().map(|blob| (blob.path(), blob.bytes)).collect();
    blobs.sort();
    pack(archive, identity.time, blobs.into_iter().chain(files))
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(Written { unpacked: binary::size(built)?, packed, digest })
}

/// Returns the SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the image's only layer as a tar: the agent and its licence.
fn layer(built: &Path, time: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let licence = std::fs::read(workspace::root().join("LICENSE"))?;
    add(&mut tar, "LICENSE", 0o644, time, &licence)?;
    add(&mut tar, "portolan", 0o755, time, &std::fs::read(built)?)?;
    Ok(tar.into_inner()?)
}

/// Compresses a layer with gzip, without name and time.
///
/// # Errors
/// Never in practice: the output is in memory.
pub fn packed(layer: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(layer)?;
    Ok(gzip.finish()?)
}

fn config(identity: &Identity, arch: Arch, layer: &str) -> Result<Blob> {
    let process = ConfigBuilder::default()
        .user("0")
        .entrypoint(vec!["/portolan".to_owned()])
        .cmd(vec!["agent".to_owned()])
        .working_dir("/")
        .labels(labels(identity)?)
        .build()?;
    let layers = RootFsBuilder::default().typ("layers").diff_ids(vec![format!("sha256:{layer}")]).build()?;
    let history =
        HistoryBuilder::default().created(identity.timestamp()?).created_by("cargo xtask image").build()?;
    let config = ImageConfigurationBuilder::default()
        .created(identity.timestamp()?)
        .architecture(arch)
        .os(Os::Linux)
        .config(process)
        .rootfs(layers)
        .history(vec![history])
        .build()?;
    Blob::of(canonical(&config)?)
}

/// Returns the labels of the configuration, which are also the annotations of the manifest.
fn labels(identity: &Identity) -> Result<HashMap<String, String>> {
    let mut labels = HashMap::from([
        (ANNOTATION_TITLE, "portolan".to_owned()),
        (ANNOTATION_DESCRIPTION, DESCRIPTION.to_owned()),
        (ANNOTATION_LICENSES, "Apache-2.0".to_owned()),
        (ANNOTATION_VERSION, identity.version.to_owned()),
        (ANNOTATION_CREATED, identity.timestamp()?),
        (ANNOTATION_BASE_IMAGE_NAME, "scratch".to_owned()),
    ]);
    labels.extend(identity.revision.clone().map(|revision| (ANNOTATION_REVISION, revision)));
    if let Some(repository) = &identity.repository {
        let documentation = format!("{repository}/blob/v{}/README.md", identity.version);
        labels.extend([
            (ANNOTATION_SOURCE, repository.clone()),
            (ANNOTATION_URL, repository.clone()),
            (ANNOTATION_DOCUMENTATION, documentation),
        ]);
    }
    Ok(labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn index(identity: &Identity, arch: Arch, manifest: &Blob) -> Result<Vec<u8>> {
    let tag = identity.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let descriptor = DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .size(manifest.bytes.len() as u64)
        .digest(manifest.digest.clone())
        .platform(PlatformBuilder::default().architecture(arch).os(Os::Linux).build()?)
        .annotations(HashMap::from([
            (CONTAINERD_NAME.to_owned(), full_name(&identity.name)),
            (ANNOTATION_REF_NAME.to_owned(), tag.to_owned()),
        ]))
        .build()?;
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![descriptor])
        .build()?;
    canonical(&index)
}

/// Returns the full name of an image, with its registry, as containerd and Kubernetes write it.
pub fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Returns the list that `docker load` reads instead of the index.
fn docker_list(identity: &Identity, config: &Blob, layer: &Blob) -> Result<Vec<u8>> {
    canonical(&json!([{ "Config": config.path(), "RepoTags": [identity.name], "Layers": [layer.path()] }]))
}

/// Serializes to JSON with sorted keys: the maps of the format's types are unordered.
fn canonical(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

fn pack(archive: &Path, time: u64, files: impl Iterator<Item = (String, Vec<u8>)>) -> Result<()> {
    let mut tar = Builder::new(File::create(archive)?);
    for directory in ["blobs/", "blobs/sha256/"] {
        let mut header = header(0o755, time, 0);
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, directory, std::io::empty())?;
    }
    for (path, bytes) in files {
        add(&mut tar, &path, 0o644, time, &bytes)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

/// Adds a file to a tar.
///
/// # Errors
/// If the tar cannot be written.
pub fn add(tar: &mut Builder<impl Write>, path: &str, mode: u32, time: u64, bytes: &[u8]) -> Result<()> {
    tar.append_data(&mut header(mode, time, bytes.len() as u64), path, bytes)?;
    Ok(())
}

/// Returns a header: owner root, and the same time for all files.
fn header(mode: u32, time: u64, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "registry.example/portolan:1".to_owned(),
            version: "1",
            revision: Some("abc".to_owned()),
            repository: Some("https://github.com/me/portolan".to_owned()),
            time: 1_700_000_000,
        }
    }

    #[test]
    fn the_same_binary_gives_the_same_bytes_with_all_that_is_needed() {
        let directory = std::env::temp_dir().join(format!("portolan-image-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        let built = directory.join("portolan");
        std::fs::write(&built, b"\x7fELF").expect("write");
        let identity = identity();
        let make = |name: &str| {
            let archive = directory.join(name);
            write(&archive, &identity, "x86_64-unknown-linux-gnu", &built).expect("written");
            std::fs::read(archive).expect("read")
        };
        let (first, second) = (make("first.tar"), make("second.tar"));
        std::fs::remove_dir_all(&directory).expect("removed");
        assert!(first == second, "maps in random order, or a time");
        let mut tar = tar::Archive::new(first.as_slice());
        let entries = tar.entries().expect("a tar").map(|entry| {
            let entry = entry.expect("an entry");
            assert_eq!(entry.header().mtime().expect("a time"), 1_700_000_000);
            entry.path().expect("a path").to_string_lossy().into_owned()
        });
        let names: Vec<_> = entries.collect();
        for wanted in ["oci-layout", "index.json", "manifest.json"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
        }
        assert_eq!(names.iter().filter(|name| name.len() > 64).count(), 3, "config, layer, manifest");
    }

    #[test]
    fn the_labels_say_what_it_is_and_where_it_comes_from() {
        let labels = labels(&identity()).expect("labels");
        for (name, value) in [
            ("title", "portolan"),
            ("description", DESCRIPTION),
            ("licenses", "Apache-2.0"),
            ("version", "1"),
            ("revision", "abc"),
            ("created", "2023-11-14T22:13:20Z"),
            ("source", "https://github.com/me/portolan"),
            ("url", "https://github.com/me/portolan"),
            ("documentation", "https://github.com/me/portolan/blob/v1/README.md"),
        ] {
            let label = format!("org.opencontainers.image.{name}");
            assert_eq!(labels.get(&label).map(String::as_str), Some(value), "{label}");
        }
        let configuration = config(&identity(), Arch::Amd64, &"0".repeat(64)).expect("a configuration");
        let written: serde_json::Value = serde_json::from_slice(&configuration.bytes).expect("JSON");
        assert_eq!(written["config"]["Labels"], json!(labels), "docker inspect shows these");
        // Whoever builds without saying where the sources are published gets no wrong address.
        let unpublished = super::labels(&Identity { repository: None, ..identity() }).expect("labels");
        assert!(!unpublished.values().any(|value| value.contains("https:")), "{unpublished:?}");
    }

    #[test]
    fn names_are_written_in_full_as_kubernetes_does() {
        assert_eq!(full_name("portolan:1"), "docker.io/library/portolan:1");
        assert_eq!(full_name("me/portolan:1"), "docker.io/me/portolan:1");
        assert_eq!(full_name("localhost:5000/portolan:1"), "localhost:5000/portolan:1");
    }
}
