//! Follows the agents of all nodes, each in a task of its own: for `--watch` and for `ui`.

pub(super) mod agent_task;
pub(super) mod followed;
pub(super) mod pods;
