//! What the API server sends around objects: lines of a watch, lists without their items, and faults.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::fields::Fields;
use super::objects::metadata::Metadata;

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct WatchLine<'a> {
    #[serde(rename = "type", borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// A list without its items, or an object without spec and status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Envelope {
    pub metadata: Fields<Metadata>,
}

/// The `Status` object with which the server reports a fault.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: Option<u16>,
    pub message: Option<String>,
    pub reason: Option<String>,
}
