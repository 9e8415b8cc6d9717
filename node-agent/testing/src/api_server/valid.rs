//! Validates the objects that the agent writes as the real server does: Events by its built-in validation, reports by the
//! schema of their definition.

use serde_json::Value;

use crate::api_server::resource::Resource;

/// Returns why the object is invalid, in the words of the real server.
pub fn check(resource: &Resource, object: &Value) -> Result<(), String> {
    named(object)?;
    match resource.plural {
        "events" => event(object),
        "reports" => report(object),
        "jobs" => job(object),
        _ => Ok(()),
    }
}

fn named(object: &Value) -> Result<(), String> {
    let name = text(object, "/metadata/name");
    let part = |part: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(fits) && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(part) {
        return Err(format!(
            "metadata.name: Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of \
                            lower case alphanumeric characters, '-' or '.'"
        ));
    }
    for (key, value) in object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or(format!("metadata.labels: {key} is no text"))?;
        if value.len() > 63 {
            return Err(format!(
                "metadata.labels: Invalid value: \"{value}\": must be no more than 63 characters"
            ));
        }
    }
    for owner in object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{field}")).is_empty() {
                return Err(format!(
                    "metadata.ownerReferences.{field}: Invalid value: \"\": must not be empty"
                ));
            }
        }
    }
    Ok(())
}

fn event(event: &Value) -> Result<(), String> {
    let time = text(event, "/eventTime");
    let digits = time.split_once('.').map_or(0, |(_, rest)| rest.trim_end_matches('Z').len());
    if digits != 6 || !time.ends_with('Z') {
        return Err("eventTime: Required value".to_owned());
    }
    for (field, most) in
        [("reportingController", 128), ("reportingInstance", 128), ("action", 128), ("reason", 128)]
    {
        match text(event, &format!("/{field}")).len() {
            0 => return Err(format!("{field}: Required value")),
            length if length > most => {
                return Err(format!("{field}: Invalid value: \"\": can have at most {most} characters"));
            }
            _ => {}
        }
    }
    if text(event, "/note").len() > 1024 {
        return Err("note: Invalid value: \"\": can have at most 1024 characters".to_owned());
    }
    if !["Normal", "Warning"].contains(&text(event, "/type")) {
        return Err("type: Invalid value: \"\": has invalid value".to_owned());
    }
    if text(event, "/regarding/namespace") != text(event, "/metadata/namespace") {
        return Err(
            "involvedObject.namespace: Invalid value: \"\": does not match event.namespace".to_owned()
        );
    }
    Ok(())
}

fn job(job: &Value) -> Result<(), String> {
    let spec = &job["spec"]["template"]["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if !["Never", "OnFailure"].contains(&text(spec, "/restartPolicy")) {
        return Err(
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
                .to_owned(),
        );
    }
    let containers = list(&spec["containers"]);
    if containers.is_empty() {
        return Err("spec.template.spec.containers: Required value".to_owned());
    }
    let volumes = list(&spec["volumes"]);
    for container in &containers {
        if text(container, "/image").is_empty() {
            return Err("spec.template.spec.containers[0].image: Required value".to_owned());
        }
        for mount in list(&container["volumeMounts"]) {
            if !volumes.iter().any(|volume| volume["name"] == mount["name"]) {
                return Err(format!(
                    "spec.template.spec.containers[0].volumeMounts[0].name: Not found: {}",
                    mount["name"]
                ));
            }
        }
    }
    Ok(())
}

fn report(report: &Value) -> Result<(), String> {
    let results = report.pointer("/results").and_then(Value::as_array);
    for (at, result) in results.into_iter().flatten().enumerate() {
        if text(result, "/policy").is_empty() {
            return Err(format!("results[{at}].policy: Required value"));
        }
        let one_of = |field: &str, values: &[&str]| match result.get(field).map(Value::as_str) {
            None => Ok(()),
            Some(Some(value)) if values.contains(&value) => Ok(()),
            _ => Err(format!("results[{at}].{field}: Unsupported value: supported values: {values:?}")),
        };
        one_of("result", &["pass", "fail", "warn", "error", "skip"])?;
        one_of("severity", &["critical", "high", "low", "medium", "info"])?;
        if let Some(time) = result.get("timestamp")
            && !(time["seconds"].is_i64() && time["nanos"].is_i64())
        {
            return Err(format!("results[{at}].timestamp.seconds: Required value"));
        }
        let properties = result.get("properties").and_then(Value::as_object);
        if properties.into_iter().flatten().any(|(_, value)| !value.is_string()) {
            return Err(format!("results[{at}].properties: Invalid value: must be of type string"));
        }
    }
    let summary = report.get("summary").and_then(Value::as_object);
    match summary.into_iter().flatten().find(|(_, count)| !count.is_i64()) {
        Some((field, _)) => Err(format!("summary.{field}: Invalid value: must be of type integer")),
        None => Ok(()),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
