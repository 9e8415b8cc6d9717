//! Checks what the API server lets this node's agent read.

use std::path::PathBuf;

use super::check::{Check, Needed, check, problem};
use crate::kubernetes_api::fault::ApiFault;
use crate::source::kubernetes::trial::{self, Trial};

/// Tries to list and watch each kind of object that the agent watches. Returns one row for each.
pub fn checks(kubeconfig: Option<PathBuf>) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let trials = match runtime {
        Ok(runtime) => runtime.block_on(trial::of_all(kubeconfig)),
        Err(error) => {
            let outcome = Err(problem(error.to_string(), "see the rows above"));
            return vec![check("API server", Needed::ByNothing, outcome)];
        }
    };
    let Some(trials) = trials else {
        let found = "not in a pod, and no kubeconfig: not asked".to_owned();
        return vec![check("API server", Needed::ByNothing, Ok(found))];
    };
    let row = |trial: Trial| {
        let name = format!("API server: {}", trial.source.rsplit_once('/').map_or("pods", |(_, kind)| kind));
        let result = trial.result.map(|()| "may list and watch".to_owned());
        check(&name, Needed::ByNothing, result.map_err(|fault| problem(fault.to_string(), fix_of(&fault))))
    };
    trials.into_iter().map(row).collect()
}

fn fix_of(fault: &ApiFault) -> &'static str {
    match fault {
        ApiFault::Refused { code: 403, .. } => {
            "allow the service account to list and watch it in all namespaces"
        }
        ApiFault::Refused { code: 401, .. } | ApiFault::Credentials { .. } => {
            "give credentials that the server accepts"
        }
        _ => "see that the server can be reached from here; until then these facts are unknown",
    }
}
