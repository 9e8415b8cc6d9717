//! `/` and `/ui/{file}`: the web page of `portolan_ui`.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use portolan_ui::{HEADERS, PAGE, PageFile};

use super::problem::Problem;

/// Serves the page.
pub async fn html() -> Response {
    respond(&PAGE)
}

/// Serves a file that the page loads.
pub async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::bad_path(rejection.body_text()))?;
    let found = portolan_ui::file(&name);
    found.map(respond).ok_or_else(|| Problem::not_found("no such file of the page".to_owned(), "path/file"))
}

fn respond(file: &PageFile) -> Response {
    ([(header::CONTENT_TYPE, file.content_type)], HEADERS, file.text).into_response()
}
