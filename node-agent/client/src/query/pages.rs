//! Fetches a whole list page by page. If a later page fails, the pages before it are kept, and the list is partial.

use serde::Deserialize;
use serde_json::Value;

use super::error::QueryError;
use super::request::get;
use super::server::Server;
use super::url::with_query;

/// Path of the node's pods in the agent's API. Older agents do not have it.
pub(crate) const PODS: &str = "/v1/pods";
/// Number of items per page.
const PAGE: usize = 500;

/// A list, and the error that cut it short.
#[derive(Debug)]
pub struct Gathered {
    /// Objects as the agent wrote them, including fields that this client does not know.
    pub items: Vec<Value>,
    /// Generation of the last page.
    pub generation: u64,
    /// Error of the page that failed; `None` if the list is complete.
    pub broken: Option<QueryError>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// Objects as the agent wrote them.
    pub(super) items: Vec<Value>,
    /// Key after which the next page begins; `None` on the last page.
    pub(super) r#continue: Option<String>,
    /// Generation of the page.
    pub(super) generation: u64,
}

/// Fetches the page of the list at `path` that follows the key `after`, or the first page.
///
/// # Errors
/// As [`get`].
pub(super) async fn page(
    server: &Server,
    path: &str,
    filter: &[(&str, String)],
    after: Option<String>,
) -> Result<Page, QueryError> {
    let mut pairs = filter.to_vec();
    pairs.push(("limit", PAGE.to_string()));
    pairs.extend(after.map(|key| ("continue", key)));
    let mut page: Page = get(server, &with_query(path, &pairs)).await?;
    // An empty page ends the list, so that a faulty server cannot make it endless.
    if page.items.is_empty() {
        page.r#continue = None;
    }
    Ok(page)
}

/// Fetches every item of the list at `path`.
///
/// # Errors
/// Only if no item was fetched. Later errors are in [`Gathered::broken`].
pub async fn gather(server: &Server, path: &str, filter: &[(&str, String)]) -> Result<Gathered, QueryError> {
    let mut gathered = Gathered { items: Vec::new(), generation: 0, broken: None };
    let mut after: Option<String> = None;
    loop {
        match page(server, path, filter, after.take()).await {
            Ok(page) => {
                after = page.r#continue;
                gathered.items.extend(page.items);
                gathered.generation = page.generation;
            }
            Err(error) if gathered.items.is_empty() => return Err(error),
            Err(error) => gathered.broken = Some(error),
        }
        if after.is_none() {
            return Ok(gathered);
        }
    }
}
