//! Tests of `images`: listeners in, table, list and bill out.

use portolan_report::wire::Listener;
use serde_json::{Value, json};

use super::{bill, inventory, output};

/// Builds a listener of a container.
fn listener(pod: &str, image: &str, port: u16, declaration: &str, connections: u64) -> Listener {
    let container = (!image.is_empty()).then(|| json!({"name": "app", "id": "c", "image": image}));
    let peer = json!({"address": "9.9.9.9", "origin": "external", "ref": null, "connections": connections,
        "packets": 0, "bytes": 0, "firstSeen": "2026-03-04T12:00:00Z", "lastSeen": "2026-03-04T12:00:00Z"});
    let peers: Vec<Value> = (connections > 0).then_some(peer).into_iter().collect();
    let object = json!({
        "schema": "portolan/v1", "node": "a", "time": "2026-03-04T12:00:00Z", "id": format!("{pod}-{port}"),
        "protocol": "TCP", "port": port, "addresses": ["0.0.0.0", "::"], "v6Only": false, "sockets": 1,
        "netns": {"inode": 1, "name": null}, "process": {"pid": 1, "name": "nginx", "executable": "/nginx"},
        "openedAt": null, "state": "open", "container": container,
        "pod": {"namespace": "shop", "name": pod, "uid": pod, "hostNetwork": false,
                "workload": {"kind": "Deployment", "name": "web"}},
        "declaration": {"status": declaration, "declaredBy": [], "explainedBy": []},
        "traffic": {"since": "2026-03-04T11:00:00Z", "attempts": 0, "connections": connections, "packets": 0,
                    "bytes": 0, "lastSeen": null, "peers": peers, "truncated": false},
    });
    serde_json::from_value(object).expect("a listener")
}

/// Returns a listener of a container whose image was pulled with this digest.
fn pulled(pod: &str, image: &str, port: u16, digest: &str) -> Listener {
    let mut listener = listener(pod, image, port, "declared", 1);
    listener.container.as_mut().expect("a container").image_digest = Some(digest.to_owned());
    listener
}

fn listeners() -> Vec<Listener> {
    vec![
        listener("web-1", "nginx:1", 80, "declared", 5),
        listener("web-2", "nginx:1", 80, "undeclared", 2),
        listener("web-1", "nginx:1", 9090, "undeclared", 0),
        listener("api-1", "api@sha256:0f", 80, "declared", 0),
        listener("x", "", 80, "unknown", 1),
    ]
}

#[test]
fn the_pods_of_an_image_are_one_row_for_each_port() {
    let listeners = listeners();
    let images = inventory::of(&listeners);
    let rows: Vec<Vec<String>> = output::table(&images)
        .lines()
        .map(|line| {
            line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
        })
        .collect();
    assert_eq!(rows[1], ["api@sha256:0f", "sha256:0f", "80/TCP", "nginx", "yes", "0", "1", "1"]);
    assert_eq!(rows[2], ["nginx:1", "-", "80/TCP", "nginx", "1 of 2", "7", "2", "1"]);
    assert_eq!(rows[3], ["nginx:1", "-", "9090/TCP", "nginx", "no", "0", "1", "1"]);
    assert_eq!((rows.len(), inventory::without_image(&listeners)), (4, 1));
}

#[test]
fn the_list_has_the_digest_of_a_pinned_reference() {
    let object = output::object(&inventory::of(&listeners()));
    assert_eq!(object.pointer("/items/0/digest"), Some(&json!("sha256:0f")));
    assert_eq!(object.pointer("/items/1/digest"), Some(&Value::Null));
    assert_eq!(object.pointer("/items/1/ports/0/declared"), Some(&json!(1)));
    assert_eq!(object.pointer("/items/1/ports/0/listeners"), Some(&json!(2)));
}

#[test]
fn a_bill_has_a_service_for_each_port_and_marks_calls_from_outside() {
    let bill = bill::services(&inventory::of(&listeners()), false);
    assert_eq!(bill.pointer("/specVersion"), Some(&json!("1.6")));
    assert_eq!(bill.pointer("/components/1/name"), Some(&json!("nginx:1")));
    let services = bill.pointer("/services").and_then(Value::as_array).expect("services");
    assert_eq!(services.len(), 3);
    assert_eq!(services[1]["endpoints"], json!(["tcp://0.0.0.0:80", "tcp://[0:0:0:0:0:0:0:0]:80"]));
    assert_eq!(services[1]["x-trust-boundary"], json!(true));
    assert_eq!(services[2].get("x-trust-boundary"), None);
    let references: std::collections::BTreeSet<_> =
        services.iter().map(|s| s["bom-ref"].to_string()).collect();
    assert_eq!(references.len(), 3);
    assert_eq!(bill.get("compositions"), None);
}

#[test]
fn a_bill_that_lacks_nodes_says_that_its_images_are_incomplete() {
    let bill = bill::services(&inventory::of(&listeners()), true);
    let composition = json!({"aggregate": "incomplete", "assemblies": ["image-0", "image-1"]});
    assert_eq!(bill["compositions"], json!([composition]));
}

#[test]
fn calls_of_udp_are_packets() {
    let mut dns = listener("dns-1", "dns:1", 53, "declared", 0);
    dns.protocol = "UDP".to_owned();
    dns.traffic.packets = 12;
    let text = output::table(&inventory::of(&[dns]));
    assert!(text.contains("12 pkts"), "{text}");
}

#[test]
fn one_tag_with_two_digests_is_two_images() {
    let (old, new) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let listeners = [
        pulled("web-1", "nginx:1", 80, &new),
        pulled("web-2", "nginx:1", 80, &old),
        pulled("web-3", "nginx:1", 80, &new),
        listener("web-4", "nginx:1", 80, "declared", 0),
    ];
    let images = inventory::of(&listeners);
    let object = output::object(&images);
    let found: Vec<(&Value, usize)> = object["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (&item["digest"], item["ports"][0]["pods"].as_array().expect("pods").len()))
        .collect();
    assert_eq!(found, [(&Value::Null, 1), (&json!(old), 1), (&json!(new), 2)]);
    let table = output::table(&images);
    assert!(table.contains("sha256:aaaaaaaaaaaa  ") && table.contains("sha256:bbbbbbbbbbbb  "), "{table}");
    let bill = bill::services(&images, false);
    let property = json!({"name": "portolan:imageDigest", "value": new});
    assert_eq!(bill["components"][2]["properties"], json!([property]));
    assert_eq!(bill["components"][0].get("properties"), None);
    assert!(bill["services"][2]["properties"].as_array().expect("properties").contains(&property));
}

#[test]
fn the_digest_that_was_pulled_counts_more_than_that_in_the_reference() {
    let images = inventory::of(&[pulled("a", "api@sha256:0f", 80, "sha256:1e")]);
    let item = &output::object(&images)["items"][0];
    assert_eq!((&item["image"], &item["digest"]), (&json!("api@sha256:0f"), &json!("sha256:1e")));
}
