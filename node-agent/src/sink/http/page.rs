//! `/`: a web page with findings and the agent's status. Its three files are embedded and load nothing else. The content
//! security policy forbids everything else, so that text that a pod chose cannot run as a script.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

/// Content security policy of the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Serves the HTML.
pub async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("../../../ui/page.html"))
}

/// Serves the script, which requests the agent's API.
pub async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../../../ui/page.js"))
}

/// Serves the style sheet.
pub async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../../../ui/page.css"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another agent, or another version, can serve the same address later.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
