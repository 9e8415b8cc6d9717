//! Lists: complete if the client accepts the server's cache (resourceVersion=0, or a version), in pages if it asks for the
//! latest objects with a limit.

use hyper::{Response, StatusCode};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::form::Form;
use crate::api_server::query::ObjectRequest;
use crate::api_server::store::Store;

/// Answers a list.
pub fn answer(store: &Store, target: &ObjectRequest, form: Form) -> Response<Body> {
    match text(store, target, form) {
        Ok(text) => whole(StatusCode::OK, text),
        Err(error) => *error,
    }
}

/// Returns the JSON of a list, or the error response.
pub fn text(store: &Store, target: &ObjectRequest, form: Form) -> Result<String, Box<Response<Body>>> {
    form.for_list(target.resource.kind)?;
    let version = target.parameter("resourceVersion");
    let next = target.parameter("continue");
    let at = if next.is_empty() { None } else { Some(page_start(store, next)?) };
    if let Ok(version) = version.parse::<u64>()
        && version > store.revision
    {
        let message = format!("Timeout: Too large resource version: {version}, current: {}", store.revision);
        return Err(Box::new(refused(504, "Timeout", &message)));
    }
    // The real server ignores the limit if it answers from its cache.
    let limit = match target.parameter("limit").parse::<usize>() {
        Ok(limit @ 1..) if version.is_empty() => limit,
        _ => usize::MAX,
    };
    let mut objects = store
        .objects(target.resource.plural)
        .filter(|(_, version)| target.selects(&version.value))
        .skip_while(|(key, _)| {
            at.as_ref().is_some_and(|(_, start)| format!("{}/{}", key.0, key.1) <= *start)
        });
    let mut items = Vec::new();
    let mut last = String::new();
    for (key, version) in objects.by_ref().take(limit) {
        last = format!("{}/{}", key.0, key.1);
        items.push(match form {
            Form::Whole => version.in_list.as_str(),
            Form::Metadata | Form::MetadataList => version.metadata.as_str(),
        });
    }
    let revision = at.as_ref().map_or(store.revision, |(revision, _)| *revision);
    let left = objects.count();
    let more = if left == 0 {
        String::new()
    } else {
        let token = hex(&format!("{revision}:{last}"));
        format!(r#","continue":"{token}","remainingItemCount":{left}"#)
    };
    let (kind, group) = match form {
        Form::Whole => (format!("{}List", target.resource.kind), target.resource.api_version()),
        Form::Metadata | Form::MetadataList => {
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
        }
    };
    // The real server writes null for a list without objects, as Go does for a slice that was never made.
    let items = if items.is_empty() { "null".to_owned() } else { format!("[{}]", items.join(",")) };
    Ok(format!(
        r#"{{"kind":"{kind}","apiVersion":"{group}","metadata":{{"resourceVersion":"{revision}"{more}}},"items":{items}}}"#
    ))
}

/// Parses a continue token: the revision of the list, and the last key of the page before.
fn page_start(store: &Store, token: &str) -> Result<(u64, String), Box<Response<Body>>> {
    let bad = || Box::new(refused(400, "BadRequest", "continue key is not valid: illegal base64 data"));
    let text = unhex(token).ok_or_else(bad)?;
    let (revision, key) = text.split_once(':').ok_or_else(bad)?;
    let revision: u64 = revision.parse().map_err(|_| bad())?;
    if revision < store.forgotten {
        let message = "The provided continue parameter is too old to display a consistent list result.";
        return Err(Box::new(refused(410, "Expired", message)));
    }
    Ok((revision, key.to_owned()))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(token: &str) -> Option<String> {
    if !token.len().is_multiple_of(2) || !token.is_ascii() {
        return None;
    }
    let bytes = (0..token.len() / 2).map(|at| u8::from_str_radix(&token[at * 2..at * 2 + 2], 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}
