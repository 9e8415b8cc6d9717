//! Scenarios of the engine: given pods and namespaces, when facts come in, then this is reported.

mod attribution;
mod connections;
mod declarations;
mod hostile;
mod listening;
mod netns;
mod order;
mod origin;
mod recorded;
#[expect(clippy::expect_used, reason = "builders of test data: a wrong literal is a broken test")]
mod world;
