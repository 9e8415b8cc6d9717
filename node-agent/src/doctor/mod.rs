//! `portolan doctor`: checks what this node lets portolan do. One row per check, with what was found and how to correct it.

mod api_server;
mod check;
mod diagnosis;
mod kernel_programs;
mod sources;
mod system;

use std::io::{self, Write};

use portolan_client::exit::Exit;

use crate::agent::stage_options;
use crate::args::local::{DoctorArgs, DoctorFormat};
use crate::config::{self, MetadataSource};
use crate::outcome;
use check::{NeededBy, check};
use diagnosis::{Ability, Diagnosis};

/// Runs all checks and shows them. Refused unless the agent can run.
#[must_use]
pub fn run(args: &DoctorArgs) -> Exit {
    let asked = config::metadata_sources(&args.metadata).unwrap_or_default();
    let sources = stage_options::metadata(&asked);
    let options = stage_options::netns(config::netns_dirs(Vec::new()), false, &sources);
    let mut checks = system::checks(&options);
    checks.push(check("mounts", NeededBy::Agent, system::mounts(&options, &sources)));
    checks.push(check(
        "state directory",
        NeededBy::Nothing,
        system::state_directory(args.state_dir.as_deref()),
    ));
    checks.extend(kernel_programs::checks());
    checks.extend(sources::checks(&args.metadata));
    if asked.is_empty() || asked.contains(&MetadataSource::Kubernetes) {
        checks.extend(api_server::checks(args.kubeconfig.clone()));
    } else {
        let found = Ok("not asked: --metadata does not name kubernetes".to_owned());
        checks.push(check("API server", NeededBy::Nothing, found));
    }
    let diagnosis = Diagnosis::of(checks);
    let text = match args.output {
        DoctorFormat::Table => diagnosis.table() + "\n",
        DoctorFormat::Json => serde_json::to_string_pretty(&diagnosis).unwrap_or_default() + "\n",
        DoctorFormat::Yaml => serde_saphyr::to_string(&diagnosis).unwrap_or_default(),
    };
    let exit = outcome::finish(io::stdout().write_all(text.as_bytes()));
    if diagnosis.ability == Ability::Agent { exit } else { Exit::Refused }
}
