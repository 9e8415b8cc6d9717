//! The images as a table, and as a list of the API.

use portolan_report::cells;
use portolan_report::table::lay_out;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};

use super::inventory::{Images, Port};

/// Formats a table with one row for each port of an image.
pub(crate) fn table(images: &Images) -> String {
    let header = ["IMAGE", "DIGEST", "PORT", "PROCESS", "DECLARED", "CALLS", "PODS", "WORKLOADS"];
    let ports = images.iter().flat_map(|(image, ports)| ports.iter().map(move |port| (image, port)));
    let rows = ports.map(|(image, ((number, protocol), port))| {
        let mut names: Vec<String> = port.processes.iter().map(|(name, _)| name.clone()).collect();
        names.dedup();
        vec![
            image.reference.clone(),
            image.digest.as_deref().map_or_else(|| cells::NONE.to_owned(), short),
            format!("{number}/{protocol}"),
            cells::list(&names),
            declared(port),
            calls(protocol, port),
            port.pods.len().to_string(),
            port.workloads.len().to_string(),
        ]
    });
    lay_out(&header, rows)
}

/// Shortens a digest to its algorithm and 12 digits, as runtimes show it.
fn short(digest: &str) -> String {
    let (algorithm, encoded) = digest.split_once(':').unwrap_or(("", digest));
    format!("{algorithm}:{}", encoded.chars().take(12).collect::<String>())
}

/// Formats the number of calls. UDP has no connections that are accepted, so there it is the number of packets.
fn calls(protocol: &str, port: &Port) -> String {
    match protocol {
        "UDP" => format!("{} pkts", port.packets),
        _ => port.connections.to_string(),
    }
}

/// Says whether the containers declare the port: all, none, or how many.
pub(super) fn declared(port: &Port) -> String {
    match port.declared {
        0 => "no".to_owned(),
        all if all == port.listeners => "yes".to_owned(),
        some => format!("{some} of {}", port.listeners),
    }
}

/// Returns the list as an object of the API, one item for each image.
pub(crate) fn object(images: &Images) -> Value {
    let items: Vec<Value> = images
        .iter()
        .map(|(image, ports)| {
            let ports: Vec<Value> = ports
                .iter()
                .map(|((number, protocol), port)| {
                    let processes: Vec<Value> = port
                        .processes
                        .iter()
                        .map(|(name, executable)| json!({ "name": name, "executable": executable }))
                        .collect();
                    json!({
                        "port": number, "protocol": protocol, "processes": processes,
                        "addresses": port.addresses, "listeners": port.listeners, "declared": port.declared,
                        "connections": port.connections, "packets": port.packets, "bytes": port.bytes,
                        "external": port.external, "containers": port.containers, "pods": port.pods,
                        "workloads": port.workloads,
                    })
                })
                .collect();
            json!({ "image": image.reference, "digest": image.digest, "ports": ports })
        })
        .collect();
    json!({ "schema": SCHEMA, "items": items })
}
