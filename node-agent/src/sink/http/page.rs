//! `/` and `/ui/{file}`: the web page of `portolan_ui`.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use portolan_ui::{HEADERS, PAGE, PageFile};

use super::problem::Problem;

/// Serves the page.
pub async fn html(headers: HeaderMap) -> Response {
    respond(&PAGE, &headers)
}

/// Serves a file that the page loads.
pub async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::bad_path(rejection.body_text()))?;
    let found = portolan_ui::file(&name);
    found
        .map(|file| respond(file, &headers))
        .ok_or_else(|| Problem::not_found("no such file of the page".to_owned(), "path/file"))
}

fn respond(file: &PageFile, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|codings| codings.to_str().ok());
    let (body, encoding) = file.body(accepted.unwrap_or_default());
    let mut response = ([(header::CONTENT_TYPE, file.content_type)], HEADERS, body).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}
