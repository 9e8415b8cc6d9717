//! What the user may not do: refusals, and the answers to `SelfSubjectAccessReview`.

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::api_server::body::{Body, refused, whole};
use crate::api_server::log::Request;
use crate::api_server::settings::Settings;

/// Path of reviews.
const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Returns true if the request asks what its user may do.
pub fn is_review(request: &Request) -> bool {
    request.path == PATH && request.method == "POST"
}

/// Returns true if the settings forbid a verb on a resource (`pods`, `pods/log`).
pub fn is_forbidden(settings: &Settings, verb: &str, resource: &str) -> bool {
    let right = format!("{verb} {resource}");
    settings.forbidden.iter().any(|forbidden| *forbidden == right)
}

/// Answers a review.
pub fn review(settings: &Settings, request: &Request) -> Response<Body> {
    let Ok(mut review) = serde_json::from_str::<Value>(&request.body) else {
        return refused(400, "BadRequest", "the object provided is unrecognized");
    };
    let attributes = &review["spec"]["resourceAttributes"];
    let text = |field: &str| attributes[field].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        subresource => format!("{}/{subresource}", text("resource")),
    };
    let allowed = !is_forbidden(settings, text("verb"), &resource);
    review["status"] = json!({ "allowed": allowed });
    whole(StatusCode::CREATED, review.to_string())
}
