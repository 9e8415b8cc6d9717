//! A whole list, page by page. What came before a failure is kept: the answer is partial then, and says so.

use serde::Deserialize;
use serde_json::Value;

use super::error::QueryError;
use super::request::get;
use super::server::Server;
use super::url::with_query;

/// Items asked for at once.
const PAGE: usize = 500;

/// A list, and why it is not the whole one.
#[derive(Debug)]
pub struct Gathered {
    /// Objects as the agent wrote them: also fields that this client does not know.
    pub items: Vec<Value>,
    pub generation: u64,
    pub broken: Option<QueryError>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    r#continue: Option<String>,
    generation: u64,
}

/// Every item of the list at `path`.
///
/// # Errors
/// When not even the first page could be had.
pub async fn gather(server: &Server, path: &str, filter: &[(&str, String)]) -> Result<Gathered, QueryError> {
    let mut gathered = Gathered { items: Vec::new(), generation: 0, broken: None };
    let mut after: Option<String> = None;
    loop {
        let mut pairs = filter.to_vec();
        pairs.push(("limit", PAGE.to_string()));
        pairs.extend(after.take().map(|key| ("continue", key)));
        match get::<Page>(server, &with_query(path, &pairs)).await {
            Ok(page) => {
                // A server that pages without end must not hold us: each page has to bring something.
                after = page.r#continue.filter(|_| !page.items.is_empty());
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
