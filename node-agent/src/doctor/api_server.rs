//! Checks what the API server lets this node's agent read.

use std::path::PathBuf;

use super::check::{Check, NeededBy, check, problem};
use crate::kubernetes_api::fault::ApiFault;
use crate::source::kubernetes::access_check::{self, AccessCheck};

/// Tries to list and watch each kind of object that the agent watches. Returns one row for each.
pub fn checks(kubeconfig: Option<PathBuf>) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let accesses = match runtime {
        Ok(runtime) => runtime.block_on(access_check::check_all(kubeconfig)),
        Err(error) => {
            let outcome = Err(problem(error.to_string(), "see the rows above"));
            return vec![check("API server", NeededBy::Nothing, outcome)];
        }
    };
    let Some(accesses) = accesses else {
        let found = "not in a pod, and no kubeconfig: not asked".to_owned();
        return vec![check("API server", NeededBy::Nothing, Ok(found))];
    };
    let row = |access: AccessCheck| {
        let name = format!("API server: {}", access.resource);
        let result = access.result.map(|()| "may list and watch".to_owned());
        check(&name, NeededBy::Nothing, result.map_err(|fault| problem(fault.to_string(), fix_of(&fault))))
    };
    accesses.into_iter().map(row).collect()
}

fn fix_of(fault: &ApiFault) -> &'static str {
    match fault {
        ApiFault::Refused { code: 403, .. } => {
            "allow the service account to list and watch it in all namespaces"
        }
        ApiFault::Refused { code: 401, .. } | ApiFault::Credentials { .. } => {
            "give credentials that the server accepts"
        }
        ApiFault::Refused { .. } | ApiFault::Nonsense { .. } => {
            "the server answers, but not what the agent asks for: until then these facts are unknown"
        }
        _ => "see that the server can be reached from here; until then these facts are unknown",
    }
}
