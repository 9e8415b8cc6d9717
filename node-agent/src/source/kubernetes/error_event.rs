//! The ERROR event that ends a watch which the server had opened with status 200.

use super::protocol::Status;
use crate::kubernetes_api::fault::ApiFault;
use crate::retry::reason::one_line;

/// Returns the fault that the `Status` object of an ERROR event tells.
#[must_use]
pub fn fault(object: &str) -> ApiFault {
    let status: Status = serde_json::from_str(object).unwrap_or_default();
    match status.code {
        Some(410) => ApiFault::Expired,
        code => ApiFault::Refused {
            code: code.unwrap_or(500),
            reason: one_line(&status.message.or(status.reason).unwrap_or_default()),
            retry_after: None,
        },
    }
}
