//! What the API server makes of an object that somebody applied: the documented defaults filled in.

use serde_json::{Value, json};

/// Returns the object as the API server serves it.
pub fn served(mut object: Value) -> Value {
    if object["kind"] != "Namespace" && object["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        object["metadata"]["namespace"] = "default".into();
    }
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let spec = &mut object["spec"];
    match kind.as_str() {
        "Pod" => {
            for list in ["containers", "initContainers", "ephemeralContainers"] {
                each(&mut spec[list], |container| each(&mut container["ports"], default_protocol));
            }
        }
        "Service" => each(&mut spec["ports"], |port| {
            default_protocol(port);
            if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
                port["targetPort"] = port["port"].clone();
            }
        }),
        "NetworkPolicy" => {
            each(&mut spec["ingress"], |rule| each(&mut rule["ports"], default_protocol));
            if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
                let has_egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
                spec["policyTypes"] =
                    if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            }
        }
        _ => {}
    }
    without_nulls(&mut object);
    object
}

fn default_protocol(port: &mut Value) {
    if port["protocol"].as_str().is_none_or(str::is_empty) {
        port["protocol"] = "TCP".into();
    }
}

fn each(list: &mut Value, change: impl FnMut(&mut Value)) {
    list.as_array_mut().into_iter().flatten().for_each(change);
}

/// Removes the members that a look at them created.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
