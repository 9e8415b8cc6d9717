//! Parsers of input from kubelet, the container runtime and users who create pods: cgroup paths, annotations, statuses,
//! manifests.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;

use portolan::source::kubernetes::objects::probe::OwnHosts;
use portolan::source::pods::cri::annotations::{declared, selected};
use portolan::source::pods::cri::details::Details;
use portolan::source::pods::cri::messages::PodSandboxStatusResponse;
use portolan::source::pods::file;
use portolan_engine::rules::cgroup as paths;
use prost::Message;

/// Parses a cgroup path. The input is the path and, after a line break, the id of a container.
pub fn cgroup(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, id) = text.split_once('\n').unwrap_or((&text, &text));
    let seen = Cell::new(0_usize);
    let _ = paths::pod(path, |uid| {
        seen.set(seen.get() + 1);
        uid.0.is_empty().then_some(())
    });
    let seen = seen.get();
    assert!(seen <= path.len(), "{seen} names in {} bytes", path.len());
    if let Some(at) = paths::position(path, id) {
        assert!(path.get(at..).is_some(), "{at} is within a character of {path:?}");
    }
}

/// Parses the ports in annotations.
pub fn annotations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let keys =
        ["io.kubernetes.container.ports", "io.kubernetes.container.preStopHandler", "prometheus.io/port"];
    let all: HashMap<String, String> = keys.map(|key| (key.to_owned(), text.clone())).into();
    let read = declared(&all, &OwnHosts::Pod(Vec::new()));
    assert!(read.ports.len() <= 4096, "{} ports", read.ports.len());
    assert!(selected(&all).values().all(|value| value.len() <= 1024));
}

/// Decodes the status of a sandbox, as the runtime encodes it.
pub fn sandbox(bytes: &[u8]) {
    if let Ok(answer) = PodSandboxStatusResponse::decode(bytes) {
        let (details, _) = Details::of(&answer);
        let _ = details.opaque_runtime("");
    }
}

/// Parses a manifest.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for fault in file::parse(Path::new("fuzz.yaml"), &text).faults {
        assert!(!fault.to_string().contains('\n'), "an error is one line: {fault}");
    }
}
