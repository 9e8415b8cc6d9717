//! `images`: which ports the containers of an image open, by which process, and whether anybody calls them.

pub mod args;
pub(crate) mod bill;
pub(crate) mod inventory;
pub(crate) mod output;
#[cfg(test)]
mod tests;
