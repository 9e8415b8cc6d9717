//! What can be asked of the state: listings, counts, drafts and explanations. Imports `model`, `rules` and `state`.

mod advice;
pub mod counts;
pub mod explain;
mod finding_traffic;
mod listings;
pub(crate) mod message;
pub mod plain_text;
pub mod policy_basis;
mod remembered;
pub(crate) mod render;
pub mod summary;
