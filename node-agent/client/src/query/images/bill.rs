//! The ports of images as `services` of a CycloneDX bill of materials.

use std::net::Ipv6Addr;

use portolan_report::cells::endpoint;
use serde_json::{Value, json};

use super::inventory::{Image, Images, Port};
use super::output::declared;

/// Version of the specification.
const SPEC: &str = "1.6";

/// Returns a bill of materials: each image is a component, each of its ports a service. The same listeners make the same bill,
/// so it has no serial number of its own. Where `is_partial`, it says that images may have more.
pub(crate) fn services(images: &Images, is_partial: bool) -> Value {
    let mut components = Vec::new();
    let mut services = Vec::new();
    let mut time = "";
    for (number, (image, ports)) in images.iter().enumerate() {
        let component = format!("image-{number}");
        components.push(container(&component, image));
        for ((port_number, protocol), port) in ports {
            time = time.max(&port.time);
            let reference = format!("{component}/{protocol}/{port_number}");
            services.push(service(&reference, image, *port_number, protocol, port));
        }
    }
    let portolan = json!({ "type": "application", "name": "portolan", "version": env!("CARGO_PKG_VERSION") });
    let mut metadata = json!({ "tools": { "components": [portolan] } });
    if let (false, Some(metadata)) = (time.is_empty(), metadata.as_object_mut()) {
        metadata.insert("timestamp".to_owned(), json!(time));
    }
    let references: Vec<&Value> =
        components.iter().filter_map(|component| component.get("bom-ref")).collect();
    let composition = json!({ "aggregate": "incomplete", "assemblies": references });
    let mut bill = json!({
        "$schema": format!("http://cyclonedx.org/schema/bom-{SPEC}.schema.json"),
        "bomFormat": "CycloneDX", "specVersion": SPEC, "version": 1,
        "metadata": metadata, "components": components, "services": services,
    });
    if let (true, Some(bill)) = (is_partial, bill.as_object_mut()) {
        bill.insert("compositions".to_owned(), json!([composition]));
    }
    bill
}

/// Formats address and port for a URL. IPv6 addresses are written in full, because a common validator of CycloneDX refuses `::`.
fn authority(address: &str, port: u16) -> String {
    let Ok(v6) = address.parse::<Ipv6Addr>() else { return endpoint(address, port) };
    let segments: Vec<String> = v6.segments().iter().map(|segment| format!("{segment:x}")).collect();
    endpoint(&segments.join(":"), port)
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": format!("portolan:{name}"), "value": value })
}

fn container(reference: &str, image: &Image) -> Value {
    let mut component = json!({ "type": "container", "bom-ref": reference, "name": image.reference });
    if let (Some(digest), Some(component)) = (&image.digest, component.as_object_mut()) {
        component.insert("properties".to_owned(), json!([property("imageDigest", digest)]));
    }
    component
}

fn service(reference: &str, image: &Image, number: u16, protocol: &str, port: &Port) -> Value {
    let scheme = protocol.to_ascii_lowercase();
    let endpoints: Vec<String> =
        port.addresses.iter().map(|address| format!("{scheme}://{}", authority(address, number))).collect();
    let mut names: Vec<&str> = port.processes.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let mut properties = vec![
        property("image", &image.reference),
        property("port", &number.to_string()),
        property("protocol", protocol),
        property("declared", &declared(port)),
        property("connections", &port.connections.to_string()),
        property("pods", &port.pods.len().to_string()),
    ];
    properties.extend(image.digest.iter().map(|digest| property("imageDigest", digest)));
    properties.extend(names.iter().map(|name| property("process", name)));
    properties.extend(port.workloads.iter().map(|workload| property("workload", workload)));
    let name = names
        .first()
        .map_or_else(|| format!("{number}/{protocol}"), |name| format!("{name}:{number}/{protocol}"));
    let mut service =
        json!({ "bom-ref": reference, "name": name, "endpoints": endpoints, "properties": properties });
    // Without a caller from outside nothing is known: one may still come.
    if let (true, Some(service)) = (port.external, service.as_object_mut()) {
        service.insert("x-trust-boundary".to_owned(), json!(true));
    }
    service
}
