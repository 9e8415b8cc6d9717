//! Scenarios of the engine: given pods and netns, when facts arrive, then these findings and listeners are reported.

mod attribution;
mod audiences;
mod cluster_changes;
mod cluster_order;
mod connections;
mod datagrams;
mod declarations;
mod exceptions;
#[expect(clippy::expect_used, reason = "builders of test data: a wrong literal is a broken test")]
mod explain;
mod explanations;
mod findings_again;
mod forwarded;
mod holders;
mod hostile;
mod kept_severity;
mod listening;
#[expect(clippy::expect_used, reason = "what a scenario asks for and does not find is a failed scenario")]
mod nat_paths;
mod netns;
#[expect(clippy::indexing_slicing, reason = "a pod is one of two")]
mod never_lost;
#[expect(clippy::expect_used, reason = "builders of test data: a wrong literal is a broken test")]
mod objects;
mod order;
mod origin;
mod policies;
mod policy_basis;
mod proxies;
mod recorded;
mod remembered;
mod selected_only;
mod services;
mod sources;
mod verdicts;
mod words;
#[expect(clippy::expect_used, reason = "builders of test data: a wrong literal is a broken test")]
mod world;
