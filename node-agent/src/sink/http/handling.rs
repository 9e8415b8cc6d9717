//! What handlers share: a query to the owner of the engine, and the forms of requests and answers.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query as UrlQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::oneshot;

use super::HttpState;
use super::problem::Problem;
use super::query::Query;

/// Timeout of a query's answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub type PathOf<T> = Result<Path<T>, PathRejection>;
pub type Pairs = UrlQuery<Vec<(String, String)>>;

/// Sends a query to the owner of the engine and waits for its answer.
pub async fn ask<T>(state: &HttpState, make: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    state.queries.try_send(make(reply)).map_err(|_| Problem::busy())?;
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Problem::busy()),
    }
}

/// Answers with JSON.
pub fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns the variable parts of a path.
pub fn path_part<T>(path: PathOf<T>) -> Result<T, Problem> {
    path.map(|Path(part)| part).map_err(|rejection| Problem::bad_path(rejection.body_text()))
}
