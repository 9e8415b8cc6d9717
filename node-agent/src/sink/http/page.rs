//! `/`: the findings and how the agent is, for a browser. Three files that are part of the program and name nothing outside of it;
//! the policy that goes with them forbids everything else, so that a name which a pod chose can do nothing even if it got in.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The page itself.
pub async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("../../../ui/page.html"))
}

/// What asks the agent.
pub async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../../../ui/page.js"))
}

/// How it looks.
pub async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../../../ui/page.css"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another agent, or a newer one, may answer at the same address.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
